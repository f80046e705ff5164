"""Writing that can't be done now: a thread does it as soon as the database lets it.

The thread has a connection of its own, and ends with its work.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connections, transaction

from wagtail_smtp import reports
from wagtail_smtp.live import database

logger = logging.getLogger(__name__)

#: How many writings wait at most, and for how many seconds; the rest is lost, and logged.
_WAITING = 1000
_PATIENCE = 600
#: Seconds between two tries, growing.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
#: After these another try may succeed: no connection, a lock, a broken transaction.
_PASSING = (OperationalError, InterfaceError, OSError)
#: Seconds that the end of the process waits.
_AT_EXIT = 5


class _Later:
    """The thread and what waits for it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._jobs: deque[tuple[float, Callable[[], object], str]] = deque()
        self._thread: threading.Thread | None = None
        self._is_last = False

    def put(self, work: Callable[[], object], alias: str) -> bool:
        with self._condition:
            if len(self._jobs) >= _WAITING:
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="wagtail_smtp later", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # there are too many, or the process ends
                    return False
                self._thread = thread
            self._jobs.append((time.monotonic() + _PATIENCE, work, alias))
            return True

    def close(self) -> None:
        """Do what waits, or give it up, within a few seconds."""
        with self._condition:
            thread, self._is_last = self._thread, True
            self._condition.notify()
        if thread is not None:
            thread.join(_AT_EXIT)
            if lost := len(self._jobs):
                _lost(lost)

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while True:
                with self._condition:
                    if not self._jobs:
                        self._thread = None
                        return
                    until, work, alias = self._jobs[0]
                failure = _failure_of(work, alias)
                is_over = not isinstance(failure, _PASSING) or time.monotonic() > until
                with self._condition:
                    job = self._jobs.popleft()
                    if not is_over:
                        self._jobs.append(job)  # another may do
                if is_over:
                    if failure is not None:
                        _lost(1, failure)
                    pause = _FIRST_PAUSE
                    continue
                with self._condition:
                    self._condition.wait(pause)
                pause = min(2 * pause, 0.2 if self._is_last else _LONGEST_PAUSE)
        finally:
            database.close_all()


def _failure_of(work: Callable[[], object], alias: str) -> Exception | None:
    try:
        connections[alias].close_if_unusable_or_obsolete()
        work()
    except Exception as error:
        return error
    return None


def _lost(number: int, error: Exception | None = None) -> None:
    reports.failure(
        logger,
        "The delivery log could not be written, not even later: %d entries are missing.",
        number,
        error=error or False,
    )


class _Kept:
    """Called when the caller's transaction is committed; dropped by Django if it is rolled back."""

    def __init__(self, work: Callable[[], object], alias: str) -> None:
        self._work: Callable[[], object] | None = work
        self._alias = alias

    def __call__(self) -> None:
        self._work = None

    def __del__(self) -> None:
        if self._work is None:
            return
        if not put(self._work, self._alias):
            _lost(1)


def put(work: Callable[[], object], alias: str) -> bool:
    """Do ``work``, again and again until it succeeds. False: it won't be done.

    That is so where too much waits already or no thread can be started, and in tests, where it
    would be done in the next one.
    """
    return not database.is_under_test() and _later.put(work, alias)


def after_rollback(work: Callable[[], object], alias: str) -> None:
    """Do ``work`` again, which was done in the caller's transaction, if that is rolled back."""
    if connections[alias].in_atomic_block and not database.is_under_test():
        # Django drops what waits for a commit when a transaction or a savepoint is rolled back.
        transaction.on_commit(_Kept(work, alias), using=alias)


_later = _Later()
atexit.register(lambda: _later.close())
os.register_at_fork(after_in_child=lambda: _later.__init__())  # type: ignore[misc]
