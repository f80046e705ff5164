"""Causes of failed deliveries, how to recognise each, and what to do about it.

The first cause that fits counts, so particular ones stand above general ones. Servers' words
differ and change; enhanced status codes (RFC 3463) are looked at first.
"""

from wagtail_smtp.diagnostics.connection import ENCRYPTION, LOGIN, NETWORK
from wagtail_smtp.diagnostics.failure import Cause, Failure
from wagtail_smtp.diagnostics.message import MESSAGE
from wagtail_smtp.diagnostics.provider import PROVIDER
from wagtail_smtp.diagnostics.tokens import LOGIN_WITH_TOKEN, TOKENS

CAUSES: tuple[Cause, ...] = (
    *TOKENS,
    *NETWORK,
    *ENCRYPTION,
    *PROVIDER,
    *LOGIN_WITH_TOKEN,
    *LOGIN,
    *MESSAGE,
)


def explain(failure: Failure) -> Cause:
    """The cause that fits first; there is always one."""
    return next(cause for cause in CAUSES if cause.fits(failure))
