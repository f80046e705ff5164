"""The project's time zone and languages.

Datetimes from outside Django (email providers, certificates, timestamps) are converted to the
project's form: aware, or naive if USE_TZ is off.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import Any

from django.conf import settings
from django.utils import timezone, translation


def as_kept(at: datetime) -> datetime:
    """Convert ``at`` to the form of ``timezone.now()``; naive means the site's time zone."""
    if timezone.is_aware(at) == settings.USE_TZ:
        return at
    zone = timezone.get_default_timezone()
    return timezone.make_aware(at, zone) if settings.USE_TZ else timezone.make_naive(at, zone)


def from_seconds(seconds: float) -> datetime:
    """Convert seconds since the epoch to a datetime."""
    return as_kept(datetime.fromtimestamp(seconds, UTC))


def to_seconds(at: datetime) -> float:
    """Convert a stored datetime to seconds since the epoch."""
    zone = timezone.get_default_timezone()
    return (timezone.make_aware(at, zone) if timezone.is_naive(at) else at).timestamp()


def midnight(day: date) -> datetime:
    """The start of a day in the site's time zone."""
    return as_kept(datetime.combine(day, time.min))


@contextmanager
def in_site_language() -> Iterator[None]:
    """Activate the site's language, for emails to ADMINS and the delivery log; also a decorator."""
    with translation.override(settings.LANGUAGE_CODE):
        yield


def language_of(user: Any) -> str:
    """The language that a user chose in the admin, else the site's."""
    profile = getattr(user, "wagtail_userprofile", None)
    return getattr(profile, "preferred_language", "") or settings.LANGUAGE_CODE


def address_of(user: Any) -> str:
    """The user's email address; empty if there is none or the model has no field for it."""
    return str(getattr(user, user.get_email_field_name(), "") or "")
