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

#: Environment variable with comma-separated addresses; stands over ``REDIRECT_ALL_TO``.
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
}

#: Keys whose value is a number above zero: seconds, or a count.
NUMBERS = tuple(key for key, value in DEFAULTS.items() if type(value) is int)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Conf:
    """The plugin's settings as typed properties."""

    def given(self) -> Mapping[str, Any]:
        """What the project wrote into ``WAGTAIL_SMTP``.

        Raises:
            ImproperlyConfigured: it is no dictionary. A redirect may stand in it.
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
            ImproperlyConfigured: it is no number above zero.
        """
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ImproperlyConfigured(f"WAGTAIL_SMTP[{key!r}] must be a number above zero.")
        return value

    @property
    def COOL_DOWN(self) -> float:
        """Seconds for which a set is passed over after its server could not be reached."""
        return self.number("COOL_DOWN")

    @property
    def ALERT_INTERVAL(self) -> float:
        """Seconds in which one alert is sent for a set and cause."""
        return self.number("ALERT_INTERVAL")

    @property
    def FINAL_REPLY_TIMEOUT(self) -> float:
        """Seconds that a request waits for the server's reply to the whole message."""
        return self.number("FINAL_REPLY_TIMEOUT")

    @property
    def FINAL_REPLY_TIMEOUT_IN_WORKERS(self) -> float:
        """The same where nobody waits for a page (RFC 5321 4.5.3.2.6 asks for 600)."""
        return self.number("FINAL_REPLY_TIMEOUT_IN_WORKERS")

    @property
    def MAX_RECIPIENTS(self) -> int:
        """Recipients of one SMTP transaction (RFC 5321 4.5.3.1.8 guarantees 100)."""
        return int(self.number("MAX_RECIPIENTS"))

    @property
    def MAX_SESSIONS(self) -> int:
        """Sessions that a process opens to the server of one set."""
        return int(self.number("MAX_SESSIONS"))

    @property
    def SESSION_WAIT(self) -> float:
        """Seconds that a message waits while all sessions are in use."""
        return self.number("SESSION_WAIT")

    @property
    def SESSION_MAX_AGE(self) -> float:
        """Seconds after which a session is not used again."""
        return self.number("SESSION_MAX_AGE")

    @property
    def SESSION_MAX_IDLE(self) -> float:
        """Seconds after which an unused session is closed."""
        return self.number("SESSION_MAX_IDLE")

    @property
    def SESSION_MAX_MESSAGES(self) -> int:
        """Messages after which a session is not used again."""
        return int(self.number("SESSION_MAX_MESSAGES"))

    @property
    def ONE_WRITE_WITHIN(self) -> float:
        """Seconds since its last use within which a session gets a message in one write.

        Later it may have died unnoticed, and a message written at once would be neither
        known to be taken nor known not to be.
        """
        return self.number("ONE_WRITE_WITHIN")

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
