"""Alerts as email to ADMINS."""

from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage

from wagtail_smtp.categories import ALERT


class AlertEmail(EmailMessage):
    """An alert. It is never queued, because the outbox may be what it reports.

    Attributes:
        not_through: keys of settings sets that are not tried.
    """

    email_category = ALERT
    not_through: tuple[str, ...] = ()


def admins() -> list[str]:
    """The addresses in ADMINS."""
    return [admin if isinstance(admin, str) else admin[1] for admin in settings.ADMINS]


def build(
    subject: str, text: str, to: Sequence[str], not_through: Sequence[str] = ()
) -> AlertEmail:
    """Return the message, to be sent."""
    message = AlertEmail(
        f"{settings.EMAIL_SUBJECT_PREFIX}{subject}",
        text,
        settings.SERVER_EMAIL,
        to,
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.not_through = tuple(not_through)
    return message
