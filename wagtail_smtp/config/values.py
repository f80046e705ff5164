"""Frozen values: what a configuration is, before and after it is stored as JSON.

The same shape serves for the sets as they stand and for the live version, so that the
difference between them is a comparison of values.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Protocol

from wagtail_smtp.config.secret_binding import destination_binding, provider_binding

#: Version of the JSON format. Rows of a newer one are refused (ARCHITECTURE decision 9).
FORMAT = 1

#: What is used where a server offers it, as EHLO names it. STARTTLS and AUTH are chosen by fields
#: of their own.
EXTENSIONS = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE")

Method = Literal["custom", "standard"]
Encryption = Literal["starttls", "ssl", "none"]
Authentication = Literal["none", "password", "default", "oauth2"]


@dataclass(frozen=True, slots=True)
class ReportEmail:
    """One report address of a set; ``enabled`` false: kept but not used."""

    address: str
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class SettingsSetConfig:
    """One settings set as plain values.

    ``key`` is the set's UUID as text, ``timeout`` is in seconds, ``secret`` the id of the
    stored password (never the password), ``max_size`` is in MB, ``notify_user`` a user's
    primary key.

    ``ignored_extensions`` are EHLO keywords that are not used though the server offers them.

    ``transport`` is ``"smtp"`` or a provider's slug, and ``provider`` holds that provider's own
    options that are no secrets, by the names its backend gives them. ``oauth`` holds what OAuth 2
    needs and is no secret. ``webhook_secret`` is the id of what delivery reports must prove.
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
    always_use_sender: bool = False
    bounce_address: str = ""
    redirect: bool = False
    report_emails: tuple[ReportEmail, ...] = ()
    categories: tuple[str, ...] = ()
    backup: bool = False
    max_size: int | None = None
    notify_user: int | str | None = None
    provider: Mapping[str, str] = field(default_factory=dict, hash=False)
    oauth: Mapping[str, str] = field(default_factory=dict, hash=False)
    webhook_secret: int | None = None

    def applies_to(self, category: str) -> bool:
        """Whether mail of this category may use the set."""
        return not self.categories or category in self.categories

    @property
    def report_addresses(self) -> tuple[str, ...]:
        """The enabled report addresses, in order."""
        return tuple(report.address for report in self.report_emails if report.enabled)

    @property
    def uses_esp(self) -> bool:
        """Whether a provider carries its mail by its own interface, not a server by SMTP."""
        return self.transport != "smtp"

    def binding(self) -> dict[str, str]:
        """Where the password may go: it is stored with this and compared at every use."""
        if self.uses_esp:
            return provider_binding(self.transport, self.provider, self.ca_certificates)
        binding = destination_binding(
            self.host, self.port, self.encryption, self.ca_certificates, self.username
        )
        if self.authentication == "oauth2":
            # Who gives the token, for which client, and by which URLs.
            binding |= {f"oauth {name}": value for name, value in self.oauth.items()}
        return binding


@dataclass(frozen=True, slots=True)
class Configuration:
    """Delivery method and enabled sets, first choice first."""

    method: Method = "custom"
    sets: tuple[SettingsSetConfig, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The JSON kept in a version."""
        return asdict(self) | {"sets": [asdict(item) for item in self.sets]}

    def digest(self) -> str:
        """A fingerprint of everything in it: 64 hexadecimal digits."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def redirecting_set(self, category: str) -> SettingsSetConfig | None:
        """The set whose redirect holds for mail of this category, or None.

        The first set of all redirects everything; after that the first one that applies
        redirects its own mail. With standard delivery as the method no set's redirect is
        in force.
        """
        if self.method == "standard" or not self.sets:
            return None
        if self.sets[0].redirect:
            return self.sets[0]
        first = next(iter(self.carriers(category)), None)
        return first if first is not None and first.redirect else None

    def carriers(self, category: str) -> tuple[SettingsSetConfig, ...]:
        """The first set that applies to mail of this category, then the backups after it."""
        applying = [item for item in self.sets if item.applies_to(category)]
        return tuple(item for item in applying if item is applying[0] or item.backup)

    def by_key(self) -> dict[str, SettingsSetConfig]:
        """The sets by their key, in order."""
        return {item.key: item for item in self.sets}


def from_json(content: Mapping[str, Any]) -> Configuration:
    """Read a configuration back from a version's JSON.

    Raises:
        ValueError: a field is missing or unknown; ignoring one could ignore a redirect.
    """
    try:
        if set(content) != {"method", "sets"} or content["method"] not in ("custom", "standard"):
            raise ValueError("unknown delivery method or fields")
        return Configuration(content["method"], tuple(map(_set_from_json, content["sets"])))
    except (KeyError, TypeError) as error:
        raise ValueError(f"unreadable configuration: {error}") from error


_SET_FIELDS = frozenset(item.name for item in fields(SettingsSetConfig))


def _set_from_json(content: Mapping[str, Any]) -> SettingsSetConfig:
    if set(content) != _SET_FIELDS:
        raise ValueError(f"unknown or missing fields: {sorted(_SET_FIELDS ^ set(content))}")
    values: dict[str, Any] = dict(content)
    values["report_emails"] = tuple(ReportEmail(**report) for report in values["report_emails"])
    values["categories"] = tuple(values["categories"])
    values["ignored_extensions"] = tuple(values["ignored_extensions"])
    return SettingsSetConfig(**values)


class TokenSource(Protocol):
    """Where a transport gets the access tokens that it logs in with."""

    def current(self) -> str:
        """A token that is valid now, renewed ahead of its end.

        Raises:
            TokenRefused: there is none; the error says why.
        """

    def renewed(self, rejected: str) -> str | None:
        """Another token than the one that a server has rejected; None: that one is too new.

        Raises:
            TokenRefused: there is none; the error says why.
        """


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """All that one SMTP transport needs, secrets included; never stored."""

    name: str
    host: str
    port: int
    encryption: Encryption = "starttls"
    timeout: float = 10
    ehlo_name: str = ""
    ca_certificates: str = ""
    #: EHLO keywords that are not used though the server offers them.
    ignored_extensions: tuple[str, ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    #: With OAuth 2, instead of a password.
    tokens: TokenSource | None = field(default=None, repr=False, compare=False)
    #: The project's own server: a developer named it, so any port will do.
    is_standard_server: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient and what became of the message for it.

    ``phase``, ``code`` and ``reply`` are those of :class:`~wagtail_smtp.exceptions.AttemptFailed`
    and empty where it was sent. ``provider_id`` is what a provider calls the message.
    """

    address: str
    state: Literal["sent", "refused", "deferred", "unknown"] = "sent"
    code: int = 0
    reply: str = ""
    phase: str = ""
    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to; the message was accepted for at least one recipient."""

    via: str
    recipients: tuple[Recipient, ...] = ()
    reply: str = ""

    @property
    def not_sent(self) -> tuple[Recipient, ...]:
        """The recipients the server didn't take."""
        return tuple(item for item in self.recipients if item.state != "sent")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to hand one message to one transport.

    Attributes:
        via: name of the set, or standard delivery.
        seconds: how long it took.
        key: of the set; empty: standard delivery.
        outcome: what was accepted; None if nothing was.
        error: why nothing was.
        recovered: the transport could not be reached before, and now can.
    """

    via: str
    seconds: float
    key: str = ""
    outcome: Outcome | None = None
    error: Exception | None = None
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a configuration, at the field it concerns.

    ``field`` is a field name of :class:`SettingsSetConfig` or empty; ``set_name`` is empty
    where it concerns all sets. ``message`` may be a lazy translation.
    """

    message: Any
    field: str = ""
    set_name: str = ""

    def named(self, set_name: str) -> "Problem":
        """The same problem, of the set with this name."""
        return replace(self, set_name=set_name)

    def __str__(self) -> str:
        return f"{self.set_name}: {self.message}" if self.set_name else str(self.message)
