"""A table of the real database that takes no more rows, as if the disk were full."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_NAME = "wagtail_smtp_tests_refuse"

_CREATE = {
    "sqlite": (
        "CREATE TRIGGER {name} BEFORE INSERT ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION {name}() RETURNS trigger AS $$ "
        "BEGIN {what} RETURN NEW; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
    ),
    "mysql": (
        "CREATE TRIGGER {name} BEFORE INSERT ON {table} FOR EACH ROW "
        "SIGNAL SQLSTATE 'HY000' SET MESSAGE_TEXT = 'The table is full'",
    ),
}
_FULL = "RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full';"
#: PostgreSQL alone: the session is ended in the midst of it.
ENDS = "PERFORM pg_terminate_backend(pg_backend_pid());"
#: PostgreSQL alone: the statement takes too long.
HANGS = "PERFORM pg_sleep(30);"


@contextmanager
def full(table: str, what: str = _FULL) -> Iterator[None]:
    """Let inserts into ``table`` fail; in tests with real transactions, since MySQL commits."""
    values = {"name": _NAME, "table": table, "what": what}
    with connection.cursor() as cursor:
        for statement in _CREATE[connection.vendor]:
            cursor.execute(statement.format(**values))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP FUNCTION {_NAME} CASCADE")
            else:
                cursor.execute(f"DROP TRIGGER {_NAME}")
