"""How long statements wait for locks on MySQL and MariaDB, where the default is 50 seconds.

Nothing is set for the session: a pool would hand that on to the project.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def bounded(
    connection: BaseDatabaseWrapper, seconds: int, statement: int | None = None
) -> Iterator[None]:
    """Let statements wait so many seconds for a lock at most; nothing on other databases.

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
