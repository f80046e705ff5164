"""How long statements wait for locks on MySQL and MariaDB, where the default is 50 seconds.

MariaDB takes the bound with each statement. MySQL has one for the session only: it is set back
afterwards, so that no one else meets it on a connection that is used again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def bounded(
    connection: BaseDatabaseWrapper, seconds: int, statement: int | None = None
) -> Iterator[None]:
    """Limit how many seconds a statement waits for a lock; other databases are left alone.

    Args:
        statement: seconds that a whole statement may take, which only MariaDB can bound.
    """
    if connection.vendor != "mysql":
        yield
    elif connection.mysql_is_mariadb:
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
    """Set how long a statement of this session waits for a lock; how long it was before."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.innodb_lock_wait_timeout")
        [before] = cursor.fetchone()
        cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [seconds])
    return int(before)
