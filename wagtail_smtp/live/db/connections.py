"""How the live configuration uses the database without getting in the caller's way."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules

from django.conf import settings
from django.core import mail
from django.db import InterfaceError, OperationalError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from wagtail_smtp.live.db import deferred
from wagtail_smtp.models import ConfigurationVersion

_UNCOMMITTED = "_wagtail_smtp_uncommitted"


def write_alias() -> str:
    """The database that versions are written to; reads go there too, never to a replica."""
    return router.db_for_write(ConfigurationVersion)


def newest(connection: BaseDatabaseWrapper, *, savepoint: bool) -> tuple[int, uuid.UUID] | None:
    """Number and identity of the version in force; None if there is none.

    One raw scalar query: the ORM costs more than the look-up itself.

    Args:
        savepoint: inside a transaction, protect it from a failure of the query.

    Raises:
        django.db.Error: the table is missing, the database unreachable, or the
            surrounding transaction broken.
    """
    if connection.in_atomic_block:
        if savepoint:
            with transaction.atomic(using=connection.alias):
                return _query(connection)
        return _query(connection)
    try:
        return _query(connection)
    except (OperationalError, InterfaceError):
        if connection.connection is not None and not connection.get_autocommit():
            raise
        # The server may have been restarted since the connection was opened.
        connection.close()
        return _query(connection)


def _query(connection: BaseDatabaseWrapper) -> tuple[int, uuid.UUID] | None:
    quote = connection.ops.quote_name
    number, identity = quote("number"), quote("identity")
    table = quote(ConfigurationVersion._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {number}, {identity} FROM {table} ORDER BY {number} DESC LIMIT 1")  # noqa: S608
        row = cursor.fetchone()
    return None if row is None else (int(row[0]), uuid.UUID(str(row[1])))


def mark_uncommitted(identity: uuid.UUID, alias: str) -> None:
    """Note that this connection sees a version that may still be rolled back."""
    connection = connections[alias]
    marks: set[uuid.UUID] = connection.__dict__.setdefault(_UNCOMMITTED, set())
    marks.add(identity)
    transaction.on_commit(lambda: marks.discard(identity), using=alias)


def is_uncommitted(identity: uuid.UUID, connection: BaseDatabaseWrapper) -> bool:
    """Whether the version was written by this connection's open transaction."""
    return identity in getattr(connection, _UNCOMMITTED, ())


@contextmanager
def borrowed_connection() -> Iterator[None]:
    """Close the connection at the end, if it was opened inside and nobody else will.

    Django closes the connections of threads that serve requests. One opened in a thread
    that the project started would stay until the thread's end or longer. Where an event
    loop runs, Django lets nobody touch one, and a thread of the plugin uses its own.
    """
    if deferred.runs_event_loop():
        yield
        return
    connection = connections[write_alias()]
    was_closed = connection.connection is None
    try:
        yield
    finally:
        if was_closed and not deferred.is_managed() and not connection.in_atomic_block:
            close_for_good(connection)


def close_all() -> None:
    """Close all connections of a thread of the plugin's, at its end."""
    for connection in connections.all(initialized_only=True):
        close_for_good(connection)


def close_for_good(connection: BaseDatabaseWrapper) -> None:
    """Close a connection, also to SQLite in memory, which Django leaves to the garbage collector.

    Python reports one that is still open then (ResourceWarning, from 3.13 on).
    """
    connection.close()
    if connection.vendor == "sqlite" and connection.connection is not None:
        connection.connection.close()
        connection.connection = None


def was_lost(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection is dead. It is closed then, and the next query opens another one."""
    if connection.in_atomic_block or (connection.connection and connection.is_usable()):
        return False
    connection.close()
    return True


def is_under_test() -> bool:
    """Whether a test runner is at work: Django's, and pytest-django, make ``mail.outbox``."""
    return hasattr(mail, "outbox")


def is_in_test(connection: BaseDatabaseWrapper) -> bool:
    """Whether the open transaction is that of a test, which rolls back what was written in it.

    Django's TestCase, and so the fixture ``db`` of pytest-django, marks it for the sake of
    ``atomic(durable=True)``; there is no public way to ask.
    """
    return any(block._from_testcase for block in connection.atomic_blocks[:1])


APP = "wagtail_smtp"

#: Databases that were complete. They stay so while this process runs.
_complete: set[str] = set()


def is_migrated() -> bool:
    """Whether the last migration of the plugin is applied: one query, until it is.

    Raises:
        django.db.Error: the database can't be asked.
    """
    alias = write_alias()
    # Test runners and projects may create the tables in another way.
    if alias in _complete or APP in settings.MIGRATION_MODULES:
        return True
    applied = MigrationRecorder(connections[alias]).applied_migrations()
    if (APP, _last()) in applied:
        _complete.add(alias)
    return alias in _complete


def forget_tables() -> None:
    """Ask again, as a new process would."""
    _complete.clear()


def _last() -> str:
    """The name of the last migration; the plugin's migrations form a chain."""
    package = import_module(f"{APP}.migrations")
    return max(module.name for module in iter_modules(package.__path__))
