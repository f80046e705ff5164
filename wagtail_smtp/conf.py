"""Every key of the ``WAGTAIL_SMTP`` setting with its default.

Nothing is cached: each value is read from Django's settings when it is used, so that
``override_settings`` works and a wrong value fails where it is used.
"""

import ipaddress
import os
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Environment variable with comma-separated addresses; overrides ``REDIRECT_ALL_TO``.
REDIRECT_VARIABLE = "WAGTAIL_SMTP_REDIRECT_ALL_TO"

#: How many versions of the configuration are kept.
VERSIONS_KEPT = 50

DEFAULTS: Mapping[str, Any] = {
    "STANDARD": None,
    "ENCRYPTION_KEYS": (),
    "CATEGORIES": {},
    "CATEGORY_RULES": {},
    "STANDARD_CATEGORIES": ("security",),
    "REDIRECT_ALL_TO": None,
    "ALLOW_PLAINTEXT_AUTH": False,
    "ALLOWED_NETWORKS": (),
    "FALLBACK_TO_STANDARD": False,
    "COOL_DOWN": 60,
    "ALERT_INTERVAL": 900,
    "FINAL_REPLY_TIMEOUT": 60,
    "FINAL_REPLY_TIMEOUT_IN_WORKERS": 600,
    "MAX_RECIPIENTS": 100,
    "MAX_SESSIONS": 8,
    "SESSION_WAIT": 30,
    "SESSION_MAX_AGE": 300,
    "SESSION_MAX_IDLE": 30,
    "SESSION_MAX_MESSAGES": 100,
    "ONE_WRITE_WITHIN": 5,
    "DELIVERY": "immediate",
    "RETRY_DEFERRED": False,
    "RETRY_CATEGORIES": ("form",),
    "OUTBOX_MAX_AGE": 2 * 24 * 3600,
    "SECURITY_MAX_AGE": 3600,
    "OUTBOX_LEASE": 1800,
    "OUTBOX_RETRY_AFTER": 60,
    "OUTBOX_POLL": 5,
    "STORE_MESSAGES": "undelivered",
    "KEEP_LOG_DAYS": 90,
    "KEEP_MESSAGES_DAYS": 14,
    "MAX_STORED": 10**9,
    "BANNERS": True,
    "WEBHOOK_REQUESTS_PER_MINUTE": 3000,
}

#: Keys whose value is a number above zero: seconds, or a count.
NUMBERS = tuple(key for key, value in DEFAULTS.items() if type(value) is int)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Seconds:
    """A number above zero, called as the key it is read from."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name

    def __get__(self, conf: "Conf", owner: type) -> float:
        return conf.number(self._key)


class _Count(_Seconds):
    """A whole number above zero."""

    def __get__(self, conf: "Conf", owner: type) -> int:
        return int(conf.number(self._key))


class Conf:
    """The plugin's settings as typed properties."""

    def given(self) -> Mapping[str, Any]:
        """What the project wrote into ``WAGTAIL_SMTP``.

        Raises:
            ImproperlyConfigured: it is not a dictionary; a redirect in it would be missed.
        """
        value = getattr(settings, "WAGTAIL_SMTP", {})
        if not isinstance(value, Mapping):
            raise ImproperlyConfigured("WAGTAIL_SMTP must be a dictionary.")
        return value

    def _get(self, key: str) -> Any:
        return self.given().get(key, DEFAULTS[key])

    @property
    def STANDARD(self) -> Mapping[str, Any] | None:
        """``{"BACKEND": path, "OPTIONS": {…}}`` of standard delivery, or None."""
        value = self._get("STANDARD")
        if value is not None and not (
            isinstance(value, Mapping) and isinstance(value.get("BACKEND"), str)
        ):
            raise ImproperlyConfigured(
                "WAGTAIL_SMTP['STANDARD'] must be a dictionary with a 'BACKEND' path "
                "and, where needed, 'OPTIONS'."
            )
        return value

    @property
    def ENCRYPTION_KEYS(self) -> tuple[str, ...]:
        """Fernet keys, the newest first. Empty: keys are derived from SECRET_KEY."""
        return tuple(self._get("ENCRYPTION_KEYS"))

    @property
    def CATEGORIES(self) -> dict[str, Any]:
        """The project's own categories: slug to label."""
        return dict(self._get("CATEGORIES"))

    @property
    def CATEGORY_RULES(self) -> dict[str, str]:
        """Call sites, as ``"module:Class.method"``, with the category of their mail."""
        return dict(self._get("CATEGORY_RULES"))

    @property
    def STANDARD_CATEGORIES(self) -> frozenset[str]:
        """Categories that standard delivery carries whatever the sets say."""
        return frozenset(self._get("STANDARD_CATEGORIES"))

    @property
    def ALLOW_PLAINTEXT_AUTH(self) -> bool:
        """Whether passwords may go to other than loopback addresses without TLS."""
        return bool(self._get("ALLOW_PLAINTEXT_AUTH"))

    @property
    def ALLOWED_NETWORKS(self) -> tuple[Network, ...]:
        """Loopback and private networks that may be connected to on any port."""
        return tuple(ipaddress.ip_network(n) for n in self._get("ALLOWED_NETWORKS"))

    @property
    def FALLBACK_TO_STANDARD(self) -> bool:
        """Whether standard delivery carries what no set could, unless it may have been sent."""
        return bool(self._get("FALLBACK_TO_STANDARD"))

    def number(self, key: str) -> float:
        """The value of one of :data:`NUMBERS`.

        Raises:
            ImproperlyConfigured: it is not a number above zero.
        """
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ImproperlyConfigured(f"WAGTAIL_SMTP[{key!r}] must be a number above zero.")
        return value

    def require_valid(self) -> None:
        """Read what is used while messages are sent, so that nothing wrong is found in between.

        Raises:
            ImproperlyConfigured: a value is wrong.
        """
        for key in NUMBERS:
            self.number(key)
        _ = self.DELIVERY, self.STORE_MESSAGES

    #: Seconds for which a set is passed over after its server could not be reached.
    COOL_DOWN = _Seconds()
    #: Seconds in which one alert is sent for a set and cause.
    ALERT_INTERVAL = _Seconds()
    #: Seconds that a request waits for the server's reply to the whole message.
    FINAL_REPLY_TIMEOUT = _Seconds()
    #: The same outside of requests (RFC 5321 4.5.3.2.6 asks for 600).
    FINAL_REPLY_TIMEOUT_IN_WORKERS = _Seconds()
    #: Recipients of one SMTP transaction (RFC 5321 4.5.3.1.8 guarantees 100).
    MAX_RECIPIENTS = _Count()
    #: Sessions that a process opens to the server of one set.
    MAX_SESSIONS = _Count()
    #: Seconds that a message waits while all sessions are in use.
    SESSION_WAIT = _Seconds()
    #: Seconds after which a session is not used again.
    SESSION_MAX_AGE = _Seconds()
    #: Seconds after which an unused session is closed.
    SESSION_MAX_IDLE = _Seconds()
    #: Messages after which a session is not used again.
    SESSION_MAX_MESSAGES = _Count()
    #: Seconds since its last use within which a session gets a message in one write. Later it may
    #: have died unnoticed, and a message written at once would be neither known to be taken nor
    #: known not to be.
    ONE_WRITE_WITHIN = _Seconds()
    #: Seconds for which the outbox tries a message, and one of category security.
    OUTBOX_MAX_AGE = _Seconds()
    SECURITY_MAX_AGE = _Seconds()
    #: Seconds for which a worker's claim of messages is valid.
    OUTBOX_LEASE = _Seconds()
    #: Seconds until the first retry; each later one waits twice as long, up to an hour.
    OUTBOX_RETRY_AFTER = _Seconds()
    #: Seconds between two looks into an empty outbox.
    OUTBOX_POLL = _Seconds()
    #: Days for which log entries, and whole messages, are kept.
    KEEP_LOG_DAYS = _Count()
    KEEP_MESSAGES_DAYS = _Count()
    #: Bytes that all stored messages may use.
    MAX_STORED = _Count()
    #: Requests with delivery reports that are taken for one set.
    WEBHOOK_REQUESTS_PER_MINUTE = _Count()

    @property
    def DELIVERY(self) -> str:
        """``immediate``, or ``queued``: by way of the outbox.

        Raises:
            ImproperlyConfigured: it is anything else.
        """
        return self._one_of("DELIVERY", ("immediate", "queued"))

    @property
    def STORE_MESSAGES(self) -> str:
        """Which messages are stored whole: ``undelivered``, ``all`` or ``none``.

        Raises:
            ImproperlyConfigured: it is anything else.
        """
        return self._one_of("STORE_MESSAGES", ("undelivered", "all", "none"))

    @property
    def RETRY_DEFERRED(self) -> bool:
        """Whether the outbox tries again what immediate delivery could not send."""
        return bool(self._get("RETRY_DEFERRED"))

    @property
    def RETRY_CATEGORIES(self) -> frozenset[str]:
        """Categories for which the outbox does so even without ``RETRY_DEFERRED``."""
        return frozenset(self._get("RETRY_CATEGORIES"))

    @property
    def BANNERS(self) -> bool:
        """Whether admin pages show redirects, changes that are not live yet, and failures."""
        return bool(self._get("BANNERS"))

    def _one_of(self, key: str, choices: tuple[str, ...]) -> str:
        value = self._get(key)
        if value not in choices:
            raise ImproperlyConfigured(
                f"WAGTAIL_SMTP[{key!r}] must be one of {', '.join(map(repr, choices))}."
            )
        return str(value)

    def stores(self, state: str) -> bool:
        """Whether messages that ended in ``state`` are stored. What is too large always is."""
        if state == "too_large" or self.STORE_MESSAGES == "all":
            return True
        undelivered = {"failed", "blocked", "unknown"}
        return self.STORE_MESSAGES == "undelivered" and state in undelivered

    def forced_redirect(self) -> tuple[str, ...] | None:
        """The addresses that environment or settings send all mail to, as written.

        None: no redirect is forced. An empty tuple: one is forced but names nobody, so
        no mail may leave. What is no text stands there as ``<type>``, which is no address.
        """
        if REDIRECT_VARIABLE in os.environ:
            value: Any = os.environ[REDIRECT_VARIABLE]
        else:
            value = self._get("REDIRECT_ALL_TO")
        if value is None:
            return None
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, list | tuple | set | frozenset):
            value = [value]
        named = (
            item.strip() if isinstance(item, str) else f"<{type(item).__name__}>" for item in value
        )
        return tuple(filter(None, named))


conf = Conf()
