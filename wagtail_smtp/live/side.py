"""Writing beside the caller's transaction: on a connection of its own, where there can be one.

One thread of the process holds that connection, since in Django a connection is a thread's. It
is closed after a while without work.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from wagtail_smtp.live import statements, threads

#: Seconds that a caller waits, and that a statement or a lock may take over there.
_PATIENCE = 5
_STATEMENT = 3
#: Seconds for work that has begun.
_LONGEST = 60
#: Seconds without work after which connection and thread end.
_IDLE = 20

#: What bounds a statement on the connection, by the database's vendor.
_BOUNDS = {
    "postgresql": (
        f"SET statement_timeout = '{_STATEMENT}s'",
        f"SET lock_timeout = '{_STATEMENT}s'",
    ),
    "mysql": (f"SET SESSION innodb_lock_wait_timeout = {_STATEMENT}",),
}

#: The same for one transaction.
_LOCAL = {"postgresql": "; ".join(_BOUNDS["postgresql"]).replace("SET ", "SET LOCAL ")}

T = TypeVar("T")


def write(work: Callable[[], T], alias: str) -> T:
    """Run ``work`` in a transaction that the caller's rollback doesn't undo.

    SQLite allows one writer: there it rides along in the caller's transaction, in a
    savepoint.

    Raises:
        TimeoutError: its turn didn't come; it is not done.
        django.db.Error: as ``work`` does.
    """
    if threads.runs_event_loop() or _needs_another(connections[alias]):
        return _side.call(lambda: _in_transaction(work, alias), alias)
    return _in_transaction(lambda: _bounded(work, connections[alias]), alias)


def insert(parent: Model, rows: Sequence[Model], alias: str) -> None:
    """Insert ``parent`` and the rows of it, as :func:`write` would, in fewer round trips.

    Raises:
        as :func:`write`.
    """
    connection = connections[alias]
    if threads.runs_event_loop() or _needs_another(connection):
        _side.call(lambda: statements.insert_all(parent, rows), alias)
    else:
        statements.insert_all(parent, rows, before=_LOCAL.get(connection.vendor, ""))


def _bounded(work: Callable[[], T], connection: BaseDatabaseWrapper) -> T:
    """Nothing of ours waits long for a lock on the caller's connection either."""
    if bounds := _LOCAL.get(connection.vendor):
        with connection.cursor() as cursor:
            cursor.execute(bounds)
    return work()


def _needs_another(connection: BaseDatabaseWrapper) -> bool:
    in_transaction = connection.in_atomic_block or (
        connection.connection is not None and not connection.get_autocommit()
    )
    return in_transaction and connection.vendor != "sqlite"


def _in_transaction(work: Callable[[], T], alias: str) -> T:
    with transaction.atomic(using=alias):
        return work()


class _Side:
    """The thread, started when there is work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any], str]] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None

    def call(self, work: Callable[[], T], alias: str) -> T:
        future: Future[T] = Future()
        with self._lock:
            self._work.put((future, work, alias))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="wagtail_smtp log", daemon=True
                )
                self._thread.start()
        try:
            return future.result(timeout=_PATIENCE)
        except TimeoutError:
            if future.cancel():
                raise
            # It has begun, and its statements are bounded. What is done late must not be told
            # to have failed: the outbox might send what the caller sends again.
            return future.result(timeout=_LONGEST)

    def _run(self) -> None:
        try:
            while True:
                try:
                    future, work, alias = self._work.get(timeout=_IDLE)
                except queue.Empty:
                    with self._lock:
                        if self._work.empty():
                            self._thread = None
                            return
                    continue
                _do(future, work, connections[alias])
        finally:
            connections.close_all()


def _do(future: Future[Any], work: Callable[[], Any], connection: BaseDatabaseWrapper) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        connection.close_if_unusable_or_obsolete()
        if connection.connection is None:
            with connection.cursor() as cursor:
                for statement in _BOUNDS.get(connection.vendor, ()):
                    cursor.execute(statement)
            # CONN_MAX_AGE is for connections of requests; this one ends with its thread.
            connection.close_at = None
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


_side = _Side()


def _after_fork() -> None:
    # The thread is the parent's, and so is the connection it holds.
    _side.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_after_fork)
