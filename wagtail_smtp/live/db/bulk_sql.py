"""Statements of the log and of workers without the ORM, which takes longer to compile them than
the database takes to run them. Values are adapted by the models' own fields.

What belongs together goes to PostgreSQL as one statement, in one round trip and without BEGIN and
COMMIT; to other databases in turn, in one transaction. :func:`run` and :func:`insert_all` know.
"""

import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from django.db import Error, connections, transaction
from django.db import models as orm
from django.db.backends.base.base import BaseDatabaseWrapper

from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.db import retry
from wagtail_smtp.runtime import once


class _Job:
    """What one thread wants done, and what came of it."""

    __slots__ = ("is_done", "result", "work")

    def __init__(self, work: Callable[[Any], int]) -> None:
        self.work = work
        self.result = 0
        self.is_done = False


class _Turns:
    """Shared by the threads of a process."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._jobs: deque[_Job] = deque()

    def take(self, work: Callable[[Any], int], connection: Any) -> int:
        mine = _Job(work)
        self._jobs.append(mine)
        try:
            with self._turn:
                if not mine.is_done:
                    self._do_all(mine, connection)
        except BaseException:
            # A signal's exception, or its own: nobody is to do it once its thread has gone on.
            with suppress(ValueError):
                self._jobs.remove(mine)
            raise
        return mine.result

    def _do_all(self, mine: _Job, connection: Any) -> None:
        jobs = []
        while self._jobs:
            jobs.append(self._jobs.popleft())
        try:
            _do(jobs, connection)
        except BaseException as error:
            # The others have a turn of their own.
            self._jobs.extendleft(job for job in reversed(jobs) if job is not mine)
            if len(jobs) == 1 or not isinstance(error, Error):
                raise
            # It may be theirs, which is none of this thread's business.
            _do([mine], connection)


def _do(jobs: Sequence[_Job], connection: Any) -> None:
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for job in jobs:
            job.result = job.work(cursor)
    for job in jobs:
        job.is_done = True


_turns = _Turns()
# The parent's threads don't exist in the child, and one of them may have had its turn.
once.after_in_child(lambda: _turns.__init__())  # type: ignore[misc]


def take(work: Callable[[Any], int], connection: Any) -> int:
    """Call ``work`` with a cursor, in a transaction that other threads' work may share.

    The cursor may be another thread's. What is returned is committed.

    Raises:
        django.db.Error: as ``work`` does.
    """
    return _turns.take(work, connection)


#: A model class.
Model = Any

#: Rows of one INSERT: SQLite takes 32,766 values, older ones 999.
_ROWS = 100
#: Fields whose values every database takes as they are.
_PLAIN = (orm.CharField, orm.IntegerField, orm.FloatField, orm.ForeignKey)


@dataclass(frozen=True, slots=True)
class Statement:
    """One that changes rows and returns none."""

    sql: str
    values: Sequence[Any]


def run(*statements: Statement) -> int:
    """Run statements that are done together or not at all, each on rows of its own.

    None of them may depend on what another does. The first waits for its locks first.

    Returns:
        How many rows the first changed; 0 without any.
    """
    if not statements:
        return 0
    connection = connections[db_connections.write_alias()]
    return retry.repeated(lambda: _run(connection, statements), connection.alias)


def _run(connection: BaseDatabaseWrapper, statements: Sequence[Statement]) -> int:
    if connection.vendor == "postgresql" and len(statements) > 1:
        return _run_together(connection, statements)
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        return take(lambda cursor: _run_in_turn(cursor, statements), connection)
    around = transaction.atomic(using=connection.alias) if statements[1:] else nullcontext()
    with around, connection.cursor() as cursor:
        return _run_in_turn(cursor, statements)


def _run_in_turn(cursor: Any, statements: Sequence[Statement]) -> int:
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
    """Insert rows, however many, in the open transaction; their keys are not read back."""
    for group in _groups(rows):
        run(insert(group))


def insert_all(parent: orm.Model, rows: Sequence[orm.Model], before: str = "") -> None:
    """Insert ``parent``, whose key is then known, and rows that refer to it as their ``entry``.

    All or none of them: no transaction is needed around it.

    Args:
        before: a statement of PostgreSQL that comes first and holds for them.
    """
    retry.repeated(lambda: _insert_all(parent, rows, before))


def _insert_all(parent: orm.Model, rows: Sequence[orm.Model], before: str) -> None:
    connection = connections[db_connections.write_alias()]
    whole = connection.vendor == "postgresql" and len(rows) <= _ROWS
    # The server binds values to one statement at a time.
    if whole and not (before and getattr(connection.features, "uses_server_side_binding", False)):
        parent.pk = _insert_together(connection, parent, rows, before)
    else:
        with transaction.atomic(using=connection.alias):
            with connection.cursor() as cursor:
                if before:
                    cursor.execute(before)
                parent.pk = _insert_first(connection, cursor, parent)
            for row in rows:
                row.entry_id = parent.pk  # type: ignore[attr-defined]
            insert_rows(rows)
    parent._state.adding, parent._state.db = False, connection.alias


def _groups(rows: Sequence[orm.Model]) -> Iterator[list[orm.Model]]:
    """Rows of one model, so many as one INSERT takes."""
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
    found = connection.ops.last_insert_id(cursor, parent._meta.db_table, key.column)
    return int(found)


def update(model: Model, column: str, keys: Sequence[int], values: Mapping[str, Any]) -> Statement:
    """Set ``values``, by field name, in the rows whose ``column`` is one of ``keys``."""
    alias = db_connections.write_alias()
    sql = _update_sql(alias, model, column, len(keys), tuple(values))
    return Statement(sql, [*adapted(model, values), *keys])


def delete(model: Model, column: str, keys: Sequence[int]) -> Statement:
    """Delete the rows whose ``column`` is one of ``keys``; nothing may refer to them."""
    sql = _delete_sql(db_connections.write_alias(), model, column, len(keys))
    return Statement(sql, list(keys))


def insert(rows: Sequence[orm.Model], entry: str = "") -> Statement:
    """Insert rows of one model; their keys are not read back.

    Args:
        entry: an expression for the key of their entry, instead of their own.
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
    """Values, by field name, as the database takes them."""
    adapters = _adapters(db_connections.write_alias(), model)
    return [
        value if (adapt := adapters[name]) is None else adapt(value)
        for name, value in values.items()
    ]


@functools.cache
def _adapters(alias: str, model: Model) -> dict[str, Callable[[Any], Any] | None]:
    """What makes a field's value one of the database's, by attribute; None: nothing need."""

    def adapter(field: Any) -> Callable[[Any], Any] | None:
        if isinstance(field, _PLAIN):
            return None
        # The connection is the thread's own.
        return lambda value: field.get_db_prep_save(value, connections[alias])

    fields = model._meta.concrete_fields
    return {field.attname: adapter(field) for field in fields if not field.primary_key}


@functools.lru_cache(maxsize=256)
def _update_sql(alias: str, model: Model, column: str, number: int, names: tuple[str, ...]) -> str:
    quote = connections[alias].ops.quote_name
    columns = (quote(model._meta.get_field(name).column) for name in names)
    pairs = ", ".join(f"{name} = %s" for name in columns)
    table = quote(model._meta.db_table)
    hint = by_index(alias, model, column)
    where = f"WHERE {quote(column)} IN {places(number)}"
    return f"UPDATE {table}{hint} SET {pairs} {where}"  # noqa: S608


@functools.lru_cache(maxsize=256)
def _delete_sql(alias: str, model: Model, column: str, number: int) -> str:
    quote = connections[alias].ops.quote_name
    table = quote(model._meta.db_table)
    hint = by_index(alias, model, column)
    # A hint is allowed where the table is named twice only.
    named = f"{table} FROM {table}{hint}" if hint else f"FROM {table}"
    return f"DELETE {named} WHERE {quote(column)} IN {places(number)}"


@functools.lru_cache(maxsize=64)
def by_index(alias: str, model: Model, column: str) -> str:
    """What makes MySQL find rows by the index of a column; nothing for other databases.

    It reads a small table as a whole, and waits for each row that somebody has locked.
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


def places(number: int) -> str:
    """``number`` places for values, in parentheses."""
    return f"({', '.join(['%s'] * number)})"


def expression(alias: str, given: Any) -> Statement:
    """An expression of the ORM without columns, compiled: ``Now() + timedelta(…)``."""
    query: Any = orm.sql.Query(None)
    sql, values = query.get_compiler(using=alias).compile(given.resolve_expression(query))
    return Statement(sql, tuple(values))
