"""Errors of the plugin's own in the project's log, which may mail them.

A mail about a failure runs into the same failure. So what fails while a mail of that kind is under
way, or while a failure is being logged, is a warning: nobody mails those.
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
    """Log ``error``, by default the one that is being handled, with its traceback."""
    level = logging.WARNING if is_suppressed() else logging.ERROR
    with quietly():
        logger.log(level, message, *args, exc_info=error)


def is_suppressed() -> bool:
    """Whether a mail about errors is being sent, or a failure logged."""
    return _is_quiet.get()


@contextlib.contextmanager
def without_cache(logger: logging.Logger) -> Iterator[None]:
    """Go on where Django's cache is down: whatever asks it can do without."""
    try:
        yield
    except Exception:
        # No error: that would be mailed to ADMINS, and again about that mail if it fails.
        logger.warning("The cache is down.", exc_info=True)


@contextlib.contextmanager
def quietly(is_so: bool = True) -> Iterator[None]:
    """Log failures as warnings, if ``is_so``: a mail about errors is being sent."""
    token = _is_quiet.set(is_so or _is_quiet.get())
    try:
        yield
    finally:
        _is_quiet.reset(token)
