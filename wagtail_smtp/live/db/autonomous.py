"""Autonomous transactions: writes that survive a rollback of the caller's transaction.

They need a connection of their own. In Django a connection belongs to a thread, so one thread of
the process holds it. Connection and thread end after some seconds without work.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from wagtail_smtp.live.db import bulk_sql, retry, sqlite_writer
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.runtime import process

#: Seconds to wait until the thread has a connection and begins the work.
_START_TIMEOUT = 5
#: Seconds that a statement may take or wait for a lock.
_STATEMENT_TIMEOUT = 3
#: Seconds to wait for work that has begun.
_WORK_TIMEOUT = 60
#: Seconds without work after which the thread ends.
_IDLE = 20

#: Statements that limit the statements of one transaction, by vendor. Session settings would leak
#: to the project through a connection pool or PgBouncer.
_LOCAL_TIMEOUTS = {
    "postgresql": f"SET LOCAL statement_timeout = '{_STATEMENT_TIMEOUT}s'; "
    f"SET LOCAL lock_timeout = '{_STATEMENT_TIMEOUT}s'"
}

T = TypeVar("T")


def write(work: Callable[[], T], alias: str) -> T:
    """Run ``work`` in an autonomous transaction.

    SQLite allows one writer only. If the caller has an open transaction there, the work is done
    in it, in a savepoint. The same applies to the transaction that a test rolls back at its end.

    Args:
        work: writes with the connection ``alias``. It is repeated if the connection is lost or
            the database asks for it, and may share its transaction with other threads' work.

    Raises:
        TimeoutError: the work did not begin in time and isn't done.
        RuntimeError: no thread could be started; the work isn't done.
        django.db.Error: as ``work`` does.
    """
    connection = connections[alias]
    if connection.in_atomic_block and not _needs_thread(connection):
        with transaction.atomic(using=alias):
            return work()
    return _run(lambda: retry.repeated(lambda: _in_transaction(work, alias), alias), alias)


def insert(parent: Model, rows: Sequence[Model], alias: str) -> None:
    """Insert ``parent`` and its rows as :func:`write` would; on PostgreSQL in one round trip.

    Raises:
        Exception: as :func:`write`.
    """
    connection = connections[alias]
    is_alone = not connection.in_atomic_block or _needs_thread(connection)
    if connection.vendor == "postgresql" and is_alone:
        timeouts = _LOCAL_TIMEOUTS["postgresql"]
        _run(lambda: bulk_sql.insert_all(parent, rows, before=timeouts), alias)
    else:
        write(lambda: bulk_sql.insert_all(parent, rows), alias)


def is_in_callers_transaction(alias: str) -> bool:
    """Whether a rollback of the caller would undo what :func:`write` writes now."""
    if process.runs_event_loop():
        return False
    connection = connections[alias]
    is_inside = connection.in_atomic_block and connection.vendor == "sqlite"
    return is_inside and not db_connections.is_in_test(connection)


def _run(work: Callable[[], T], alias: str) -> T:
    """Do work that is a transaction of its own, in the thread if this one can't."""
    if _needs_thread(connections[alias]):
        return _writer_thread.call(lambda: _reconnecting(work, alias), alias)
    return _reconnecting(work, alias)


def _reconnecting(work: Callable[[], T], alias: str) -> T:
    """Do work that is a transaction of its own; again if the connection turns out to be dead."""
    connection = connections[alias]
    was_open = connection.connection is not None
    try:
        with retry.bounded(connection, _STATEMENT_TIMEOUT, _STATEMENT_TIMEOUT):
            return work()
    except (OperationalError, InterfaceError):
        if not was_open or not db_connections.was_lost(connection):
            raise
    with retry.bounded(connection, _STATEMENT_TIMEOUT, _STATEMENT_TIMEOUT):
        return work()


def _in_transaction(work: Callable[[], T], alias: str) -> T:
    connection = connections[alias]
    if sqlite_writer.is_usable(connection):
        return sqlite_writer.commit(work, alias)
    with transaction.atomic(using=alias):
        # Even on the caller's own connection, this must not wait long for a lock.
        if timeouts := _LOCAL_TIMEOUTS.get(connection.vendor):
            with connection.cursor() as cursor:
                cursor.execute(timeouts)
        return work()


def _needs_thread(connection: BaseDatabaseWrapper) -> bool:
    """Whether this thread can't write with its own connection."""
    if process.runs_event_loop():
        return True
    in_transaction = connection.in_atomic_block or (
        connection.connection is not None and not connection.get_autocommit()
    )
    if connection.vendor == "sqlite" or db_connections.is_in_test(connection):
        return False
    return in_transaction


def _stays_open(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection is kept for later work.

    A pool's connection may be needed elsewhere. A test's database is deleted right after the
    tests, which PostgreSQL refuses while a connection is open.
    """
    return "pool" not in connection.settings_dict["OPTIONS"] and not db_connections.is_under_test()


class _WriterThread:
    """The thread with a connection of its own; it is started when there is work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any], str] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], T], alias: str) -> T:
        future: Future[T] = Future()
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="wagtail_smtp writer", daemon=True)
                # If this fails because the machine has too many threads, nothing has been queued.
                thread.start()
                self._thread = thread
            self._work.put((future, work, alias))
        try:
            return future.result(timeout=_START_TIMEOUT)
        except TimeoutError:
            if future.cancel():
                raise
            # The work has begun, and its statements have timeouts. If it succeeds late, it must
            # not be reported as failed: both the outbox and the caller might send the message.
            return future.result(timeout=_WORK_TIMEOUT)

    def close(self) -> None:
        """Finish the queued work, then end the thread and close its connections."""
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._work.put(None)
        if thread is not None:
            thread.join(_START_TIMEOUT)

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                future, work, alias = job
                _do(future, work, connections[alias])
        finally:
            db_connections.close_all()

    def _next(self) -> tuple[Future[Any], Callable[[], Any], str] | None:
        """Return the next job; None if the thread has to end."""
        while True:
            with suppress(queue.Empty):
                job = self._work.get(timeout=_IDLE)
                if job is not None:
                    return job
            with self._lock:
                if self._work.empty():
                    self._thread = None
                    return None


def _do(future: Future[Any], work: Callable[[], Any], connection: BaseDatabaseWrapper) -> None:
    result, failure = None, None
    try:
        connection.close_if_unusable_or_obsolete()
        connection.ensure_connection()
        # CONN_MAX_AGE applies to connections of requests; this one ends with its thread.
        connection.close_at = None
        # Only now: until there is a connection, the caller may give up.
        if future.set_running_or_notify_cancel():
            result = work()
    except BaseException as error:
        failure = error
    if not _stays_open(connection):
        db_connections.close_for_good(connection)
    with suppress(InvalidStateError):  # cancelled
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)


_writer_thread = _WriterThread()
# Otherwise the end of the process would interrupt the thread's work.
process.at_exit(lambda: _writer_thread.close())
# In a forked child, thread and connection belong to the parent.
process.after_in_child(lambda: _writer_thread.__init__())  # type: ignore[misc]
