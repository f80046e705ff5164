"""Statements of the log and of workers without the ORM, which takes longer to compile them than
the database takes to run them. Values are adapted by the models' own fields.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections
from django.db import models as orm

from wagtail_smtp.live import database

#: A model class.
Model = Any


def update(model: Model, column: str, keys: Sequence[int], values: Mapping[str, Any]) -> None:
    """Set ``values``, by field name, in the rows whose ``column`` is one of ``keys``."""
    connection = connections[database.write_alias()]
    fields = [model._meta.get_field(name) for name in values]
    adapted = [
        field.get_db_prep_save(value, connection)
        for field, value in zip(fields, values.values(), strict=True)
    ]
    sql = _update_sql(connection.alias, model, column, len(keys), tuple(values))
    with connection.cursor() as cursor:
        cursor.execute(sql, [*adapted, *keys])


def delete(model: Model, column: str, keys: Sequence[int]) -> None:
    """Delete the rows whose ``column`` is one of ``keys``; nothing may refer to them."""
    connection = connections[database.write_alias()]
    with connection.cursor() as cursor:
        cursor.execute(_delete_sql(connection.alias, model, column, len(keys)), list(keys))


def insert(rows: Sequence[orm.Model]) -> None:
    """Insert rows of one model; their keys are not read back."""
    if not rows:
        return
    connection = connections[database.write_alias()]
    model: Any = type(rows[0])
    fields = _insertable(model)
    adapted = [
        field.get_db_prep_save(getattr(row, field.attname), connection)
        for row in rows
        for field in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(_insert_sql(connection.alias, model, len(rows)), adapted)


@functools.cache
def _insertable(model: Model) -> list[Any]:
    return [field for field in model._meta.concrete_fields if not field.primary_key]


@functools.lru_cache(maxsize=256)
def _update_sql(alias: str, model: Model, column: str, number: int, names: tuple[str, ...]) -> str:
    quote = connections[alias].ops.quote_name
    columns = (quote(model._meta.get_field(name).column) for name in names)
    pairs = ", ".join(f"{name} = %s" for name in columns)
    table = quote(model._meta.db_table)
    return f"UPDATE {table} SET {pairs} WHERE {quote(column)} IN {_places(number)}"  # noqa: S608


@functools.lru_cache(maxsize=256)
def _delete_sql(alias: str, model: Model, column: str, number: int) -> str:
    quote = connections[alias].ops.quote_name
    table = quote(model._meta.db_table)
    return f"DELETE FROM {table} WHERE {quote(column)} IN {_places(number)}"  # noqa: S608


@functools.lru_cache(maxsize=256)
def _insert_sql(alias: str, model: Model, number: int) -> str:
    quote = connections[alias].ops.quote_name
    fields = _insertable(model)
    columns = ", ".join(quote(field.column) for field in fields)
    rows = ", ".join([_places(len(fields))] * number)
    return f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES {rows}"  # noqa: S608


def _places(number: int) -> str:
    return f"({', '.join(['%s'] * number)})"
