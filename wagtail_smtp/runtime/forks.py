"""Reset state in a forked child process.

Python calls its hooks only if Python itself forks. uWSGI forks without them, unless
``py-call-uwsgi-fork-hooks`` is set; its workers would share the connections that its master
process opened while loading the project.
"""

import os
import threading
from collections.abc import Callable

_hooks: list[Callable[[], object]] = []
_lock = threading.Lock()
_owner = os.getpid()


def after_in_child(hook: Callable[[], object]) -> None:
    """Call ``hook`` in the child of every fork, in the order of registration."""
    _hooks.append(hook)


def notice() -> None:
    """Call the hooks if this process was forked without Python's knowledge.

    Call this before using anything that a fork makes unusable.
    """
    if os.getpid() == _owner:
        return
    with _lock:
        if os.getpid() != _owner:
            _call()


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
