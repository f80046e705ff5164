"""Writing beside the caller's transaction: on a connection of its own, where there can be one.

One thread of the process holds that connection, since in Django a connection is a thread's. It
is closed after a while without work.
"""

import atexit
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from wagtail_smtp.live.db import bulk_sql, deferred, retry
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.db import retry as db_retry
from wagtail_smtp.runtime import once

#: Seconds that a caller waits for its turn and for a connection, and that a statement or a lock
#: may take over there.
_PATIENCE = 5
_STATEMENT = 3
#: Seconds for work that has begun.
_LONGEST = 60
#: Seconds without work after which connection and thread end.
_IDLE = 20

#: What bounds the statements of one transaction, by the database's vendor. Nothing is set for the
#: session: a pool, or PgBouncer, hands that on to the project.
_LOCAL = {
    "postgresql": f"SET LOCAL statement_timeout = '{_STATEMENT}s'; "
    f"SET LOCAL lock_timeout = '{_STATEMENT}s'"
}

T = TypeVar("T")


def write(work: Callable[[], T], alias: str) -> T:
    """Run ``work`` in a transaction that the caller's rollback doesn't undo.

    SQLite allows one writer: there it rides along in the caller's transaction, in a
    savepoint. So it does in the transaction of a test, which is rolled back at its end.

    Args:
        work: done again if the connection is lost, or the database asks for it.

    Raises:
        TimeoutError: its turn didn't come; it is not done.
        RuntimeError: no thread could be started for it; it is not done.
        django.db.Error: as ``work`` does.
    """
    if deferred.runs_event_loop() or _needs_another(connections[alias]):
        return _side.call(lambda: _apart(lambda: _bounded_again(work, alias), alias), alias)
    if connections[alias].in_atomic_block:
        with transaction.atomic(using=alias):
            return work()
    return _apart(lambda: _bounded_again(work, alias), alias)


def insert(parent: Model, rows: Sequence[Model], alias: str) -> None:
    """Insert ``parent`` and the rows of it, as :func:`write` would, in fewer round trips.

    Raises:
        as :func:`write`.
    """

    def work() -> None:
        bulk_sql.insert_all(parent, rows, before=_LOCAL.get(connections[alias].vendor, ""))

    if deferred.runs_event_loop() or _needs_another(connections[alias]):
        _side.call(lambda: _apart(work, alias), alias)
    elif connections[alias].in_atomic_block and connections[alias].vendor == "postgresql":
        # In a test. Elsewhere it has a savepoint of its own, and no bounds.
        write(lambda: bulk_sql.insert_all(parent, rows), alias)
    else:
        _apart(work, alias)


def rides_along(alias: str) -> bool:
    """Whether what :func:`write` writes now is undone if the caller's transaction is."""
    if deferred.runs_event_loop():
        return False
    connection = connections[alias]
    is_inside = connection.in_atomic_block and connection.vendor == "sqlite"
    return is_inside and not db_connections.is_in_test(connection)


def _apart(work: Callable[[], T], alias: str) -> T:
    """Do work that is a transaction of its own; once more, if the connection turns out dead."""
    connection = connections[alias]
    was_open = connection.connection is not None
    try:
        with db_retry.bounded(connection, _STATEMENT, _STATEMENT):
            return work()
    except (OperationalError, InterfaceError):
        if not was_open or not db_connections.was_lost(connection):
            raise
    with db_retry.bounded(connection, _STATEMENT, _STATEMENT):
        return work()


def _bounded_again(work: Callable[[], T], alias: str) -> T:
    return retry.repeated(lambda: _bounded(work, alias), alias)


def _bounded(work: Callable[[], T], alias: str) -> T:
    """Nothing of ours waits long for a lock, on the caller's connection either."""
    connection = connections[alias]
    with transaction.atomic(using=alias):
        if bounds := _LOCAL.get(connection.vendor):
            with connection.cursor() as cursor:
                cursor.execute(bounds)
        return work()


def _needs_another(connection: BaseDatabaseWrapper) -> bool:
    in_transaction = connection.in_atomic_block or (
        connection.connection is not None and not connection.get_autocommit()
    )
    if connection.vendor == "sqlite" or db_connections.is_in_test(connection):
        return False
    return in_transaction


def _stays_open(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection is kept for the next work.

    A pool has others who need it, and a test's database is removed right after the tests, which
    PostgreSQL refuses while it is open.
    """
    return "pool" not in connection.settings_dict["OPTIONS"] and not db_connections.is_under_test()


class _Side:
    """The thread, started when there is work."""

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
                thread = threading.Thread(target=self._run, name="wagtail_smtp log", daemon=True)
                # May fail, where a machine has too many: then nothing waits for it.
                thread.start()
                self._thread = thread
            self._work.put((future, work, alias))
        try:
            return future.result(timeout=_PATIENCE)
        except TimeoutError:
            if future.cancel():
                raise
            # It has begun, and its statements are bounded. What is done late must not be told
            # to have failed: the outbox might send what the caller sends again.
            return future.result(timeout=_LONGEST)

    def close(self) -> None:
        """End the thread, and with it its connections, when what waits is done."""
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._work.put(None)
        if thread is not None:
            thread.join(_PATIENCE)

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                future, work, alias = job
                _do(future, work, connections[alias])
        finally:
            db_connections.close_all()

    def _next(self) -> tuple[Future[Any], Callable[[], Any], str] | None:
        """What is to be done next; None: the thread ends."""
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
        # CONN_MAX_AGE is for connections of requests; this one ends with its thread.
        connection.close_at = None
        # Only now: who waits for a connection may still give up.
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


_side = _Side()
# Its thread would be cut off in the midst of its work.
atexit.register(lambda: _side.close())


def _after_fork() -> None:
    # The thread is the parent's, and so is the connection it holds.
    _side.__init__()  # type: ignore[misc]


once.after_in_child(_after_fork)
