"""Every key of the ``WAGTAIL_SMTP`` setting with its default.

Nothing is cached: each value is read from Django's settings when it is used, so that
``override_settings`` works and a wrong value fails where it is used.
"""

import ipaddress
import os
from collections.abc import Mapping, Sequence
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
    "FINAL_REPLY_TIMEOUT": 60,
}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Conf:
    """The plugin's settings as typed properties."""

    def given(self) -> Mapping[str, Any]:
        """What the project wrote into ``WAGTAIL_SMTP``; empty if it isn't a mapping."""
        value = getattr(settings, "WAGTAIL_SMTP", {})
        return value if isinstance(value, Mapping) else {}

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
    def FINAL_REPLY_TIMEOUT(self) -> float:
        """Seconds to wait for the server's reply to the whole message (RFC 5321 4.5.3.2.6)."""
        return float(self._get("FINAL_REPLY_TIMEOUT"))

    def forced_redirect(self) -> tuple[str, ...] | None:
        """The addresses that environment or settings send all mail to, as written.

        None: no redirect is forced. An empty tuple: one is forced but names nobody, so
        no mail may leave.
        """
        if REDIRECT_VARIABLE in os.environ:
            value: str | Sequence[str] | None = os.environ[REDIRECT_VARIABLE]
        else:
            value = self._get("REDIRECT_ALL_TO")
        if value is None:
            return None
        if isinstance(value, str):
            value = value.split(",")
        return tuple(address.strip() for address in value if address.strip())


conf = Conf()
