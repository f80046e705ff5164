"""Repeat transactions that the database interrupted, and limit how long they wait for locks.

After a deadlock, or if a snapshot is too old, the database aborts one of the transactions and
expects the client to repeat it. Without that, an administrator would see an error page, or a worker
would end.
"""

import functools
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from wagtail_smtp.live.db import connections as db_connections

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Maximum attempts for a transaction, and seconds after which it isn't repeated again.
_MAX_ATTEMPTS = 5
_MAX_SECONDS = 10

#: Seconds that :func:`patiently` waits for a lock on MySQL before it starts again.
_LOCK_WAIT = 3

#: PostgreSQL: serialization_failure, deadlock_detected.
_SQLSTATES = frozenset({"40001", "40P01"})
#: MySQL and MariaDB: ER_LOCK_DEADLOCK, ER_CHECKREAD ("Record has changed since last read").
_ERRNOS = frozenset({1213, 1020})
#: MySQL and MariaDB: ER_LOCK_WAIT_TIMEOUT.
_LOCK_TIMED_OUT = 1205
#: SQLite: SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT. A transaction that began with a read can't wait.
_SQLITE = frozenset({5, 517})


@contextmanager
def bounded(
    connection: BaseDatabaseWrapper, seconds: int, statement: int | None = None
) -> Iterator[None]:
    """On MySQL and MariaDB, limit how many ``seconds`` a statement waits for a lock.

    Args:
        statement: seconds that a whole statement may take; only MariaDB has such a limit.
    """
    if connection.vendor != "mysql":
        yield
    elif connection.mysql_is_mariadb:  # type: ignore[attr-defined]  # only this backend has it
        bounds = f"innodb_lock_wait_timeout={seconds}"
        if statement is not None:
            bounds += f", max_statement_time={statement}"

        def bound(execute: Any, sql: str, *args: Any) -> Any:
            if sql.startswith(("INSERT", "UPDATE", "DELETE", "SELECT")):
                sql = f"SET STATEMENT {bounds} FOR {sql}"
            return execute(sql, *args)

        with connection.execute_wrapper(bound):
            yield
    else:
        before = _lock_wait(connection, seconds)
        try:
            yield
        finally:
            if connection.connection is not None:
                _lock_wait(connection, before)


def _lock_wait(connection: BaseDatabaseWrapper, seconds: int) -> int:
    """Set how many seconds this session waits for a lock; return the previous value."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.innodb_lock_wait_timeout")
        [before] = cursor.fetchone()
        cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [seconds])
    return int(before)


def is_retryable(error: BaseException) -> bool:
    """Whether the database expects the transaction to be repeated."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return (
        state in _SQLSTATES
        or getattr(cause, "sqlite_errorcode", None) in _SQLITE
        or (state is None and bool(error.args) and error.args[0] in _ERRNOS)
    )


def repeated(work: Callable[[], T], alias: str | None = None, *, is_patient: bool = False) -> T:
    """Call ``work``, and repeat it while the database asks for that.

    Inside a transaction it is called once, because only its owner can repeat all of it. ``work``
    must have no effects outside the database.

    Args:
        is_patient: also repeat it if it has waited too long for a lock.
    """
    connection = connections[alias or db_connections.write_alias()]
    give_up = time.monotonic() + _MAX_SECONDS
    for number in range(1, _MAX_ATTEMPTS + 1):
        try:
            return work()
        except Error as error:
            is_over = number == _MAX_ATTEMPTS or time.monotonic() > give_up
            is_locked = is_patient and bool(error.args) and error.args[0] == _LOCK_TIMED_OUT
            if is_over or connection.in_atomic_block or not (is_locked or is_retryable(error)):
                raise
            logger.info("The database asked to repeat a transaction: %s", error)
        # A random pause, so that two conflicting transactions don't conflict again.
        time.sleep(random.uniform(0, 0.02 * 2**number))  # noqa: S311
    raise AssertionError


def in_transaction(work: Callable[P, T]) -> Callable[P, T]:
    """Decorator: run in a transaction, and repeat it if the database asks for that.

    Inside another transaction it is a savepoint and isn't repeated.
    """

    @functools.wraps(work)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        alias = db_connections.write_alias()

        def once() -> T:
            with transaction.atomic(using=alias):
                return work(*args, **kwargs)

        return repeated(once, alias)

    return wrapper


def patiently(work: Callable[P, T]) -> Callable[P, T]:
    """Decorator for a worker's writes: repeat them if the database asks or a lock isn't free.

    MySQL waits 50 seconds for a lock and then fails; here it takes a few seconds in total. Inside
    a transaction they aren't repeated.
    """

    @functools.wraps(work)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        alias = db_connections.write_alias()
        with bounded(connections[alias], _LOCK_WAIT):
            return repeated(lambda: work(*args, **kwargs), alias, is_patient=True)

    return wrapper
