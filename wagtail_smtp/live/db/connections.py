"""Database connections: which one to use, the newest version, and when to close them."""

import functools
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from django.conf import settings
from django.core import mail
from django.db import InterfaceError, OperationalError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from wagtail_smtp.models import ConfigurationVersion, SuppressedAddress
from wagtail_smtp.runtime import process

_UNCOMMITTED = "_wagtail_smtp_uncommitted"


def write_alias() -> str:
    """The database that versions are written to, and read from: never a replica."""
    return router.db_for_write(ConfigurationVersion)


@dataclass(frozen=True, slots=True)
class Newest:
    """What each message needs to know.

    Attributes:
        version: number and random id of the live version; None if there is none.
        has_suppressed: whether any address is suppressed.
    """

    version: tuple[int, uuid.UUID] | None
    has_suppressed: bool


def newest(connection: BaseDatabaseWrapper, *, savepoint: bool) -> Newest:
    """Return the live version, and whether the suppression list has any address.

    One raw query, because the ORM takes longer to compile it than the database takes to run it.

    Args:
        savepoint: use a savepoint, so that a failing query doesn't break the transaction.

    Raises:
        django.db.Error: the table is missing, the database is unavailable, or the surrounding
            transaction is broken.
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


def _query(connection: BaseDatabaseWrapper) -> Newest:
    with connection.cursor() as cursor:
        cursor.execute(_sql(connection.alias))
        number, identity, has_suppressed = cursor.fetchone()
    version = None if number is None else (int(number), uuid.UUID(str(identity)))
    return Newest(version, bool(has_suppressed))


@functools.lru_cache(maxsize=16)
def _sql(alias: str) -> str:
    quote = connections[alias].ops.quote_name
    number, identity = quote("number"), quote("identity")
    table = quote(ConfigurationVersion._meta.db_table)
    suppressed = quote(SuppressedAddress._meta.db_table)
    # Also a row if there is no version.
    newest_of = f"FROM {table} ORDER BY {number} DESC LIMIT 1"
    return (
        f"SELECT (SELECT {number} {newest_of}), (SELECT {identity} {newest_of}), "  # noqa: S608
        f"EXISTS (SELECT 1 FROM {suppressed})"
    )


def mark_uncommitted(identity: uuid.UUID, alias: str) -> None:
    """Remember that this connection sees a version that may still be rolled back."""
    connection = connections[alias]
    marks: set[uuid.UUID] = connection.__dict__.setdefault(_UNCOMMITTED, set())
    marks.add(identity)
    transaction.on_commit(lambda: marks.discard(identity), using=alias)


def is_uncommitted(identity: uuid.UUID, connection: BaseDatabaseWrapper) -> bool:
    """Whether the version was written by this connection's open transaction."""
    return identity in getattr(connection, _UNCOMMITTED, ())


@contextmanager
def borrowed_connection() -> Iterator[None]:
    """Close the connection at the end if it was opened inside and Django won't close it.

    Django closes the connections of threads that serve requests. One opened in another thread of
    the project would stay open at least until the thread ends. In a thread that runs an event
    loop, Django allows no queries; there a thread of the plugin uses its own connection.
    """
    if process.runs_event_loop():
        yield
        return
    connection = connections[write_alias()]
    was_closed = connection.connection is None
    try:
        yield
    finally:
        if was_closed and not process.is_managed() and not connection.in_atomic_block:
            close_for_good(connection)


def close_all() -> None:
    """Close all connections of this thread; for threads of the plugin, at their end."""
    for connection in connections.all(initialized_only=True):
        close_for_good(connection)


def close_before_fork() -> None:
    """Close this thread's connections and all pools: a child must not use their sockets."""
    for connection in connections.all(initialized_only=True):
        close_for_good(connection)
        if close_pool := getattr(connection, "close_pool", None):
            close_pool()


def close_for_good(connection: BaseDatabaseWrapper) -> None:
    """Close a connection, including one to SQLite in memory, which Django leaves open.

    From Python 3.13 on, an open connection causes a ResourceWarning when it is collected.
    """
    connection.close()
    if connection.vendor == "sqlite" and connection.connection is not None:
        connection.connection.close()
        connection.connection = None


def was_lost(connection: BaseDatabaseWrapper) -> bool:
    """Close a dead connection, so that the next query opens another one; return whether it was."""
    if connection.in_atomic_block or (connection.connection and connection.is_usable()):
        return False
    connection.close()
    return True


def is_under_test() -> bool:
    """Whether tests are running: Django's test runner and pytest-django set ``mail.outbox``."""
    return hasattr(mail, "outbox")


def is_in_test(connection: BaseDatabaseWrapper) -> bool:
    """Whether the open transaction belongs to a test, which rolls it back at its end.

    Django's TestCase, and so pytest-django's fixture ``db``, marks it for ``atomic(durable=True)``.
    There is no public API for this.
    """
    blocks: Iterable[Any] = connection.atomic_blocks[:1]
    return any(block._from_testcase for block in blocks)


APP = "wagtail_smtp"

#: Databases that had all migrations when they were checked.
_migrated: set[str] = set()


def is_migrated() -> bool:
    """Whether the plugin's last migration is applied. Once it is, this needs no more queries.

    Raises:
        django.db.Error: the database is unavailable.
    """
    alias = write_alias()
    # Test runners and projects may create the tables without migrations.
    if alias in _migrated or APP in settings.MIGRATION_MODULES:
        return True
    applied = MigrationRecorder(connections[alias]).applied_migrations()
    if (APP, _last()) in applied:
        _migrated.add(alias)
    return alias in _migrated


def forget_tables() -> None:
    """Check again, as a new process would."""
    _migrated.clear()


def _last() -> str:
    """The name of the plugin's last migration."""
    package = import_module(f"{APP}.migrations")
    return max(module.name for module in iter_modules(package.__path__))
