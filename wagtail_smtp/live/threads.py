"""Which threads serve requests: Django cleans up after those, and people wait for them."""

import asyncio
import threading
from typing import Any

_thread = threading.local()


def begin_request(**kwargs: Any) -> None:
    """Receiver of request_started."""
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
