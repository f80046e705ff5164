"""Close open connections when the process ends, and reset them after a fork."""

import atexit
import weakref
from typing import Protocol

from wagtail_smtp.runtime import forks


class Pooling(Protocol):
    """A transport that keeps connections open."""

    def close(self) -> None: ...
    def after_fork(self) -> None: ...


_transports: "weakref.WeakSet[Pooling]" = weakref.WeakSet()


def register(transport: Pooling) -> None:
    """Track ``transport`` for as long as it is referenced."""
    _transports.add(transport)


def _after_fork() -> None:
    for transport in list(_transports):
        transport.after_fork()


@atexit.register
def close_all() -> None:
    """Close all sessions of this process."""
    for transport in list(_transports):
        transport.close()


forks.after_in_child(_after_fork)
