"""Every key of the ``WAGTAIL_SMTP`` setting with its default.

Nothing is cached: each value is read from Django's settings when it is used, so
``override_settings`` works. A wrong value raises ``ImproperlyConfigured`` then; the system checks
report it when the project starts.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Environment variable with comma-separated addresses; overrides ``REDIRECT_ALL_TO``.
REDIRECT_VARIABLE = "WAGTAIL_SMTP_REDIRECT_ALL_TO"
#: Environment variable with the name of the environment; overrides ``ENVIRONMENT``.
ENVIRONMENT_VARIABLE = "WAGTAIL_SMTP_ENVIRONMENT"

#: Environment variable with Apprise URLs; overrides ``ALERTS``.
ALERTS_VARIABLE = "WAGTAIL_SMTP_ALERTS"

#: The environment variables that override keys of ``WAGTAIL_SMTP``.
VARIABLES = {
    "REDIRECT_ALL_TO": REDIRECT_VARIABLE,
    "ENVIRONMENT": ENVIRONMENT_VARIABLE,
    "ALERTS": ALERTS_VARIABLE,
}

#: How many versions of the configuration are kept.
VERSIONS_KEPT = 50

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
T = TypeVar("T")


class Setting(Generic[T]):
    """One key, named like its attribute.

    Args:
        default: the value if the project doesn't set the key.
        convert: makes the attribute's value from it.
    """

    def __init__(self, default: Any, convert: Callable[[Any], T]) -> None:
        self.default, self.convert = default, convert

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = name

    def __get__(self, conf: "Conf", owner: type) -> T:
        value = conf.given().get(self.key, self.default)
        try:
            return self.convert(value)
        except _Invalid as error:
            raise ImproperlyConfigured(f"WAGTAIL_SMTP[{self.key!r}] must be {error}.") from None
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(
                f"WAGTAIL_SMTP[{self.key!r}] can't be used: {error}"
            ) from error


class _Invalid(Exception):
    """The message completes the sentence "The value must be …"."""


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise _Invalid("a number above zero")
    return value


def _count(value: Any) -> int:
    count = int(_number(value))
    if not count:
        raise _Invalid("a whole number above zero")
    return count


def _count_or_none(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Invalid("a whole number, or 0")
    return value


def _one_of(*choices: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in choices:
            raise _Invalid(f"one of {', '.join(map(repr, choices))}")
        return str(value)

    return convert


def _backend(value: Any) -> Mapping[str, Any] | None:
    if value is not None and not (
        isinstance(value, Mapping) and isinstance(value.get("BACKEND"), str)
    ):
        raise _Invalid("a dictionary with a 'BACKEND' path and, where needed, 'OPTIONS'")
    return value


def _networks(value: Any) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, value))


def _addresses(value: Any) -> tuple[str, ...] | None:
    """An item that isn't text becomes ``<type>``, which is not a valid address."""
    if value is None:
        return None
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple | set | frozenset):
        value = [value]
    items = (
        item.strip() if isinstance(item, str) else f"<{type(item).__name__}>" for item in value
    )
    return tuple(filter(None, items))


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(item, str | os.PathLike) for item in value):
        raise _Invalid("a list of texts")
    return tuple(map(os.fspath, value))


class _HiddenURL(str):
    """A URL that is a secret. Error reports, which show settings and variables, don't show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'********************'"


def hide_urls() -> None:
    """Hide the URLs in ``ALERTS`` in error reports: Django emails all settings to ADMINS."""
    given = getattr(settings, "WAGTAIL_SMTP", None)
    if not isinstance(given, dict):
        return
    urls = given.get("ALERTS")
    if isinstance(urls, str):  # a mistake, which a check reports
        given["ALERTS"] = _HiddenURL(urls)
    elif isinstance(urls, list | tuple | set | frozenset):
        given["ALERTS"] = [_HiddenURL(url) if isinstance(url, str) else url for url in urls]


def _urls(value: Any) -> tuple[str, ...]:
    """Never name a value in an error: it is a secret."""
    if isinstance(value, str) or not all(isinstance(item, str) for item in value):
        raise _Invalid("a list of URLs")
    return tuple(_HiddenURL(item.strip()) for item in value)


def _split_urls(text: str) -> tuple[str, ...]:
    """Split at spaces, and at commas between URLs; a URL may contain other commas."""
    parts = re.split(r"\s+|,(?=\s*[\w.+-]+://)", text.strip(" ,\n"))
    return tuple(map(_HiddenURL, filter(None, parts)))


def _directories(value: Any) -> tuple[str, ...]:
    """An empty or relative one would allow files of whatever directory a process starts in."""
    directories = _texts(value)
    if not all(map(os.path.isabs, directories)):
        raise _Invalid("a list of whole paths, such as '/run/secrets'")
    return directories


def _path(value: Any) -> str | None:
    if value is not None and not isinstance(value, str | os.PathLike):
        raise _Invalid("a path")
    return None if value is None else os.fspath(value)


def _name_servers(value: Any) -> tuple[tuple[str, int], ...] | None:
    if value is None:
        return None
    found = []
    for item in _texts(value):
        parts = urlsplit(f"//{item}" if item.count(":") < 2 or "[" in item else f"//[{item}]")
        address = ipaddress.ip_address(parts.hostname or "")
        found.append((str(address), parts.port or 53))
    return tuple(found)


def _selectors(value: Any) -> dict[str, tuple[str, ...]]:
    return {str(domain).lower(): _texts(names) for domain, names in dict(value).items()}


def _environment(value: Any) -> str:
    """An empty variable is an error, because a copied database would count as production's."""
    if value is None:
        return ""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,49}", value):
        raise _Invalid(
            "a name such as 'production' or 'staging': up to 50 lower-case letters, digits, "
            "hyphens and underscores"
        )
    return value


def _sent_from_copies(value: Any) -> frozenset[str]:
    if isinstance(value, str) or not set(value) <= {"security", "error"}:
        raise _Invalid("a list that contains only 'security' and 'error'")
    return frozenset(value)


class Conf:
    """The plugin's settings, each as an attribute with the type in which it is used."""

    #: ``{"BACKEND": path, "OPTIONS": {…}}`` of standard delivery, or None.
    STANDARD = Setting(None, _backend)
    #: Fernet keys, the newest first. Empty: keys are derived from SECRET_KEY.
    ENCRYPTION_KEYS = Setting[tuple[str, ...]]((), tuple)
    #: The project's own categories: slug to label.
    CATEGORIES = Setting[dict[str, Any]]({}, dict)
    #: Functions that send email, as ``"module:Class.method"``, with the category of their email.
    CATEGORY_RULES = Setting[dict[str, str]]({}, dict)
    #: Categories that standard delivery always sends, even if a set has them.
    STANDARD_CATEGORIES = Setting[frozenset[str]](("security",), frozenset)
    #: The name of the environment in which this process runs. Use :meth:`Conf.environment`.
    ENVIRONMENT = Setting(None, _environment)
    #: Categories that standard delivery sends even if the live settings come from another
    #: environment: ``security``, ``error`` or both.
    STANDARD_CATEGORIES_IN_COPY = Setting[frozenset[str]]((), _sent_from_copies)
    #: Addresses that receive all email instead of its recipients. Use :meth:`Conf.forced_redirect`.
    REDIRECT_ALL_TO = Setting(None, _addresses)
    #: Patterns of the environment variables that a password may be read from.
    SECRET_VARIABLES = Setting(("SMTP_*",), _texts)
    #: Directories of the files that a password may be read from.
    SECRET_DIRECTORIES = Setting((), _directories)
    #: The YAML or JSON file with the settings sets that the project manages, or None.
    SETS_FILE = Setting(None, _path)
    #: Whether passwords may be sent without TLS to other machines.
    ALLOW_PLAINTEXT_AUTH = Setting(False, bool)
    #: Loopback and private networks where any port is allowed.
    ALLOWED_NETWORKS = Setting((), _networks)
    #: Whether standard delivery sends what no set could, unless it may already have been sent.
    FALLBACK_TO_STANDARD = Setting(False, bool)
    #: Seconds for which a set is tried last after its server could not be reached.
    COOL_DOWN = Setting(60, _number)
    #: Seconds in which one alert is sent for a set and cause.
    ALERT_INTERVAL = Setting(900, _number)
    #: Apprise URLs of the channels that get alerts, in addition to ADMINS. They are secrets. Use
    #: :meth:`Conf.alert_urls`.
    ALERTS = Setting[tuple[str, ...]]((), _urls)
    #: Kinds of alerts that are turned off.
    ALERTS_OFF = Setting((), _texts)
    #: Seconds to wait for the server's reply to the whole message, in a request.
    FINAL_REPLY_TIMEOUT = Setting(60, _number)
    #: The same outside of requests (RFC 5321 4.5.3.2.6 asks for 600).
    FINAL_REPLY_TIMEOUT_IN_WORKERS = Setting(600, _number)
    #: Recipients of one SMTP transaction (RFC 5321 4.5.3.1.8 guarantees 100).
    MAX_RECIPIENTS = Setting(100, _count)
    #: Sessions that a process opens to the server of one set.
    MAX_SESSIONS = Setting(8, _count)
    #: Seconds that a message waits while all sessions are used.
    SESSION_WAIT = Setting(30, _number)
    #: Seconds after which a session is not used again.
    SESSION_MAX_AGE = Setting(300, _number)
    #: Seconds after which an unused session is closed.
    SESSION_MAX_IDLE = Setting(30, _number)
    #: Messages after which a session is not used again.
    SESSION_MAX_MESSAGES = Setting(100, _count)
    #: Seconds after its last use from which a session checks its connection before it sends a
    #: message. Until then, the message is sent in one write; if the connection were dead, no one
    #: would know whether the server accepted it.
    SESSION_CHECK_AFTER = Setting(5, _number)
    #: ``immediate``, or ``queued``: through the outbox.
    DELIVERY = Setting("immediate", _one_of("immediate", "queued"))
    #: Whether the outbox tries again what immediate delivery could not send.
    RETRY_DEFERRED = Setting(False, bool)
    #: Categories for which the outbox does so even without ``RETRY_DEFERRED``.
    RETRY_CATEGORIES = Setting[frozenset[str]](("form",), frozenset)
    #: Seconds for which the outbox tries to send a message, and one of category security.
    OUTBOX_MAX_AGE = Setting(2 * 24 * 3600, _number)
    SECURITY_MAX_AGE = Setting(3600, _number)
    #: Seconds for which a worker's claim of messages is valid.
    OUTBOX_LEASE = Setting(1800, _number)
    #: Seconds until the first retry; each later one waits twice as long, up to an hour.
    OUTBOX_RETRY_AFTER = Setting(60, _number)
    #: Seconds between two queries while the outbox is empty.
    OUTBOX_POLL = Setting(5, _number)
    #: Which messages are stored in full.
    STORE_MESSAGES = Setting("undelivered", _one_of("undelivered", "all", "none"))
    #: Days for which log entries, and stored messages, are kept.
    KEEP_LOG_DAYS = Setting(90, _number)
    KEEP_MESSAGES_DAYS = Setting(14, _number)
    #: Bytes that all stored messages may use.
    MAX_STORED = Setting(10**9, _count)
    #: Whether admin pages show redirects, changes that are not live yet, and failures.
    BANNERS = Setting(True, bool)
    #: Hard bounces of an address after which it is suppressed; 0: never automatically.
    SUPPRESS_AFTER_BOUNCES = Setting(1, _count_or_none)
    #: Whether an address is suppressed when its owner reports a message as spam.
    SUPPRESS_COMPLAINTS = Setting(True, bool)
    #: Webhook requests that are accepted for one set.
    WEBHOOK_REQUESTS_PER_MINUTE = Setting(3000, _count)
    #: The name servers that are asked about the senders' domains, as addresses with or without a
    #: port. None: the system's.
    DNS_SERVERS = Setting(None, _name_servers)
    #: DKIM selectors by domain, where the provider or server doesn't determine them.
    DKIM_SELECTORS = Setting[dict[str, tuple[str, ...]]]({}, _selectors)
    #: Where the documentation is. Use :meth:`Conf.documentation`.
    DOCUMENTATION_URL = Setting("https://wagtail-smtp.readthedocs.io/en/stable/", str)

    def given(self) -> Mapping[str, Any]:
        """Return what the project wrote into ``WAGTAIL_SMTP``.

        Raises:
            ImproperlyConfigured: it is not a dictionary. A redirect in it would be ignored.
        """
        value = getattr(settings, "WAGTAIL_SMTP", {})
        if not isinstance(value, Mapping):
            raise ImproperlyConfigured("WAGTAIL_SMTP must be a dictionary.")
        return value

    def require_valid(self) -> None:
        """Read all settings, so that a wrong value fails before the first message.

        Raises:
            ImproperlyConfigured: a value is wrong.
        """
        for key in DEFAULTS:
            getattr(self, key)
        self.environment()

    def stores(self, state: str) -> bool:
        """Whether messages in this state are stored. A message that is too large always is."""
        stored = self.STORE_MESSAGES
        if state == "too_large" or stored == "all":
            return True
        return stored == "undelivered" and state in {"failed", "blocked", "unknown"}

    def documentation(self, page: str) -> str:
        """Return the address of a page of the documentation, such as ``reference/causes.html``."""
        return f"{self.DOCUMENTATION_URL.rstrip('/')}/{page}"

    def source(self, key: str) -> str:
        """Return what decides a key, for people: an environment variable, or the setting."""
        variable = VARIABLES.get(key, "")
        return variable if variable in os.environ else f'WAGTAIL_SMTP["{key}"]'

    def environment(self) -> str:
        """Return the name of the environment in which this process runs; empty if it has none.

        Raises:
            ImproperlyConfigured: the name is not valid.
        """
        if ENVIRONMENT_VARIABLE not in os.environ:
            return self.ENVIRONMENT
        try:
            return _environment(os.environ[ENVIRONMENT_VARIABLE])
        except _Invalid as error:
            raise ImproperlyConfigured(f"{ENVIRONMENT_VARIABLE} must be {error}.") from None

    def forced_redirect(self) -> tuple[str, ...] | None:
        """Return the addresses that the environment or the settings redirect all email to.

        None: no redirect is forced. An empty tuple: one is forced without an address, so no email
        is sent. The addresses are not validated.
        """
        if REDIRECT_VARIABLE in os.environ:
            return _addresses(os.environ[REDIRECT_VARIABLE])
        return self.REDIRECT_ALL_TO

    def alert_urls(self) -> tuple[str, ...]:
        """Return the URLs of the channels that get alerts. They are secrets."""
        if ALERTS_VARIABLE in os.environ:
            return _split_urls(os.environ[ALERTS_VARIABLE])
        return self.ALERTS


#: The default of each key.
DEFAULTS: Mapping[str, Any] = {
    key: setting.default for key, setting in vars(Conf).items() if isinstance(setting, Setting)
}
conf = Conf()
