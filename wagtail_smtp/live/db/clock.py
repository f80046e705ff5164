"""The database's clock, for all that several processes compare: leases, waits and ages.

A machine's own clock may be days off, and workers run on several machines; the database has one.
Django's ``Now()`` is not enough: on MySQL it follows the session's time zone and on SQLite it is
UTC, whatever Django stores its times in. What is computed here can be compared with every
``DateTimeField``, and with what is read from one.
"""

import functools
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.utils import timezone

from wagtail_smtp.live.db import bulk_sql
from wagtail_smtp.live.db import connections as db_connections


class _UTCNow(Now):
    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


def now(seconds: float = 0) -> Any:
    """The time in so many seconds, by the database's clock, as an expression of the ORM."""
    return _moment(_offset(connections[db_connections.write_alias()]) + timedelta(seconds=seconds))


def statement(seconds: float = 0) -> bulk_sql.Statement:
    """The same, compiled."""
    alias = db_connections.write_alias()
    return _compiled(alias, _offset(connections[alias]) + timedelta(seconds=seconds))


def _moment(from_utc: timedelta) -> Any:
    return _UTCNow() + from_utc if from_utc else _UTCNow()


@functools.lru_cache(maxsize=32)
def _compiled(alias: str, from_utc: timedelta) -> bulk_sql.Statement:
    return bulk_sql.expression(alias, _moment(from_utc))


def _offset(connection: BaseDatabaseWrapper) -> timedelta:
    """How far the times that Django stores are from UTC."""
    if connection.vendor == "postgresql":
        return timedelta()  # its columns know their zone
    zone = connection.timezone or timezone.get_default_timezone()
    return datetime.now(zone).utcoffset() or timedelta()
