"""Causes of failed deliveries, how to recognise each, and what to do about it.

The first cause that fits counts, so particular ones stand above general ones. Servers' words
differ and change; enhanced status codes (RFC 3463) are looked at first.
"""

from typing import Any

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.causes.base import Cause, Failure
from wagtail_smtp.diagnostics.causes.connection import ENCRYPTION, GREETING, NETWORK
from wagtail_smtp.diagnostics.causes.esp import PROVIDER
from wagtail_smtp.diagnostics.causes.login import LOGIN, LOGIN_REFUSED, STARTTLS_NEEDED
from wagtail_smtp.diagnostics.causes.message import MESSAGE
from wagtail_smtp.diagnostics.causes.oauth import LOGIN_WITH_TOKEN, TOKENS
from wagtail_smtp.diagnostics.causes.policy import POLICY

CAUSES: tuple[Cause, ...] = (
    *TOKENS,
    *NETWORK,
    *GREETING,
    *ENCRYPTION,
    *PROVIDER,
    *STARTTLS_NEEDED,
    *LOGIN_WITH_TOKEN,
    *LOGIN,
    *POLICY,
    *LOGIN_REFUSED,
    *MESSAGE,
)

#: The same, in the order in which people meet them.
GROUPS: tuple[tuple[str, Any, tuple[Cause, ...]], ...] = (
    ("connection", _("Connection"), (*NETWORK, *GREETING)),
    ("encryption", _("Encryption"), (*ENCRYPTION, *STARTTLS_NEEDED)),
    ("login", _("Username and password"), (*LOGIN, *LOGIN_REFUSED)),
    ("oauth", _("OAuth 2"), (*TOKENS, *LOGIN_WITH_TOKEN)),
    ("policy", _("Sender and site"), POLICY),
    ("message", _("Message and recipients"), MESSAGE),
    ("provider", _("Email providers (API)"), PROVIDER),
)


def explain(failure: Failure) -> Cause:
    """The cause that fits first; there is always one."""
    return next(cause for cause in CAUSES if cause.fits(failure))
