"""Moments from elsewhere as the project keeps its times: aware, or naive where USE_TZ is off.

What Django itself makes (``timezone.now()``, fields, filters) is right already. This is for what
an email provider, a certificate or a number of seconds says.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, time
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.utils import timezone, translation


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


P = ParamSpec("P")
T = TypeVar("T")


def of_site() -> AbstractContextManager[Any]:
    """Write in the site's language: for ADMINS, and for the delivery log."""
    return translation.override(settings.LANGUAGE_CODE)


def in_site_language(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: what it writes is in the site's language."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with of_site():
            return function(*args, **kwargs)

    return wrapper


def of_user(user: Any) -> str:
    """The language that a user has chosen in the admin, else the site's."""
    profile = getattr(user, "wagtail_userprofile", None)
    return getattr(profile, "preferred_language", "") or settings.LANGUAGE_CODE


def address_of(user: Any) -> str:
    """The user's email address; empty without one, or if the model has no field for it."""
    return str(getattr(user, user.get_email_field_name(), "") or "")
