"""The categories of mail, and the context that names one for a block of code."""

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
    """Return ``slug`` if it can name a category.

    A category is a string of at most 50 lower-case letters, digits, ``-`` and ``_``.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(slug, str) and len(slug) <= 50 and _SLUG.match(slug):
        return slug
    raise ValueError(
        f"{slug!r} is no email category: use at most 50 lower-case letters, digits, "
        "'-' and '_', for example 'invoice'."
    )


@contextmanager
def email_category(slug: str) -> Iterator[None]:
    """Give every message sent inside the block this category.

    Blocks nest; the innermost names the category, but a ``security`` further out still
    makes the message ``security``. The context follows ``sync_to_async`` and tasks of the
    running event loop; it doesn't follow into threads the code starts by itself.

    Raises:
        ValueError: ``slug`` can't name a category.
    """
    token = _context.set((*_context.get(), validate_category(slug)))
    try:
        yield
    finally:
        _context.reset(token)


def context_categories() -> tuple[str, ...]:
    """The categories of the surrounding blocks, innermost first."""
    return _context.get()[::-1]
