"""The categories of email, and a context manager that sets one for a block of code."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SECURITY = "security"
NOTIFICATION = "notification"
FORM = "form"
ERROR = "error"
ALERT = "alert"
TEST = "test"
OTHER = "other"

#: Categories every site has. A project adds its own with WAGTAIL_SMTP["CATEGORIES"].
BUILT_IN = (SECURITY, NOTIFICATION, FORM, ERROR, ALERT, TEST, OTHER)

_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*\Z")

_context: ContextVar[tuple[str, ...]] = ContextVar("wagtail_smtp_categories", default=())


def validate_category(slug: object) -> str:
    """Return ``slug`` if it is valid for a category.

    A category is a string of at most 50 lower-case letters, digits, ``-`` and ``_``.

    Raises:
        ValueError: it is not valid.
    """
    if isinstance(slug, str) and len(slug) <= 50 and _SLUG.match(slug):
        return slug
    raise ValueError(
        f"{slug!r} is not a valid email category. Use at most 50 lower-case letters, digits, "
        "'-' and '_', for example 'invoice'."
    )


@contextmanager
def email_category(slug: str) -> Iterator[None]:
    """Give every message sent inside the block this category.

    Blocks can be nested: the innermost decides, except that ``security`` in any of them makes
    the message ``security``. The category also applies in ``sync_to_async`` and in tasks of the
    running event loop, but not in threads that the code starts.

    Raises:
        ValueError: ``slug`` is not valid.
    """
    token = _context.set((*_context.get(), validate_category(slug)))
    try:
        yield
    finally:
        _context.reset(token)


def context_categories() -> tuple[str, ...]:
    """Return the categories of the surrounding blocks, innermost first."""
    return _context.get()[::-1]
