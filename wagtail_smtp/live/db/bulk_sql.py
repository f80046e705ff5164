"""Frequent statements of the log and the outbox, without the ORM.

The ORM takes longer to compile these statements than the database takes to run them. On PostgreSQL,
statements that belong together are sent as one, in one round trip without BEGIN and COMMIT. On
other databases they run one after the other in a transaction.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction
from django.db import models as orm
from django.db.backends.base.base import BaseDatabaseWrapper

from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.db import retry, sqlite_writer

#: A model class.
Model = Any

#: Rows per INSERT: SQLite accepts 32,766 values, older releases 999.
_ROWS = 100
#: Fields whose values need no conversion for any database.
_PLAIN = (orm.CharField, orm.IntegerField, orm.FloatField, orm.ForeignKey)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that changes rows and returns none, with its parameters."""

    sql: str
    values: Sequence[Any]


def run(*statements: Statement) -> int:
    """Run all statements or none of them.

    They must change different rows, and none may depend on another's result. The first one locks
    its rows first.

    Returns:
        The number of rows that the first statement changed; 0 without statements.
    """
    if not statements:
        return 0
    connection = connections[db_connections.write_alias()]
    return retry.repeated(lambda: _run(connection, statements), connection.alias)


def _run(connection: BaseDatabaseWrapper, statements: Sequence[Statement]) -> int:
    if connection.vendor == "postgresql" and len(statements) > 1:
        return _run_together(connection, statements)
    if sqlite_writer.is_usable(connection):
        alias = connection.alias
        return sqlite_writer.commit(lambda: _run_in_turn(alias, statements), alias)
    with transaction.atomic(using=connection.alias) if statements[1:] else nullcontext():
        return _run_in_turn(connection.alias, statements)


def _run_in_turn(alias: str, statements: Sequence[Statement]) -> int:
    with connections[alias].cursor() as cursor:
        counts = []
        for statement in statements:
            cursor.execute(statement.sql, statement.values)
            counts.append(int(cursor.rowcount))
    return counts[0]


def _run_together(connection: BaseDatabaseWrapper, statements: Sequence[Statement]) -> int:
    first, *others = statements
    parts = [f"s0 AS ({first.sql} RETURNING 1)"]
    parts += [f"s{number} AS ({other.sql})" for number, other in enumerate(others, 1)]
    values = [value for statement in statements for value in statement.values]
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {', '.join(parts)} SELECT count(*) FROM s0", values)  # noqa: S608
        return int(cursor.fetchone()[0])


def insert_rows(rows: Sequence[orm.Model]) -> None:
    """Insert any number of rows in the open transaction, without setting their keys."""
    for group in _groups(rows):
        run(insert(group))


def insert_all(parent: orm.Model, rows: Sequence[orm.Model], before: str = "") -> None:
    """Insert ``parent`` and set its key, and insert the rows whose ``entry`` it is.

    All of them are inserted or none; this needs no open transaction.

    Args:
        before: a statement for PostgreSQL that runs first in the same transaction.
    """
    retry.repeated(lambda: _insert_all(parent, rows, before))


def _insert_all(parent: orm.Model, rows: Sequence[orm.Model], before: str) -> None:
    connection = connections[db_connections.write_alias()]
    whole = connection.vendor == "postgresql" and len(rows) <= _ROWS
    # With server-side binding, parameters can only be sent with a single statement.
    if whole and not (before and getattr(connection.features, "uses_server_side_binding", False)):
        parent.pk = _insert_together(connection, parent, rows, before)
    else:
        # The caller's transaction, if there is one, is rolled back as a whole.
        with transaction.atomic(using=connection.alias, savepoint=False):
            with connection.cursor() as cursor:
                if before:
                    cursor.execute(before)
                parent.pk = _insert_first(connection, cursor, parent)
            for row in rows:
                row.entry_id = parent.pk  # type: ignore[attr-defined]
            insert_rows(rows)
    parent._state.adding, parent._state.db = False, connection.alias


def _groups(rows: Sequence[orm.Model]) -> Iterator[list[orm.Model]]:
    """Split rows into groups of one model and at most ``_ROWS`` rows."""
    for _model, same in itertools.groupby(rows, key=type):
        while group := list(itertools.islice(same, _ROWS)):
            yield group


def _insert_together(
    connection: BaseDatabaseWrapper,
    parent: orm.Model,
    rows: Sequence[orm.Model],
    before: str,
) -> int:
    first = insert([parent])
    parts, values = [f"s0 AS ({first.sql} RETURNING id)"], list(first.values)
    for number, group in enumerate(_groups(rows), 1):
        statement = insert(group, entry="(SELECT id FROM s0)")
        parts.append(f"s{number} AS ({statement.sql})")
        values += statement.values
    begin = f"{before}; " if before else ""
    with connection.cursor() as cursor:
        cursor.execute(f"{begin}WITH {', '.join(parts)} SELECT id FROM s0", values)  # noqa: S608
        while cursor.description is None:
            cursor.nextset()
        return int(cursor.fetchone()[0])


def _insert_first(connection: BaseDatabaseWrapper, cursor: Any, parent: orm.Model) -> int:
    statement = insert([parent])
    if connection.vendor == "postgresql":
        cursor.execute(f"{statement.sql} RETURNING id", statement.values)
        return int(cursor.fetchone()[0])
    cursor.execute(statement.sql, statement.values)
    key = parent._meta.pk
    assert key is not None
    assert key.column is not None
    found = connection.ops.last_insert_id(cursor, parent._meta.db_table, key.column)
    return int(found)


def update(model: Model, column: str, keys: Sequence[int], values: Mapping[str, Any]) -> Statement:
    """Set ``values`` (by field name) in the rows whose ``column`` is one of ``keys``."""
    alias = db_connections.write_alias()
    sql = _update_sql(alias, model, column, len(keys), tuple(values))
    return Statement(sql, [*adapted(model, values), *keys])


def delete(model: Model, column: str, keys: Sequence[int]) -> Statement:
    """Delete the rows whose ``column`` is one of ``keys``; no other row may refer to them."""
    sql = _delete_sql(db_connections.write_alias(), model, column, len(keys))
    return Statement(sql, list(keys))


def insert(rows: Sequence[orm.Model], entry: str = "") -> Statement:
    """Insert rows of one model without setting their keys.

    Args:
        entry: an SQL expression that replaces the value of ``entry_id``.
    """
    alias = db_connections.write_alias()
    model: Any = type(rows[0])
    columns = {
        name: adapt
        for name, adapt in _adapters(alias, model).items()
        if not (entry and name == "entry_id")
    }
    values = [
        getattr(row, name) if adapt is None else adapt(getattr(row, name))
        for row in rows
        for name, adapt in columns.items()
    ]
    return Statement(_insert_sql(alias, model, len(rows), entry), values)


def adapted(model: Model, values: Mapping[str, Any]) -> list[Any]:
    """Convert values (by field name) for the database."""
    adapters = _adapters(db_connections.write_alias(), model)
    return [
        value if (adapt := adapters[name]) is None else adapt(value)
        for name, value in values.items()
    ]


@functools.cache
def _adapters(alias: str, model: Model) -> dict[str, Callable[[Any], Any] | None]:
    """Functions by attribute that convert a field's value; None: no conversion is needed."""

    def adapter(field: Any) -> Callable[[Any], Any] | None:
        if isinstance(field, _PLAIN):
            return None
        # Each thread has its own connection.
        return lambda value: field.get_db_prep_save(value, connections[alias])

    fields = model._meta.concrete_fields
    return {field.attname: adapter(field) for field in fields if not field.primary_key}


@functools.lru_cache(maxsize=256)
def _update_sql(alias: str, model: Model, column: str, number: int, names: tuple[str, ...]) -> str:
    quote = connections[alias].ops.quote_name
    columns = (quote(model._meta.get_field(name).column) for name in names)
    pairs = ", ".join(f"{name} = %s" for name in columns)
    table = quote(model._meta.db_table)
    hint = _by_index(alias, model, column)
    where = f"WHERE {quote(column)} IN {_places(number)}"
    return f"UPDATE {table}{hint} SET {pairs} {where}"  # noqa: S608


@functools.lru_cache(maxsize=256)
def _delete_sql(alias: str, model: Model, column: str, number: int) -> str:
    quote = connections[alias].ops.quote_name
    table = quote(model._meta.db_table)
    hint = _by_index(alias, model, column)
    # MySQL allows a hint only if the statement names the table twice.
    named = f"{table} FROM {table}{hint}" if hint else f"FROM {table}"
    return f"DELETE {named} WHERE {quote(column)} IN {_places(number)}"


@functools.lru_cache(maxsize=64)
def _by_index(alias: str, model: Model, column: str) -> str:
    """Return a hint that makes MySQL use the index of a column; empty for other databases.

    Otherwise MySQL scans a small table, and waits for every locked row in it.
    """
    connection = connections[alias]
    if connection.vendor != "mysql":
        return ""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    names = [name for name, made in found.items() if made["index"] and made["columns"][0] == column]
    names.sort(key=lambda name: (not found[name]["primary_key"], not found[name]["unique"]))
    return f" FORCE INDEX ({connection.ops.quote_name(names[0])})" if names else ""


@functools.lru_cache(maxsize=256)
def _insert_sql(alias: str, model: Model, number: int, entry: str) -> str:
    quote = connections[alias].ops.quote_name
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    values = [entry if entry and field.attname == "entry_id" else "%s" for field in fields]
    columns = ", ".join(quote(field.column) for field in fields)
    rows = ", ".join([f"({', '.join(values)})"] * number)
    return f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES {rows}"  # noqa: S608


def _places(number: int) -> str:
    """Return ``number`` placeholders in parentheses."""
    return f"({', '.join(['%s'] * number)})"


def expression(alias: str, given: Any) -> Statement:
    """Compile an ORM expression without columns, such as ``Now() + timedelta(…)``."""
    query: Any = orm.sql.Query(None)
    sql, values = query.get_compiler(using=alias).compile(given.resolve_expression(query))
    return Statement(sql, tuple(values))
