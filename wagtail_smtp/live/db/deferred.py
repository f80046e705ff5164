"""Deferred writes: a thread repeats what can't be written now until the database accepts it.

The thread has a connection of its own, and ends when nothing waits.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, connections, transaction

from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.runtime import error_logging, process

logger = logging.getLogger(__name__)

#: How many jobs may wait, how many bytes they may hold, and how many seconds they may wait. What
#: exceeds these limits is lost, and that is logged.
_MAX_JOBS, _MAX_BYTES = 1000, 32 * 1024 * 1024
_MAX_AGE = 600
#: Seconds between two attempts; the pause doubles up to the second value.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
#: Errors after which another attempt may succeed: no connection, a lock, a broken transaction.
_RETRYABLE = (OperationalError, InterfaceError, OSError)
#: Seconds that the end of the process waits for the thread.
_AT_EXIT = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    work: Callable[[], object]
    alias: str
    size: int
    until: float


class _Queue:
    """The thread, and the jobs that wait for it or for the end of a caller's transaction."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = self._bytes = 0
        #: New jobs; None only wakes the thread. Its ``put`` may be called by the garbage
        #: collector, in any thread and at any time.
        self.inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._jobs: deque[_Job] = deque()
        self._thread: threading.Thread | None = None
        self._is_last = False

    def has_room(self, size: int) -> bool:
        """Whether another job fits now; it may no longer fit a moment later."""
        return self._count < _MAX_JOBS and self._bytes + size <= _MAX_BYTES

    def job(self, work: Callable[[], object], alias: str, size: int) -> _Job | None:
        """Return a job to be put into the inbox or released; None without room or a thread."""
        with self._lock:
            if not self.has_room(size):
                return None
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run, name="wagtail_smtp deferred", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # there are too many threads, or the process ends
                    return None
                self._thread = thread
            self._count += 1
            self._bytes += size
        return _Job(work, alias, size, time.monotonic() + _MAX_AGE)

    def put(self, work: Callable[[], object], alias: str, size: int = 0) -> bool:
        """See :func:`put`."""
        job = self.job(work, alias, size)
        if job is not None:
            self.inbox.put(job)
        return job is not None

    def release(self, job: _Job) -> None:
        """Forget a job that is done or no longer needed."""
        with self._lock:
            self._count -= 1
            self._bytes -= job.size
        self.inbox.put(None)

    def close(self) -> None:
        """Do the waiting jobs within a few seconds; drop the rest."""
        with self._lock:
            thread, self._is_last = self._thread, True
        if thread is not None:
            self.inbox.put(None)
            thread.join(_AT_EXIT)
            if lost := len(self._jobs):
                _lost(lost)

    def _run(self) -> None:
        pause = 0.0
        try:
            while self._is_needed():
                self._receive(pause)
                if not self._jobs:
                    continue
                job = self._jobs[0]
                failure = _failure_of(job.work, job.alias)
                self._jobs.popleft()
                if isinstance(failure, _RETRYABLE) and time.monotonic() <= job.until:
                    self._jobs.append(job)  # another job may succeed
                    longest = 0.2 if self._is_last else _LONGEST_PAUSE
                    pause = min(max(2 * pause, _FIRST_PAUSE), longest)
                    continue
                if failure is not None:
                    _lost(1, failure)
                pause = 0.0
                self.release(job)
        finally:
            db_connections.close_all()

    def _is_needed(self) -> bool:
        """Whether the thread continues; otherwise the next job starts another one."""
        with self._lock:
            is_waiting = bool(self._jobs) or not self.inbox.empty()
            if is_waiting or (self._count and not self._is_last):
                return True
            self._thread = None
            return False

    def _receive(self, pause: float) -> None:
        """Receive jobs until there is one to do and ``pause`` seconds are over."""
        end = time.monotonic() + pause
        while True:
            is_idle = not self._jobs
            if is_idle and self.inbox.empty():
                db_connections.close_all()  # a caller's transaction may take long
            try:
                left = max(end - time.monotonic(), 0)
                job = self.inbox.get(timeout=None if is_idle else left)
            except queue.Empty:
                return
            if job is None:
                return
            self._jobs.append(job)


def _failure_of(work: Callable[[], object], alias: str) -> Exception | None:
    try:
        connections[alias].close_if_unusable_or_obsolete()
        work()
    except Exception as error:
        return error
    return None


def _lost(number: int, error: Exception | None = None) -> None:
    error_logging.failure(
        logger,
        "The delivery log could not be written, not even later: %d entries are missing.",
        number,
        error=error or False,
    )


class _RollbackHook:
    """A callback for ``on_commit``; Django drops it if the transaction is rolled back."""

    def __init__(self, owner: _Queue, job: _Job) -> None:
        self._queue, self._inbox = owner, owner.inbox
        self._job: _Job | None = job

    def __call__(self) -> None:
        job, self._job = self._job, None
        if job is not None and self._inbox is self._queue.inbox:
            self._queue.release(job)

    def __del__(self) -> None:
        # The garbage collector may call this anywhere, so it takes no lock, starts no thread and
        # logs nothing. The thread runs already; in a forked process no one reads this inbox.
        if self._job is not None:
            self._inbox.put(self._job)


def put(work: Callable[[], object], alias: str, size: int = 0) -> bool:
    """Do ``work`` in the thread, and repeat it until it succeeds; return whether that is possible.

    It isn't if too much waits already, if no thread can be started, or in tests, where it would
    be done during the next test.

    Args:
        size: about how many bytes ``work`` holds.
    """
    return not db_connections.is_under_test() and _queue.put(work, alias, size)


def has_room(size: int) -> bool:
    """Whether another job that holds ``size`` bytes may wait."""
    return _queue.has_room(size)


def after_rollback(work: Callable[[], object], alias: str, size: int = 0) -> None:
    """Repeat ``work``, done in the caller's transaction, if that is rolled back.

    Args:
        size: as for :func:`put`.
    """
    if not connections[alias].in_atomic_block or db_connections.is_under_test():
        return
    job = _queue.job(work, alias, size)
    if job is None:
        logger.warning("An entry of the delivery log is lost if this transaction is rolled back.")
        return
    # Django drops these callbacks when a transaction or savepoint is rolled back.
    transaction.on_commit(_RollbackHook(_queue, job), using=alias)


_queue = _Queue()
process.at_exit(lambda: _queue.close())
process.after_in_child(lambda: _queue.__init__())  # type: ignore[misc]
