"""Log the plugin's errors without causing an endless loop of error emails.

The project's logging may email errors, and that email may fail in the same way. So failures while
an error is being logged or emailed are logged as warnings, which are not emailed.
"""

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_is_quiet = ContextVar("wagtail_smtp_is_quiet", default=False)


def failure(
    logger: logging.Logger, message: str, *args: Any, error: BaseException | bool = True
) -> None:
    """Log ``error`` (default: the current exception) with its traceback."""
    level = logging.WARNING if is_suppressed() else logging.ERROR
    with quietly():
        logger.log(level, message, *args, exc_info=error)


def is_suppressed() -> bool:
    """Whether an error is being emailed or logged."""
    return _is_quiet.get()


@contextlib.contextmanager
def without_cache(logger: logging.Logger) -> Iterator[None]:
    """Ignore failures of Django's cache, for optional uses of it."""
    try:
        yield
    except Exception:
        # Not an error: it would be emailed to ADMINS, and that email may fail too.
        logger.warning("Django's cache is not available.", exc_info=True)


@contextlib.contextmanager
def quietly(is_so: bool = True) -> Iterator[None]:
    """Log failures as warnings if ``is_so``, because an error is being emailed."""
    token = _is_quiet.set(is_so or _is_quiet.get())
    try:
        yield
    finally:
        _is_quiet.reset(token)
