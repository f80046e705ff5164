"""What the plugin needs to know about its process: forks, requests and event loops."""

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

logger = logging.getLogger(__name__)

_hooks: list[Callable[[], object]] = []
_exit_hooks: list[Callable[[], object]] = []
_lock = threading.Lock()
_owner = os.getpid()


def after_in_child(hook: Callable[[], object]) -> None:
    """Call ``hook`` in the child of every fork, in the order of registration."""
    _hooks.append(hook)


def detect_fork() -> None:
    """Call the hooks if this process was forked without Python's knowledge.

    Call this before using anything that a fork makes unusable.
    """
    if os.getpid() == _owner:
        return
    with _lock:
        if os.getpid() != _owner:
            _call()


def at_exit(hook: Callable[[], object]) -> None:
    """Call ``hook`` when the process ends; the last registered first."""
    _exit_hooks.append(hook)
    atexit.register(hook)


def run_exit_hooks() -> None:
    """Call the hooks of :func:`at_exit`, in a forked child that ends without calling them."""
    for hook in reversed(_exit_hooks):
        hook()


def _call() -> None:
    global _owner
    for hook in _hooks:
        hook()
    # Last, so that other threads wait until the hooks are done.
    _owner = os.getpid()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _call()


os.register_at_fork(after_in_child=_after_fork)


_thread = threading.local()


def begin_request(**kwargs: Any) -> None:
    """Receive ``request_started``."""
    detect_fork()
    _thread.is_managed = _thread.is_in_request = True


def end_request(**kwargs: Any) -> None:
    """Receive ``request_finished``."""
    _thread.is_in_request = False


def is_managed() -> bool:
    """Whether Django closes the database connections that this thread opens."""
    if threading.current_thread() is threading.main_thread():
        return True
    return getattr(_thread, "is_managed", False)


def is_awaited() -> bool:
    """Whether a request or an event loop waits for this thread."""
    return getattr(_thread, "is_in_request", False) or runs_event_loop()


def runs_event_loop() -> bool:
    """Whether an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def warn_without_threads() -> None:
    """Log a warning if uWSGI runs without threads; called once, when Django starts."""
    try:
        uwsgi = import_module("uwsgi")
    except ImportError:  # it exists only inside uWSGI
        return
    if not getattr(uwsgi, "has_threads", True):
        logger.warning(
            "uWSGI runs without threads, so parts of the delivery log are written late or lost, "
            "and queued email and alerts are not sent by this process. Set 'enable-threads = true'."
        )
