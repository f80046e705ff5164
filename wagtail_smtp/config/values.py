"""A configuration as frozen values, which can be stored as JSON.

Saved sets and the live version use the same classes, so they can be compared directly.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Protocol, TypeVar

from wagtail_smtp.config.crypto import destination_binding, provider_binding
from wagtail_smtp.config.limits import Limits

#: Version of the JSON format. Versions with a newer format are refused.
FORMAT = 1

#: Options of OAuth 2 that are only notes: a stored secret doesn't depend on them.
_NOTES = ("secret_expires_on",)

#: EHLO keywords of the extensions that are used if a server offers them. STARTTLS and AUTH have
#: separate fields.
EXTENSIONS = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE")

Method = Literal["custom", "standard"]
Encryption = Literal["starttls", "ssl", "none"]
Authentication = Literal["none", "password", "default", "oauth2"]


@dataclass(frozen=True, slots=True)
class ReportEmail:
    """A report email of a set; used only if ``enabled``."""

    address: str
    enabled: bool = True


#: Stands for every site that no set names. Wagtail numbers its sites from 1.
OTHER_SITE = 0


@dataclass(frozen=True, slots=True)
class SiteSender:
    """A set's sender for email of one site; what is empty is as in the set.

    ``site`` is the primary key of a Wagtail site.
    """

    site: int
    name: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class SettingsSetConfig:
    """One settings set as plain values.

    ``key`` is the set's UUID as text, ``timeout`` is in seconds, ``secret`` is the ID of the stored
    password (never the password), ``max_size`` is in MB, ``notify_user`` is a user's primary key.
    ``max_per_second`` and the fields after it limit recipients; None: no limit.

    ``sites`` are the primary keys of the Wagtail sites to which the set is limited; empty: all. The
    key of a deleted site stays, so a set that was limited to it isn't used for other sites.

    ``bounce_separator`` separates the signed key from the bounce address; empty: it isn't signed.

    ``mailbox_host`` is the IMAP server of the mailbox for bounces; empty: no mailbox is read. Its
    login is the set's own.

    ``ignored_extensions`` are EHLO keywords not to use even if the server offers them.

    ``transport`` is ``"smtp"`` or an email provider's slug. ``provider`` contains the email
    provider's options by their names in its backend, and ``oauth`` the OAuth 2 options; neither
    contains secrets. ``webhook_secret`` is the ID of the delivery tracking secret.
    """

    key: str
    name: str
    transport: str = "smtp"
    host: str = ""
    port: int = 587
    encryption: Encryption = "starttls"
    timeout: int = 10
    ehlo_name: str = ""
    ignored_extensions: tuple[str, ...] = ()
    ca_certificates: str = ""
    authentication: Authentication = "none"
    username: str = ""
    secret: int | None = None
    sender_name: str = ""
    sender_address: str = ""
    site_senders: tuple[SiteSender, ...] = ()
    always_use_sender: bool = False
    bounce_address: str = ""
    bounce_separator: str = ""
    mailbox_host: str = ""
    mailbox_port: int = 993
    mailbox_encryption: Encryption = "ssl"
    mailbox_folder: str = "INBOX"
    redirect: bool = False
    report_emails: tuple[ReportEmail, ...] = ()
    categories: tuple[str, ...] = ()
    sites: tuple[int, ...] = ()
    backup: bool = False
    max_size: int | None = None
    max_per_second: int | None = None
    max_per_minute: int | None = None
    max_per_hour: int | None = None
    max_per_day: int | None = None
    notify_user: int | str | None = None
    provider: Mapping[str, str] = field(default_factory=dict, hash=False)
    oauth: Mapping[str, str] = field(default_factory=dict, hash=False)
    webhook_secret: int | None = None

    def applies_to(self, category: str, site: int) -> bool:
        """Whether the set may be used for email of this category and site."""
        return self.applies_to_category(category) and self.applies_to_site(site)

    def applies_to_category(self, category: str) -> bool:
        """Whether the set may be used for email of this category, of some site."""
        return not self.categories or category in self.categories

    def applies_to_site(self, site: int) -> bool:
        """Whether the set may be used for email of this site, in some category."""
        return not self.sites or site in self.sites

    def for_site(self, site: int) -> "SettingsSetConfig":
        """The set with its sender for email of this site."""
        for sender in self.site_senders:
            if sender.site == site:
                return replace(
                    self,
                    sender_name=sender.name or self.sender_name,
                    sender_address=sender.address or self.sender_address,
                )
        return self

    @property
    def limits(self) -> Limits:
        """The limits for recipients in a period."""
        return Limits(self.max_per_second, self.max_per_minute, self.max_per_hour, self.max_per_day)

    @property
    def has_limits(self) -> bool:
        """Whether any of them is set."""
        return (
            self.max_per_second is not None
            or self.max_per_minute is not None
            or self.max_per_hour is not None
            or self.max_per_day is not None
        )

    @property
    def report_addresses(self) -> tuple[str, ...]:
        """The enabled report emails, in order."""
        return tuple(report.address for report in self.report_emails if report.enabled)

    @property
    def uses_esp(self) -> bool:
        """Whether it sends through an email provider's API instead of SMTP."""
        return self.transport != "smtp"

    def binding(self) -> dict[str, str]:
        """The destination that the password is bound to; compared at every use."""
        if self.uses_esp:
            return provider_binding(self.transport, self.provider, self.ca_certificates)
        binding = destination_binding(
            self.host, self.port, self.encryption, self.ca_certificates, self.username
        )
        if self.mailbox_host:
            # The password is sent there too.
            host = self.mailbox_host.strip().rstrip(".").lower()
            binding["mailbox"] = f"{host}:{self.mailbox_port} {self.mailbox_encryption}"
        if self.authentication == "oauth2":
            # The identity provider, the client and the URLs.
            binding |= {
                f"oauth {name}": value for name, value in self.oauth.items() if name not in _NOTES
            }
        return binding


@dataclass(frozen=True, slots=True)
class Configuration:
    """The delivery method and the enabled sets, in order of priority."""

    method: Method = "custom"
    sets: tuple[SettingsSetConfig, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Convert to the JSON stored in a version."""
        return asdict(self) | {"sets": [asdict(item) for item in self.sets]}

    def digest(self) -> str:
        """A SHA-256 fingerprint of the configuration: 64 hexadecimal digits."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def uses_sites(self) -> bool:
        """Whether a message's site makes a difference."""
        return any(item.sites or item.site_senders for item in self.sets)

    def redirecting_set(self, category: str, site: int) -> SettingsSetConfig | None:
        """The set whose redirect applies to email of this category and site, or None.

        A redirect in the first set applies to all email of all sites. Otherwise the first set that
        matches category and site decides. With standard delivery as the method, there is no
        redirect.
        """
        if self.method == "standard" or not self.sets:
            return None
        if self.sets[0].redirect:
            return self.sets[0]
        first = next(iter(self.carriers(category, site)), None)
        return first if first is not None and first.redirect else None

    def carriers(self, category: str, site: int) -> tuple[SettingsSetConfig, ...]:
        """The sets that email of this category and site may be sent through, in order.

        These are the first set that matches it and the matching backups after it. A matching set
        that isn't a backup is used for *overflow* if all matching sets above it have limits.
        """
        applying = [item for item in self.sets if item.applies_to(category, site)]
        return tuple(
            item
            for position, item in enumerate(applying)
            if item.backup or all(above.has_limits for above in applying[:position])
        )

    def by_key(self) -> dict[str, SettingsSetConfig]:
        """The sets by their key, in order."""
        return {item.key: item for item in self.sets}


def from_json(content: Mapping[str, Any]) -> Configuration:
    """Read a configuration from a version's JSON.

    Raises:
        ValueError: a field is missing or unknown; ignoring one could ignore a redirect.
    """
    try:
        if set(content) != {"method", "sets"} or content["method"] not in ("custom", "standard"):
            raise ValueError("unknown delivery method or fields")
        sets = _listed(content, "sets")
        return Configuration(content["method"], tuple(map(_set_from_json, sets)))
    except (KeyError, TypeError) as error:
        raise ValueError(f"unreadable configuration: {error}") from error


_SET_FIELDS = frozenset(item.name for item in fields(SettingsSetConfig))


def _set_from_json(content: Mapping[str, Any]) -> SettingsSetConfig:
    if set(content) != _SET_FIELDS:
        raise ValueError(f"unknown or missing fields: {sorted(_SET_FIELDS ^ set(content))}")
    _check_flags(SettingsSetConfig, content)
    values: dict[str, Any] = dict(content)
    for name in _LISTS:
        values[name] = tuple(_listed(values, name))
    values["report_emails"] = tuple(_exactly(ReportEmail, r) for r in values["report_emails"])
    values["site_senders"] = tuple(_exactly(SiteSender, s) for s in values["site_senders"])
    return SettingsSetConfig(**values)


def _listed(content: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Return the list of that name: text or a dictionary would be taken for a list of its parts."""
    if not isinstance(content[name], list | tuple):
        raise ValueError(f"{name} is not a list")
    return content[name]


def _check_flags(kind: type[Any], content: Mapping[str, Any]) -> None:
    """Refuse null or an empty text, which would switch a redirect off."""
    for item in fields(kind):
        if item.type is bool and not isinstance(content[item.name], bool):
            raise ValueError(f"{item.name} is not true or false")


_LISTS = ("report_emails", "categories", "sites", "site_senders", "ignored_extensions")
_Row = TypeVar("_Row", ReportEmail, SiteSender)


def _exactly(kind: type[_Row], content: Mapping[str, Any]) -> _Row:
    """Make a row from JSON with all of its fields: a default could switch a report email on."""
    known = {item.name for item in fields(kind)}
    if set(content) != known:
        raise ValueError(f"unknown or missing fields: {sorted(known ^ set(content))}")
    _check_flags(kind, content)
    return kind(**content)


class TokenSource(Protocol):
    """Provides the access tokens that a transport logs in with."""

    def current(self) -> str:
        """Return a valid token, renewed before it expires.

        Raises:
            TokenRefused: no token could be obtained.
        """

    def renewed(self, rejected: str) -> str | None:
        """Replace a token that a server rejected; return None if it is too new for that.

        Raises:
            TokenRefused: no token could be obtained.
        """


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """Everything that an SMTP transport needs, including secrets; never stored."""

    name: str
    host: str
    port: int
    encryption: Encryption = "starttls"
    timeout: float = 10
    ehlo_name: str = ""
    ca_certificates: str = ""
    #: EHLO keywords not to use even if the server offers them.
    ignored_extensions: tuple[str, ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    #: Used with OAuth 2 instead of a password.
    tokens: TokenSource | None = field(default=None, repr=False, compare=False)
    #: Standard delivery's server: a developer chose it, so any port is allowed.
    is_standard_server: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient and its state.

    ``phase``, ``code`` and ``reply`` are as in :class:`~wagtail_smtp.exceptions.AttemptFailed`, and
    empty if sent. ``provider_id`` is the email provider's ID of the message.
    """

    address: str
    state: Literal["sent", "refused", "deferred", "unknown"] = "sent"
    code: int = 0
    reply: str = ""
    phase: str = ""
    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attempt in which at least one recipient was accepted."""

    via: str
    recipients: tuple[Recipient, ...] = ()
    reply: str = ""

    @property
    def not_sent(self) -> tuple[Recipient, ...]:
        """The recipients that the server did not accept."""
        return tuple(item for item in self.recipients if item.state != "sent")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to send a message with one transport.

    Attributes:
        via: name of the set, or of standard delivery.
        seconds: duration.
        key: key of the set; empty for standard delivery.
        outcome: None if no recipient was accepted.
        error: why no recipient was accepted.
        recovered: whether the transport can be reached again.
    """

    via: str
    seconds: float
    key: str = ""
    outcome: Outcome | None = None
    error: Exception | None = None
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a configuration.

    ``field`` is a field name of :class:`SettingsSetConfig` or empty; ``set_name`` is empty if the
    problem isn't about one set. ``message`` may be a lazy translation. ``secret`` is the
    :attr:`~wagtail_smtp.exceptions.SecretError.kind` of a secret that can't be used.
    """

    message: Any
    field: str = ""
    set_name: str = ""
    secret: str = ""

    def named(self, set_name: str) -> "Problem":
        """Return the problem with this set's name."""
        return replace(self, set_name=set_name)

    def __str__(self) -> str:
        return f"{self.set_name}: {self.message}" if self.set_name else str(self.message)
