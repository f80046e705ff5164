"""Writing that can't be done now: a thread does it as soon as the database lets it.

The thread has a connection of its own, and ends with its work.
"""

import asyncio
import atexit
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.db import InterfaceError, OperationalError, connections, transaction

from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.runtime import error_logging, once

logger = logging.getLogger(__name__)

#: How many writings wait at most, how many bytes they hold, and for how many seconds; the rest is
#: lost, and logged.
_WAITING, _BYTES = 1000, 32 * 1024 * 1024
_PATIENCE = 600
#: Seconds between two tries, growing.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
#: After these another try may succeed: no connection, a lock, a broken transaction.
_PASSING = (OperationalError, InterfaceError, OSError)
#: Seconds that the end of the process waits.
_AT_EXIT = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    work: Callable[[], object]
    alias: str
    size: int
    until: float


class _Later:
    """The thread and what waits for it, or for the end of a caller's transaction."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = self._bytes = 0
        #: What is to be done; None only wakes the thread. Its ``put`` may be called by the
        #: garbage collector, in any thread and at any time.
        self.inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._jobs: deque[_Job] = deque()
        self._thread: threading.Thread | None = None
        self._is_last = False

    def has_room(self, size: int) -> bool:
        with self._lock:
            return self._has_room(size)

    def _has_room(self, size: int) -> bool:
        return self._count < _WAITING and self._bytes + size <= _BYTES

    def job(self, work: Callable[[], object], alias: str, size: int) -> _Job | None:
        """A job there is room and a thread for; it has to be put into the inbox or released."""
        with self._lock:
            if not self._has_room(size):
                return None
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="wagtail_smtp later", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # there are too many, or the process ends
                    return None
                self._thread = thread
            self._count += 1
            self._bytes += size
        return _Job(work, alias, size, time.monotonic() + _PATIENCE)

    def put(self, work: Callable[[], object], alias: str, size: int = 0) -> bool:
        """As the module's."""
        job = self.job(work, alias, size)
        if job is not None:
            self.inbox.put(job)
        return job is not None

    def release(self, job: _Job) -> None:
        """The job is done, or needn't be."""
        with self._lock:
            self._count -= 1
            self._bytes -= job.size
        self.inbox.put(None)

    def close(self) -> None:
        """Do what waits, or give it up, within a few seconds."""
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
                if isinstance(failure, _PASSING) and time.monotonic() <= job.until:
                    self._jobs.append(job)  # another may do
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
        """Whether the thread goes on; if not, the next job starts another one."""
        with self._lock:
            is_waiting = bool(self._jobs) or not self.inbox.empty()
            if is_waiting or (self._count and not self._is_last):
                return True
            self._thread = None
            return False

    def _receive(self, pause: float) -> None:
        """Take what is in the inbox, until there is something to do and ``pause`` is over."""
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


class _Kept:
    """Called when the caller's transaction is committed; dropped by Django if it is rolled back."""

    def __init__(self, later: _Later, job: _Job) -> None:
        self._later, self._inbox = later, later.inbox
        self._job: _Job | None = job

    def __call__(self) -> None:
        job, self._job = self._job, None
        if job is not None and self._inbox is self._later.inbox:
            self._later.release(job)

    def __del__(self) -> None:
        # The garbage collector may call this anywhere: no lock, no thread, no log from here. The
        # thread was started before; in a forked process nothing reads this inbox.
        if self._job is not None:
            self._inbox.put(self._job)


def put(work: Callable[[], object], alias: str, size: int = 0) -> bool:
    """Do ``work``, again and again until it succeeds. False: it won't be done.

    That is so where too much waits already or no thread can be started, and in tests, where it
    would be done in the next one.

    Args:
        size: about how many bytes it holds.
    """
    return not db_connections.is_under_test() and _later.put(work, alias, size)


def has_room(size: int) -> bool:
    """Whether work that holds ``size`` bytes can wait."""
    return _later.has_room(size)


def after_rollback(work: Callable[[], object], alias: str, size: int = 0) -> None:
    """Do ``work`` again, which was done in the caller's transaction, if that is rolled back.

    Args:
        size: as for :func:`put`.
    """
    if not connections[alias].in_atomic_block or db_connections.is_under_test():
        return
    job = _later.job(work, alias, size)
    if job is None:
        logger.warning("An entry of the delivery log is lost if this transaction is rolled back.")
        return
    # Django drops what waits for a commit when a transaction or a savepoint is rolled back.
    transaction.on_commit(_Kept(_later, job), using=alias)


_later = _Later()
atexit.register(lambda: _later.close())
once.after_in_child(lambda: _later.__init__())  # type: ignore[misc]


_thread = threading.local()


def begin_request(**kwargs: Any) -> None:
    """Receiver of request_started."""
    once.notice()
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
