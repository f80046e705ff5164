"""One writer per process on SQLite, shared fairly by its threads.

SQLite lets one connection write at a time, and threads that wait for its lock poll for it: some
wait for seconds while others write again and again. Here a thread commits, in one transaction, its
own work and that of all threads waiting at that moment. No thread waits longer than two commits.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeVar

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from wagtail_smtp.runtime import process

T = TypeVar("T")


class _Job:
    """The work of one thread, and its result."""

    __slots__ = ("_context", "_work", "is_done", "result")

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        # The work may run in another thread.
        self._context = copy_context()
        self.result: Any = None
        self.is_done = False

    def run(self) -> None:
        self.result = self._context.run(self._work)


class _Writer:
    """The jobs of all threads for one database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()

    def commit(self, work: Callable[[], T], alias: str) -> T:
        job = _Job(work)
        self._jobs.append(job)
        try:
            with self._lock:
                if not job.is_done:
                    self._commit_all(job, alias)
        except BaseException:
            # An error, or an exception raised by a signal handler: the work must not be done
            # after this thread has continued.
            with suppress(ValueError):
                self._jobs.remove(job)
            raise
        result: T = job.result
        return result

    def waiting(self) -> int:
        """The number of jobs that wait for the thread that is writing."""
        return len(self._jobs)

    def _commit_all(self, own: _Job, alias: str) -> None:
        jobs = []
        while self._jobs:
            jobs.append(self._jobs.popleft())
        try:
            _commit(jobs, alias)
        except BaseException as error:
            # The other threads do their own work.
            self._jobs.extendleft(job for job in reversed(jobs) if job is not own)
            if len(jobs) == 1 or not isinstance(error, Exception):
                raise
            # It may be another thread's error.
            _commit([own], alias)


def _commit(jobs: Sequence[_Job], alias: str) -> None:
    with transaction.atomic(using=alias):
        for job in jobs:
            job.run()
    for job in jobs:
        job.is_done = True


_writers: dict[str, _Writer] = {}
# A thread of the parent may have been writing; it doesn't exist in the child.
process.after_in_child(_writers.clear)


def commit(work: Callable[[], T], alias: str) -> T:
    """Call ``work`` in a transaction that it may share with other threads' work.

    ``work`` should begin with a write, may run in another thread and more than once, and must use
    ``alias`` for all its queries. When this returns, it is committed.

    Raises:
        Exception: as ``work`` does; then nothing of it is written.
    """
    return _writer(alias).commit(work, alias)


def in_transaction(work: Callable[[], T], alias: str) -> T:
    """The same as :func:`commit` if that is usable, otherwise in a transaction of its own."""
    if is_usable(connections[alias]):
        return commit(work, alias)
    with transaction.atomic(using=alias):
        return work()


def is_usable(connection: BaseDatabaseWrapper) -> bool:
    """Whether writes with this connection can be shared: on SQLite, outside a transaction."""
    return (
        connection.vendor == "sqlite"
        and not connection.in_atomic_block
        and connection.get_autocommit()
    )


def waiting(alias: str) -> int:
    """The number of threads whose work waits for another thread's commit."""
    return _writer(alias).waiting()


def _writer(alias: str) -> _Writer:
    return _writers.setdefault(alias, _Writer())


def checkpoint(alias: str) -> None:
    """Move what SQLite wrote ahead into the database file.

    Otherwise the next commit that finds the log long does it, perhaps that of a message: it takes
    tens of milliseconds. With another journal or database, this does nothing.
    """
    connection = connections[alias]
    if is_usable(connection):
        # It is locked while the caller is still reading with this connection.
        with suppress(OperationalError), connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
