"""Step-by-step guides of Microsoft and Google themselves."""

from typing import Any

from django.utils.translation import gettext_lazy as _

_LEARN = "https://learn.microsoft.com/exchange"

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
