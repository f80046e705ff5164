"""SPF: which servers may send for a domain (RFC 7208)."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from wagtail_smtp.deliverability.providers import Provider
from wagtail_smtp.deliverability.senders import Sender
from wagtail_smtp.deliverability.verdicts import Finding, Record, Verdict
from wagtail_smtp.transports.name_servers import Lookup, LookupFailed

#: Limits of RFC 7208 4.6.4: terms that cause queries, and queries without an answer.
MOST_LOOKUPS, MOST_VOID = 10, 2
_MECHANISM = re.compile(r"([+?~-]?)([a-z][a-z0-9]*)(?::([^/]*))?((?:/.*)?)", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE)
_MECHANISMS = {"all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"}
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class InvalidRecord(Exception):
    """Receivers treat the domain's SPF as broken; the text says why."""


@dataclass
class Permitted:
    """What a domain's SPF record permits.

    Attributes:
        includes: the domains whose records apply too.
        all: the result for all other servers: ``+``, ``?``, ``~``, ``-`` or empty.
        is_open: whether it permits everyone.
        is_complete: whether everything that it permits is in ``networks``.
    """

    networks: list[Network] = field(default_factory=list)
    includes: set[str] = field(default_factory=set)
    all: str = ""
    lookups: int = 0
    void: int = 0
    is_open: bool = False
    is_complete: bool = True
    uses_ptr: bool = False

    def permits(self, address: str) -> bool:
        """Whether an IP address may send."""
        ip = ipaddress.ip_address(address)
        return any(ip.version == network.version and ip in network for network in self.networks)


def records(lookup: Lookup, domain: str) -> list[str]:
    """Return the SPF records among a domain's TXT records.

    Raises:
        LookupFailed: the domain could not be looked up.
    """
    texts = lookup.records(domain, "TXT")
    return [text for text in texts if text.lower() == "v=spf1" or text.lower()[:7] == "v=spf1 "]


class _Walk:
    """Follows a record and all that it includes, as far as receivers do."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup, self.result = lookup, Permitted()

    def follow(self, record: str, domain: str, *, is_top: bool = True) -> None:
        """Add what a record permits.

        Raises:
            InvalidRecord: it is broken.
        """
        redirect, has_all = "", False
        for term in record.split()[1:]:
            if modifier := _MODIFIER.fullmatch(term):
                redirect = modifier[2] if modifier[1].lower() == "redirect" else redirect
                continue
            match = _MECHANISM.fullmatch(term)
            if match is None or match[2].lower() not in _MECHANISMS:
                raise InvalidRecord(_("“%s” is not valid in an SPF record.") % term[:80])
            qualifier, name, value, prefix = match[1] or "+", match[2].lower(), match[3], match[4]
            if name == "all":
                has_all = True
                self.result.is_open |= qualifier == "+"
                if is_top:
                    self.result.all = qualifier
                break  # terms after it have no effect
            self._mechanism(name, value, prefix, domain, passes=qualifier == "+")
        if redirect and not has_all:
            self._include(redirect, is_top=is_top)

    def _mechanism(
        self, name: str, value: str | None, prefix: str, domain: str, *, passes: bool
    ) -> None:
        if name in ("ip4", "ip6"):
            self._network(f"{value or ''}{prefix}", passes=passes)
        elif name == "include":
            self._include(value or "", passes=passes)
        else:
            self._count_lookup()
            self.result.uses_ptr |= name == "ptr"
            if name in ("ptr", "exists") or "%" in (value or ""):
                self.result.is_complete = False  # it depends on the message
            else:
                self._hosts(name, value or domain, prefix, passes=passes)

    def _network(self, text: str, *, passes: bool) -> None:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise InvalidRecord(_("“%s” is not a valid network.") % text[:80]) from None
        if passes:
            self.result.networks.append(network)

    def _include(self, domain: str, *, passes: bool = True, is_top: bool = False) -> None:
        self._count_lookup()
        if "%" in domain:
            self.result.is_complete = False
            return
        try:
            found = records(self.lookup, domain)
        except LookupFailed:
            self.result.is_complete = False
            return
        if len(found) != 1:
            text = _("It refers to %s, which doesn't have exactly one SPF record.")
            raise InvalidRecord(text % domain[:80])
        if passes:
            self.result.includes.add(domain.lower().rstrip("."))
            self.follow(found[0], domain, is_top=is_top)

    def _hosts(self, name: str, host: str, prefix: str, *, passes: bool) -> None:
        """Add the addresses of a host, or of a domain's mail servers."""
        try:
            hosts = [host]
            if name == "mx":
                hosts = [each.split()[1] for each in self.lookup.records(host, "MX")][:10]
            found = [address for each in hosts for address in self.lookup.addresses(each)]
        except LookupFailed:
            self.result.is_complete = False
            return
        if not found:
            self._count_void()
        four, _sep, six = prefix.partition("//")
        for address in found:
            length = six if ":" in address else four.removeprefix("/")
            self._network(f"{address}/{length}" if length else address, passes=passes)

    def _count_lookup(self) -> None:
        self.result.lookups += 1
        if self.result.lookups > MOST_LOOKUPS:
            raise InvalidRecord(
                _(
                    "It needs more than 10 DNS lookups, so receivers ignore it. Remove the "
                    "services that you no longer use."
                )
            )

    def _count_void(self) -> None:
        self.result.void += 1
        if self.result.void > MOST_VOID:
            text = _("More than two of its names have no addresses, so receivers ignore it.")
            raise InvalidRecord(text)


def evaluate(lookup: Lookup, record: str, domain: str) -> Permitted:
    """Return what a record permits.

    Raises:
        InvalidRecord: receivers treat it as broken.
    """
    walk = _Walk(lookup)
    walk.follow(record, domain)
    return walk.result


def check(lookup: Lookup, domain: str, senders: Sequence[Sender]) -> Finding:
    """Check the record of a domain that ``senders`` send from.

    Raises:
        LookupFailed: the domain could not be looked up.
    """
    found = records(lookup, domain)
    finding = Finding("SPF", found=tuple(found))
    needed = [each for each in senders if each.envelope_domain == domain]
    for sender in senders:
        if sender not in needed:
            finding.add(Verdict.GOOD, _not_needed(sender))
    ending = "~all"
    if not found and needed:
        text = _("%s has no SPF record, so receivers can't tell which servers may send for it.")
        finding.add(Verdict.BAD, text % domain)
    elif len(found) > 1:
        text = _("There are several SPF records, so receivers ignore all of them. Merge them.")
        finding.add(Verdict.BAD, text)
    elif found:
        try:
            permitted = evaluate(lookup, found[0], domain)
        except InvalidRecord as error:
            finding.add(Verdict.BAD, str(error))
            return finding  # a line more would not repair it
        _judge(finding, permitted)
        if permitted.all in ("~", "-"):
            ending = f"{permitted.all}all"
        judged = {sender: _judge_sender(lookup, permitted, sender) for sender in needed}
        for note in judged.values():
            finding.add(*note)
        needed = [sender for sender, note in judged.items() if note[0] is not Verdict.GOOD]
    new = {sender: _mechanisms(lookup, sender) for sender in needed}
    proposal = _proposal(found, [term for terms in new.values() for term in terms], ending)
    if proposal and [proposal] != found:
        _propose(lookup, finding, Record("TXT", domain, proposal))
        for sender in (sender for sender, terms in new.items() if not terms):
            text = _("The record to publish doesn't contain %s yet. Add its public addresses.")
            finding.add(Verdict.UNKNOWN, text % sender.label)
    return finding


def _propose(lookup: Lookup, finding: Finding, record: Record) -> None:
    try:
        evaluate(lookup, record.value, record.name)
    except InvalidRecord as error:
        text = _("Nothing can be added to it yet. %s") % error
        finding.add(Verdict.IMPROVE, text)
    else:
        finding.proposals.append(record)


def _not_needed(sender: Sender) -> str:
    if sender.provider is None:
        return _("Not needed for %s: the bounce address has another domain.") % sender.label
    return _("Not needed for %s, which uses a bounce address of its own.") % sender.label


def _judge(finding: Finding, permitted: Permitted) -> None:
    if permitted.is_open:
        finding.add(Verdict.BAD, _("It allows everyone to send for this domain (“+all”)."))
    elif permitted.all in ("", "?"):
        text = _("It doesn't say what applies to all other servers. End it with “~all”.")
        finding.add(Verdict.IMPROVE, text)
    if permitted.uses_ptr:
        finding.add(Verdict.IMPROVE, _("“ptr” is slow and unreliable. Remove it."))
    if not finding.notes:
        count = _("It is valid and needs %(number)d of 10 DNS lookups.")
        finding.add(Verdict.GOOD, count % {"number": permitted.lookups})


def _judge_sender(lookup: Lookup, permitted: Permitted, sender: Sender) -> tuple[Verdict, str]:
    name = sender.label
    if sender.provider is not None:
        if permitted.includes.intersection(sender.provider.spf):
            return Verdict.GOOD, _("It allows %s.") % name
        theirs = _of_provider(lookup, sender.provider)
        if any(permitted.permits(str(network.network_address)) for network in theirs.networks):
            text = _("It lists addresses of %s one by one. They change, so use “include” instead.")
            return Verdict.IMPROVE, text % name
        if permitted.is_complete and theirs.networks:
            return Verdict.BAD, _("It doesn't allow %s.") % name
        return Verdict.UNKNOWN, _("Can't tell whether it allows %s.") % name
    own = public_addresses(lookup, sender.host)
    if own and all(map(permitted.permits, own)):
        return Verdict.GOOD, _("It allows %s.") % name
    if not own:
        text = _("Can't tell whether it allows %s, because the server's public address is unknown.")
        return Verdict.UNKNOWN, text % name
    if not permitted.is_complete:
        return Verdict.UNKNOWN, _("Can't tell whether it allows %s.") % name
    text = _(
        "It doesn't allow the addresses of %(host)s: %(addresses)s. If that server sends from "
        "other addresses, ask its operator which ones to allow."
    )
    return Verdict.IMPROVE, text % {"host": name, "addresses": ", ".join(own)}


def _of_provider(lookup: Lookup, provider: Provider) -> Permitted:
    """What a provider's own record permits; nothing if that isn't known."""
    walk = _Walk(lookup)
    try:
        if provider.spf:
            walk.follow(f"v=spf1 include:{provider.spf[0]}", "")
    except InvalidRecord:
        return Permitted()
    return walk.result


def public_addresses(lookup: Lookup, host: str) -> tuple[str, ...]:
    """Return a server's public addresses; empty if they aren't known."""
    try:
        found: Iterable[str] = (str(ipaddress.ip_address(host)),)
    except ValueError:
        try:
            found = lookup.addresses(host) if "." in host else ()
        except LookupFailed:
            return ()
    return tuple(each for each in found if ipaddress.ip_address(each).is_global)[:4]


def _mechanisms(lookup: Lookup, sender: Sender) -> list[str]:
    """What a record needs to permit a sender, as far as that is known."""
    if sender.provider is not None:
        return [f"include:{domain}" for domain in sender.provider.spf[:1]]
    own = public_addresses(lookup, sender.host)
    return [f"ip{ipaddress.ip_address(address).version}:{address}" for address in own]


def _proposal(found: Sequence[str], new: Sequence[str], ending: str) -> str:
    """Return a record with the terms of those that exist and ``new`` ones; empty without any."""
    old = [term for record in found for term in record.split()[1:]]
    terms = [term for term in dict.fromkeys([*new, *old]) if not _ALL.fullmatch(term)]
    if not terms:
        return ""
    has_redirect = any(term.lower().startswith("redirect=") for term in terms)
    return " ".join(["v=spf1", *terms, *([] if has_redirect else [ending])])


_ALL = re.compile(r"[+?~-]?all", re.IGNORECASE)
