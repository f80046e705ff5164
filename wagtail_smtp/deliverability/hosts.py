"""MX, so that replies and bounces arrive, and the names of a site's own mail servers."""

import ipaddress

from django.utils.translation import gettext as _

from wagtail_smtp.config.validation import is_host
from wagtail_smtp.deliverability.senders import Sender
from wagtail_smtp.deliverability.spf import public_addresses
from wagtail_smtp.deliverability.verdicts import Finding, Verdict
from wagtail_smtp.transports.name_servers import Lookup, LookupFailed

#: How many servers, or names, are looked up.
_MOST = 3


def check_mx(lookup: Lookup, domain: str) -> Finding:
    """Check that a domain can receive email.

    Raises:
        LookupFailed: the domain could not be looked up.
    """
    found = sorted(lookup.records(domain, "MX"), key=lambda text: int(text.split()[0]))
    finding = Finding("MX", found=tuple(found))
    hosts = [text.split()[1].rstrip(".") for text in found][:_MOST]
    if hosts == [""]:  # RFC 7505
        text = _("%s states that it receives no email, so replies and bounces are lost.")
        finding.add(Verdict.IMPROVE, text % domain)
    elif not hosts and not lookup.addresses(domain):
        text = _("%s can't receive email. Some receivers refuse email from such domains.")
        finding.add(Verdict.BAD, text % domain)
    elif not hosts:
        text = _("%s has no MX record. Email for it goes to its web server.")
        finding.add(Verdict.IMPROVE, text % domain)
    elif not any(lookup.addresses(host) for host in hosts):
        finding.add(Verdict.BAD, _("The mail servers of %s have no addresses.") % domain)
    else:
        finding.add(Verdict.GOOD, _("%s receives email.") % domain)
    return finding


def check_ptr(lookup: Lookup, sender: Sender) -> Finding:
    """Check the names of an own server's addresses. Nothing is certain: it may use a relay."""
    finding = Finding("PTR")
    addresses = public_addresses(lookup, sender.host)
    if not addresses:
        text = _("The public address of %s is unknown, so its name can't be checked.")
        finding.add(Verdict.UNKNOWN, text % sender.label)
    for address in addresses:
        _check_address(lookup, finding, address)
    _check_ehlo_name(lookup, finding, sender.ehlo_name)
    return finding


def _check_address(lookup: Lookup, finding: Finding, address: str) -> None:
    pointer = ipaddress.ip_address(address).reverse_pointer
    try:
        names = lookup.records(pointer, "PTR")
        finding.found += tuple(f"{address}: {name}" for name in names)
        is_confirmed = any(address in lookup.addresses(name) for name in names[:_MOST])
    except LookupFailed:
        finding.add(Verdict.UNKNOWN, _("The name of %s could not be looked up.") % address)
        return
    values = {"address": address, "name": names[0] if names else ""}
    if not names:
        text = _("%(address)s has no name (PTR). Ask the server's operator to set one.")
        finding.add(Verdict.IMPROVE, text % values)
    elif not is_confirmed:
        text = _("%(address)s is called %(name)s, but that name doesn't lead back to it.")
        finding.add(Verdict.IMPROVE, text % values)
    else:
        finding.add(
            Verdict.GOOD, _("%(address)s is called %(name)s, which leads back to it.") % values
        )


def _check_ehlo_name(lookup: Lookup, finding: Finding, name: str) -> None:
    if not name or not is_host(name) or not name.isascii():
        return  # the machine's own name, or an address
    try:
        has_address = bool(lookup.addresses(name))
    except LookupFailed:
        return
    if not has_address:
        text = _("The EHLO name %s has no address in DNS.")
        finding.add(Verdict.IMPROVE, text % name)
