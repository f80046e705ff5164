"""Find the cause of a failed delivery.

The first cause that fits wins, so specific causes come before general ones. Servers phrase their
responses differently, so enhanced status codes (RFC 3463) are checked first.
"""

from typing import Any

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.causes.base import Cause, Failure
from wagtail_smtp.causes.connection import ENCRYPTION, GREETING, NETWORK
from wagtail_smtp.causes.esp import PROVIDER
from wagtail_smtp.causes.login import (
    LOGIN,
    LOGIN_REFUSED,
    LOGIN_WITH_TOKEN,
    MAILBOX,
    STARTTLS_NEEDED,
    TOKENS,
)
from wagtail_smtp.causes.message import MESSAGE, POLICY

CAUSES: tuple[Cause, ...] = (
    *TOKENS,
    *MAILBOX,
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

#: The same causes, grouped for the documentation and the admin.
GROUPS: tuple[tuple[str, Any, tuple[Cause, ...]], ...] = (
    ("connection", _("Connection"), (*NETWORK, *GREETING)),
    ("encryption", _("Encryption"), (*ENCRYPTION, *STARTTLS_NEEDED)),
    ("login", _("Username and password"), (*LOGIN, *LOGIN_REFUSED, *MAILBOX)),
    ("oauth", _("OAuth 2"), (*TOKENS, *LOGIN_WITH_TOKEN)),
    ("policy", _("Sender and site"), POLICY),
    ("message", _("Message and recipients"), MESSAGE),
    ("provider", _("Email providers (API)"), PROVIDER),
)

_LEARN = "https://learn.microsoft.com/exchange"

#: Step-by-step guides by Microsoft and Google: label and address.
GUIDES: tuple[tuple[Any, str], ...] = (
    (
        _("Microsoft 365: OAuth 2"),
        f"{_LEARN}/client-developer/legacy-protocols/"
        "how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth",
    ),
    (
        _("Microsoft 365: authenticated SMTP"),
        f"{_LEARN}/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission",
    ),
    (_("Google: app passwords"), "https://support.google.com/accounts/answer/185833"),
    (
        _("Google Workspace: domain-wide delegation"),
        "https://support.google.com/a/answer/162106",
    ),
)


def explain(failure: Failure) -> Cause:
    """The first cause that fits. The last one always does."""
    return next(cause for cause in CAUSES if cause.fits(failure))


_BY_SLUG = {cause.slug: cause for cause in CAUSES}


def by_slug(slug: str) -> Cause | None:
    """The cause with this slug, as stored in a log entry; None if there is none."""
    return _BY_SLUG.get(slug)
