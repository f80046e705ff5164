"""Which threads serve requests: Django cleans up after those, and people wait for them."""

import asyncio
import logging
import threading
from importlib import import_module
from typing import Any

from wagtail_smtp.runtime import forks

logger = logging.getLogger(__name__)

_thread = threading.local()


def begin_request(**kwargs: Any) -> None:
    """Receiver of request_started."""
    forks.notice()
    _thread.is_managed = _thread.is_in_request = True


def end_request(**kwargs: Any) -> None:
    """Receiver of request_finished."""
    _thread.is_in_request = False


def is_managed() -> bool:
    """Whether somebody closes the connections that this thread opens."""
    if threading.current_thread() is threading.main_thread():
        return True
    return getattr(_thread, "is_managed", False)


def is_awaited() -> bool:
    """Whether a request, or a whole event loop, stands still while this thread waits."""
    return getattr(_thread, "is_in_request", False) or runs_event_loop()


def runs_event_loop() -> bool:
    """Whether this thread is running an event loop just now."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def warn_if_stopped() -> None:
    """Log if threads don't run in this process, which uWSGI can be told; to be called once."""
    try:
        uwsgi = import_module("uwsgi")
    except ImportError:  # it exists only inside uWSGI
        return
    if not getattr(uwsgi, "has_threads", True):
        logger.warning(
            "uWSGI runs without threads, so parts of the delivery log are written late or lost, "
            "and queued email is not sent by this process. Set 'enable-threads = true'."
        )
