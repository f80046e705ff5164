"""What a process forgets when it turns out to be the child of a fork.

Python calls its hooks when Python forks. A server written in C may fork without them: uWSGI's
workers have none unless ``py-call-uwsgi-fork-hooks`` is set, and would otherwise share the
connections that its master opened while it loaded the project.
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
    """Call the hooks if this is the child of a fork that Python doesn't know of.

    To be called before anything is used that a fork makes unusable.
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
    # Last: until then, other threads wait.
    _owner = os.getpid()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _call()


os.register_at_fork(after_in_child=_after_fork)
