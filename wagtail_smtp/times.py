"""Moments from elsewhere as the project keeps its times: aware, or naive where USE_TZ is off.

What Django itself makes (``timezone.now()``, fields, filters) is right already. This is for what
an email provider, a certificate or a number of seconds says.
"""

from datetime import UTC, date, datetime, time

from django.conf import settings
from django.utils import timezone


def as_kept(at: datetime) -> datetime:
    """``at`` as model fields and ``timezone.now()`` have it; naive means the site's time zone."""
    if timezone.is_aware(at) == settings.USE_TZ:
        return at
    zone = timezone.get_default_timezone()
    return timezone.make_aware(at, zone) if settings.USE_TZ else timezone.make_naive(at, zone)


def from_seconds(seconds: float) -> datetime:
    """The moment so many seconds after the epoch."""
    return as_kept(datetime.fromtimestamp(seconds, UTC))


def to_seconds(at: datetime) -> float:
    """Seconds from the epoch to a moment as it is kept."""
    zone = timezone.get_default_timezone()
    return (timezone.make_aware(at, zone) if timezone.is_naive(at) else at).timestamp()


def midnight(day: date) -> datetime:
    """When a day begins in the site's time zone."""
    return as_kept(datetime.combine(day, time.min))
