"""Expressions that mean the same on every database: its clock, and comparing text byte by byte.

The clock is for times that several processes compare: leases, waits and ages. Workers run on
several machines, whose clocks may differ; the database has only one. Django's ``Now()`` isn't
enough: on MySQL it follows the session's time zone and on SQLite it is UTC, whatever time zone
Django stores times in. The values computed here can be compared with any ``DateTimeField``.

Text such as an email address is compared byte by byte because MySQL's collations take
``müller@example.org`` for ``muller@example.org`` and may ignore trailing spaces. These can be
different people.
"""

import functools
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, Q
from django.db.models.functions import Now
from django.db.models.lookups import Exact
from django.utils import timezone

from wagtail_smtp.live.db import bulk_sql
from wagtail_smtp.live.db import connections as db_connections


class _UTCNow(Now):
    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # With microseconds, as Django writes times: SQLite compares them as text.
        template = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'NOW')"
        return self.as_sql(compiler, connection, template=template, **context)


def now(seconds: float = 0) -> Any:
    """The database's time plus ``seconds``, as an ORM expression."""
    return _moment(_offset(connections[db_connections.write_alias()]) + timedelta(seconds=seconds))


def statement(seconds: float = 0) -> bulk_sql.Statement:
    """The same as :func:`now`, as compiled SQL."""
    alias = db_connections.write_alias()
    return _compiled(alias, _offset(connections[alias]) + timedelta(seconds=seconds))


def epoch(moment: datetime) -> float:
    """Convert a time that the database returned for :func:`now` to seconds since 1970, UTC.

    Unlike local time without a zone (``USE_TZ = False``), they never go back in autumn.
    """
    if timezone.is_aware(moment):
        return moment.timestamp()
    offset = _local_offset(connections[db_connections.write_alias()])
    return (moment - offset).replace(tzinfo=UTC).timestamp()


def _moment(from_utc: timedelta) -> Any:
    return _UTCNow() + from_utc if from_utc else _UTCNow()


@functools.lru_cache(maxsize=32)
def _compiled(alias: str, from_utc: timedelta) -> bulk_sql.Statement:
    return bulk_sql.expression(alias, _moment(from_utc))


def _offset(connection: BaseDatabaseWrapper) -> timedelta:
    """The UTC offset of the times that Django stores."""
    if connection.vendor == "postgresql":
        return timedelta()  # its columns are time zone aware
    return _local_offset(connection)


def _local_offset(connection: BaseDatabaseWrapper) -> timedelta:
    """The UTC offset of the times that Django reads without a zone."""
    zone = connection.timezone or timezone.get_default_timezone()
    return datetime.now(zone).utcoffset() or timedelta()


class _Same(Exact):
    def as_mysql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, left_values = self.process_lhs(compiler, connection)
        right, right_values = self.process_rhs(compiler, connection)
        values = (*left_values, *right_values)
        # The first comparison can use the index, which follows the collation.
        return f"({left} = {right} AND CAST({left} AS BINARY) = {right})", values * 2


def same(field: str, value: str) -> Any:
    """Return a ``filter()`` condition: the text field is exactly ``value``."""
    return _Same(F(field), value)


def starts_with(field: str, text: str) -> Q:
    """Return a ``filter()`` condition: the text field starts with ``text``, found by its index.

    Upper and lower case may be the same, as in MySQL's collations. PostgreSQL's index needs the
    operator class ``varchar_pattern_ops``.
    """
    vendor = connections[db_connections.write_alias()].vendor
    if vendor == "sqlite":  # its LIKE ignores case, so it can't use an index
        return Q((f"{field}__gte", text), (f"{field}__lt", f"{text}\U0010ffff"))
    # On MySQL, startswith compares bytes, so it can't use an index.
    return Q((f"{field}__istartswith" if vendor == "mysql" else f"{field}__startswith", text))
