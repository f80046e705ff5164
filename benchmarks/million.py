"""A delivery log with a million entries, written by the database itself."""

from collections.abc import Mapping
from typing import Any

from django.db import connection, models

COUNT = 1_000_000
#: Seconds between two entries: ninety days in all.
_APART = 90 * 24 * 3600 / COUNT
#: In the subject of one entry alone, three weeks old.
RARE = "umbrella"
#: The recipient of five entries.
RECIPIENT = "user7919@example2919.org"

_STATE = (
    "CASE n % 100 WHEN 0 THEN 'refused' WHEN 1 THEN 'failed' WHEN 2 THEN 'unknown' ELSE 'sent' END"
)
_RECIPIENT_STATE = "CASE n % 100 WHEN 0 THEN 'refused' WHEN 1 THEN 'not_sent' ELSE 'sent' END"
_CATEGORY = "CASE n % 10 WHEN 0 THEN 'security' WHEN 1 THEN 'invoice' ELSE 'general' END"
_VIA = "CASE n % 3 WHEN 0 THEN 'Set 0' WHEN 1 THEN 'Set 1' ELSE 'Set 2' END"
_SUBJECT = (
    f"CASE n WHEN {COUNT * 3 // 4} THEN 'Lost and found: one {RARE}' "
    "ELSE 'Your registration ' || n || ' for the conference' END"
)
_REPLY = "'250 2.0.0 Ok: queued as 4' || n"


def write() -> None:
    """Write them: entries with a recipient and an attempt each."""
    from wagtail_smtp.models import LogAttempt, LogEntry, LogRecipient

    is_sqlite = connection.vendor == "sqlite"
    ago = f"(({COUNT} - n) * {_APART})"
    at = f"now() - {ago} * interval '1 second'"
    key = "gen_random_uuid()"
    if is_sqlite:
        at = f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || {ago} || ' seconds')"
        key = "lower(hex(randomblob(16)))"
        _execute("PRAGMA synchronous = OFF", "PRAGMA cache_size = -500000")
    changed = {"changed_at": at}
    sent = {"via": _VIA, "state": _STATE}
    size = "2000 + n % 30000"
    named = {"category": _CATEGORY, "category_source": "'rule'", "sender": "'site@example.com'"}
    shown = {"subject": _SUBJECT, "message_id": "'<' || n || '@example.com>'", "size": size}
    _write(LogEntry, changed | sent | named | shown | {"key": key, "created_at": at, "version": 1})
    who = {
        "address": "'user' || (n * 7919 % 200000) || '@example' || (n * 7919 % 5000) || '.org'",
        "domain": "'example' || (n * 7919 % 5000) || '.org'",
        "state": _RECIPIENT_STATE,
    }
    of_entry = {"entry_id": "n"}
    _write(LogRecipient, changed | of_entry | who | {"code": 250, "reply": _REPLY})
    tried = {"began_at": at, "seconds": "0.02", "code": 250, "reply": _REPLY}
    _write(LogAttempt, of_entry | sent | tried)
    if not is_sqlite:
        # What autovacuum does within a minute or two.
        _execute("VACUUM ANALYZE")


def _write(model: type[models.Model], values: Mapping[str, Any]) -> None:
    """A row for each number, the other columns as the model has them by default."""
    columns: dict[str, Any] = {"id": "n"}
    for field in model._meta.concrete_fields:
        if not field.primary_key:
            given = values.get(field.attname)
            columns[field.column] = _literal(field) if given is None else given
    numbers = f"SELECT n FROM generate_series(1::bigint, {COUNT}) AS n"
    if connection.vendor == "sqlite":
        numbers = (
            "WITH RECURSIVE numbers(n) AS "
            f"(SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {COUNT}) "
            "SELECT n FROM numbers"
        )
    names = ", ".join(f'"{name}"' for name in columns)
    expressions = ", ".join(map(str, columns.values()))
    _execute(
        f'INSERT INTO "{model._meta.db_table}" ({names}) '
        f"SELECT {expressions} FROM ({numbers}) AS numbered"
    )


def _literal(field: Any) -> str:
    value = field.get_default()
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int | float) else "'" + str(value) + "'"


def _execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
