"""The language of texts for others than the one whose request writes them."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.utils import translation

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
