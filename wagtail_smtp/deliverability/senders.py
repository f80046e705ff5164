"""Who sends for which domain: the live settings sets and standard delivery."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.mail import EmailMessage

from wagtail_smtp.config.validation import ascii_host, is_host
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.deliverability.providers import Provider, provider_of
from wagtail_smtp.delivery.explain.routes import is_used
from wagtail_smtp.delivery.outgoing import build_outgoing, prepare
from wagtail_smtp.live.resolve import transport_class
from wagtail_smtp.transports import standard

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@dataclass(frozen=True, slots=True)
class Sender:
    """A way in which email of a domain is sent.

    Attributes:
        name: the settings set's, or standard delivery's.
        domain: of the From header.
        envelope_domain: of the envelope sender, which SPF is about; empty if the provider chooses
            it.
        provider: None for a server that isn't known.
        host: the server, unless a provider is known.
        ehlo_name: what the site calls itself at the server; empty: the machine's name.
        options: an email provider's.
    """

    name: str
    domain: str
    envelope_domain: str
    provider: Provider | None
    host: str = ""
    ehlo_name: str = ""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def label(self) -> str:
        """The provider or server, for people."""
        return self.provider.name if self.provider else self.host or self.name


def senders(configuration: Configuration) -> tuple[Sender, ...]:
    """Return each sender of the site's own addresses once."""
    used = [item for item in configuration.sets if is_used(configuration, item)]
    found = [sender for item in used for each in _for_sites(item) for sender in of_set(each)]
    found += _of_standard_delivery()
    return tuple(dict.fromkeys(found))


def _for_sites(item: SettingsSetConfig) -> list[SettingsSetConfig]:
    """The set, and the set with each of its senders for sites."""
    return [item, *(item.for_site(sender.site) for sender in item.site_senders)]


def of_set(item: SettingsSetConfig) -> Iterator[Sender]:
    """Yield a set's senders: one, unless the project's addresses have several domains."""
    server = standard.server() if item.authentication == "default" else None
    host, username = (server.host, server.username) if server else (item.host, item.username)
    yield from _senders(item, item.name, host, username)


def _of_standard_delivery() -> Iterator[Sender]:
    server = standard.server()
    if server is not None and server.is_configured:
        item = SettingsSetConfig(key="", name=standard.NAME, host=server.host)
        yield from _senders(item, standard.NAME, server.host, "")


def _senders(item: SettingsSetConfig, name: str, host: str, username: str) -> Iterator[Sender]:
    provider = provider_of(item, host)
    for address in _site_addresses():
        message = EmailMessage("", "", address, ["someone@example.com"])
        try:
            outgoing = build_outgoing(
                prepare(message), item, transport_class(item), None, username=username
            )
        except ValueError:
            continue  # the form and the system checks report it
        domain = _domain(outgoing.message.from_email)
        envelope = _domain(outgoing.envelope.sender)
        if provider and provider.slug == "mailgun":
            # The account's domain.
            chosen = item.provider.get("sender_domain") or username.rpartition("@")[2]
            envelope = _domain(chosen) or domain
        elif item.uses_esp or (provider and provider.has_own_bounces):
            envelope = ""  # whatever the message says
        if domain:
            yield Sender(
                *(name, domain, envelope, provider),
                host="" if provider or item.uses_esp else host.rstrip("."),
                ehlo_name=item.ehlo_name,
                options=item.provider,
            )


def _site_addresses() -> dict[str, None]:
    own = getattr(settings, "WAGTAILADMIN_NOTIFICATION_FROM_EMAIL", None)
    found = (settings.DEFAULT_FROM_EMAIL, own, settings.SERVER_EMAIL)
    return dict.fromkeys(filter(None, found))


def _domain(address: str) -> str:
    """The domain of an address, in ASCII; empty if it can't be in public DNS."""
    domain = address.rpartition("@")[2].strip("> .").lower()
    try:
        domain = ascii_host(domain)
    except ValueError:
        return ""
    top = domain.rpartition(".")[2]
    is_public = is_host(domain) and top not in ("", domain) and not top.isdigit()
    return domain if is_public and not domain.endswith(_RESERVED) else ""


#: Never in public DNS (RFC 6761, RFC 6762 and common habits).
_RESERVED = (".localhost", ".local", ".localdomain", ".test", ".invalid", ".internal", ".lan")


@cache
def _public_suffixes() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


def organisational_domain(domain: str) -> str:
    """Return the domain that DMARC compares (RFC 7489 3.2), by the list of public suffixes."""
    return _public_suffixes().privatesuffix(domain) or domain
