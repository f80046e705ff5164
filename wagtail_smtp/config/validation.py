"""Validation of a settings set, for the form and for the reload.

Pure functions on frozen values, without database access or secrets.
"""

import ipaddress
import re
import ssl
from collections.abc import Iterator
from dataclasses import replace
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses
from functools import lru_cache

import idna
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.categories import validate_category
from wagtail_smtp.conf import conf
from wagtail_smtp.config import oauth
from wagtail_smtp.config.bounce_address import LONGEST_LOCAL_PART, SEPARATORS
from wagtail_smtp.config.values import EXTENSIONS, Problem, SettingsSetConfig

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Visible ASCII characters.
HEADER_VALUE = r"\A[!-~]+\Z"
#: The fields of the mailbox for bounces, and the kinds of authentication with which it is read.
MAILBOX_FIELDS = ("mailbox_host", "mailbox_port", "mailbox_encryption", "mailbox_folder")
WITH_MAILBOX = ("password", "oauth2")
_address = EmailValidator(allowlist=["localhost"])


def is_email_address(value: str) -> bool:
    """Whether ``value`` is a bare address that this plugin can send to.

    Domains may be international; local parts must be ASCII, because SMTPUTF8 is not supported.
    """
    try:
        _address(value)
    except ValidationError as error:
        # The error is part of a reference cycle, so its traceback would keep the variables of all
        # callers alive.
        error.__traceback__ = None
        return False
    local, _at, domain = value.rpartition("@")
    try:
        ascii_host(domain)
    except ValueError:
        return False
    # Parsers of headers decode "=?utf-8?q?a=40b?=", so it could name another address there.
    return local.isascii() and "=?" not in local


def ascii_address(address: str) -> str:
    """Encode the domain of a bare address (IDNA), so that equal addresses compare equal.

    Raises:
        ValueError: the domain can't be encoded.
    """
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{ascii_host(domain)}"


def ascii_host(value: str) -> str:
    """Encode a host name (IDNA 2008, with the mapping of UTS 46).

    Python's built-in IDNA 2003 encodes ``faß.de`` as ``fass.de``, which is a different domain.

    Raises:
        ValueError: it can't be encoded.
    """
    return value if value.isascii() else idna.encode(value, uts46=True).decode("ascii")


def with_current_domains(addresses: str) -> str:
    """Encode the domains in ``addresses`` that Django's IDNA 2003 would change."""
    if addresses.isascii():
        return addresses
    domains = {bare.rpartition("@")[2] for _name, bare in getaddresses([addresses])}
    # Longest first: one domain may be the start of another.
    for domain in sorted(domains, key=len, reverse=True):
        try:
            current = ascii_host(domain)
        except ValueError:
            continue  # refused when the message is sent
        if current != domain and current != _by_idna_2003(domain):
            addresses = addresses.replace(f"@{domain}", f"@{current}")
    return addresses


def _by_idna_2003(domain: str) -> str:
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def unicode_host(value: str) -> str:
    """Decode a host name for display; return it unchanged if that fails."""
    try:
        return idna.decode(value)
    except ValueError:
        return value


# A site has few senders, and building an address takes longer than the rest of their handling.
@lru_cache(maxsize=256)
def mailbox(name: str, address: str) -> str:
    """Combine a name and a bare address, quoted where needed but not encoded.

    Encoding happens when the message is serialised. Encoding twice could turn a name's commas into
    separators (https://github.com/python/cpython/issues/121284).

    Raises:
        ValueError: not a valid address, or it contains a line break.
    """
    try:
        return str(Address(display_name=name, addr_spec=address))
    except (MessageError, LookupError) as error:
        raise ValueError(f"Invalid address {address!r}: {error}") from error


def is_ehlo_name(value: str) -> bool:
    """Whether ``value`` is valid for EHLO: a host or an address literal (RFC 5321 4.1.3)."""
    if not value.startswith("["):
        return is_host(value)
    try:
        if value[:6].lower() == "[ipv6:":
            ipaddress.IPv6Address(value[6:-1])
        else:
            ipaddress.IPv4Address(value[1:-1])
    except ValueError:
        return False
    return value.endswith("]")


def is_host(value: str) -> bool:
    """Whether ``value`` is a host name (IDNA allowed) or an IP address."""
    try:
        ipaddress.ip_address(value)
        return True
    except ValueError:
        pass
    try:
        name = ascii_host(value)
    except ValueError:
        return False
    labels = name.removesuffix(".").split(".")
    return len(name) <= 253 and all(_LABEL.match(label) for label in labels)


def problems(item: SettingsSetConfig) -> list[Problem]:
    """Return the problems of a set, each with its field.

    :mod:`wagtail_smtp.transports.esp.catalog` validates an email provider's options.
    """
    of_smtp = () if item.uses_esp else (*_server(item), *_credentials(item))
    found = [*_common(item), *of_smtp, *_sender(item), *_use(item)]
    return [problem.named(item.name) for problem in found]


def _server(item: SettingsSetConfig) -> Iterator[Problem]:
    if item.authentication != "default":
        if not item.host:
            yield Problem(_("Enter the server's host name."), "host")
        elif not is_host(item.host):
            yield Problem(
                _("Enter only a host name or IP address, for example smtp.example.com."), "host"
            )
        if not 1 <= item.port <= 65535:
            yield Problem(_("Enter a port between 1 and 65535."), "port")
    if item.ehlo_name and not is_ehlo_name(item.ehlo_name):
        yield Problem(_("Enter a host name, for example www.example.com."), "ehlo_name")
    unknown = [name for name in item.ignored_extensions if name not in EXTENSIONS]
    if unknown:
        yield Problem(
            _("%(unknown)s can't be ignored. You can ignore %(known)s.")
            % {"unknown": ", ".join(map(str, unknown)), "known": ", ".join(EXTENSIONS)},
            "ignored_extensions",
        )


def _common(item: SettingsSetConfig) -> Iterator[Problem]:
    if not 1 <= item.timeout <= 300:
        yield Problem(_("Enter a time between 1 and 300 seconds."), "timeout")
    if item.ca_certificates and not _is_pem(item.ca_certificates):
        yield Problem(
            _("Enter certificates in PEM format, from BEGIN CERTIFICATE to END CERTIFICATE."),
            "ca_certificates",
        )


def _is_pem(text: str) -> bool:
    if not text.isascii() or "PRIVATE KEY" in text:
        return False
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _credentials(item: SettingsSetConfig) -> Iterator[Problem]:
    if item.authentication not in ("password", "oauth2"):
        return
    if item.authentication == "oauth2":
        yield from oauth.problems(item.oauth)
    if not item.username:
        yield Problem(_("Enter the username to log in with."), "username")
    elif _CONTROL.search(item.username):
        yield Problem(_("A username can't contain control characters."), "username")
    yield from login_without_tls(item.encryption, item.host, item.username)


def login_without_tls(encryption: str, host: str, username: str) -> Iterator[Problem]:
    """Yield a problem if the login would be unencrypted where that isn't allowed."""
    if username and encryption == "none" and not may_log_in_without_tls(host):
        yield Problem(
            _(
                "Without encryption, others could read the password. Choose STARTTLS or SSL/TLS. "
                "Only a server on this machine can be used without encryption."
            ),
            "encryption",
        )


def may_log_in_without_tls(host: str) -> bool:
    """Whether a password may be sent to ``host`` without encryption."""
    return conf.ALLOW_PLAINTEXT_AUTH or oauth.is_loopback(host)


def _sender(item: SettingsSetConfig) -> Iterator[Problem]:
    if _CONTROL.search(item.name):
        yield Problem(_("A name can't contain line breaks."), "name")
    if _CONTROL.search(item.sender_name):
        yield Problem(_("A name can't contain line breaks."), "sender_name")
    for field in ("sender_address", "bounce_address"):
        value = getattr(item, field)
        if value and not is_email_address(value):
            yield Problem(_("Enter a valid email address."), field)
    yield from _site_senders(item)
    yield from _bounces(item)
    if item.always_use_sender and not effective_sender(item) and item.authentication != "default":
        yield Problem(_("Enter the address to use for every message."), "sender_address")


def _site_senders(item: SettingsSetConfig) -> Iterator[Problem]:
    for sender in item.site_senders:
        if _CONTROL.search(sender.name):
            yield Problem(_("A name can't contain line breaks."), "site_senders")
        if sender.address and not is_email_address(sender.address):
            yield Problem(_("Enter a valid email address."), "site_senders")
        if not (sender.name or sender.address):
            yield Problem(_("Enter a sender name or a sender address."), "site_senders")
    sites = [sender.site for sender in item.site_senders]
    if len(sites) != len(set(sites)):
        yield Problem(_("A site can have one sender only."), "site_senders")


def _bounces(item: SettingsSetConfig) -> Iterator[Problem]:
    if item.mailbox_host:
        yield from _mailbox(item)
    if not item.bounce_separator:
        return
    if item.bounce_separator not in SEPARATORS:
        yield Problem(_("Choose one of the separators."), "bounce_separator")
    if not item.bounce_address:
        yield Problem(_("Enter the bounce address that is to be signed."), "bounce_address")
    elif len(item.bounce_address.rpartition("@")[0]) > LONGEST_LOCAL_PART:
        yield Problem(
            _(
                "To be signed, the address can have at most %(number)d characters before the @, "
                "for example bounces@example.com."
            )
            % {"number": LONGEST_LOCAL_PART},
            "bounce_address",
        )


def _mailbox(item: SettingsSetConfig) -> Iterator[Problem]:
    if not item.bounce_separator:
        yield Problem(
            _("Bounces in a mailbox can only be recognised if the bounce address is signed."),
            "bounce_separator",
        )
    if item.authentication not in WITH_MAILBOX:
        yield Problem(
            _(
                "The mailbox is read with this set's login. Choose “Username and password” or "
                "“OAuth 2”, or leave this empty."
            ),
            "mailbox_host",
        )
    if not is_host(item.mailbox_host):
        yield Problem(
            _("Enter only a host name or IP address, for example imap.example.com."),
            "mailbox_host",
        )
    if not 1 <= item.mailbox_port <= 65535:
        yield Problem(_("Enter a port between 1 and 65535."), "mailbox_port")
    if not item.mailbox_folder or _CONTROL.search(item.mailbox_folder):
        yield Problem(_("Enter a folder, usually INBOX."), "mailbox_folder")
    for problem in login_without_tls(item.mailbox_encryption, item.mailbox_host, item.username):
        yield replace(problem, field="mailbox_encryption")


def is_header_value(value: str) -> bool:
    """Whether ``value`` is a valid key of an email provider, which is sent in HTTP headers."""
    return re.match(HEADER_VALUE, value) is not None


def effective_sender(item: SettingsSetConfig) -> str:
    """The set's sender address, else its username if that is an address, else ``""``."""
    if item.sender_address:
        return item.sender_address
    if item.uses_esp:
        return ""
    if item.authentication in ("password", "oauth2") and is_email_address(item.username):
        return item.username
    return ""


def _use(item: SettingsSetConfig) -> Iterator[Problem]:
    for address in item.report_addresses:
        if not is_email_address(address):
            yield Problem(_("A report email is not a valid email address."), "report_emails")
    if item.redirect and not item.report_addresses:
        yield Problem(_("Add and enable at least one report email to redirect to."), "redirect")
    for category in item.categories:
        try:
            validate_category(category)
        except ValueError as error:
            yield Problem(str(error), "categories")
