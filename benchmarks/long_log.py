"""A delivery log of any length, written by the database itself."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.core.management.color import no_style
from django.db import connection, models

#: Seconds that the log covers, and rows of a statement.
_PERIOD = 90 * 24 * 3600
_BATCH = 500_000
#: In the subject of one entry alone, three weeks old.
RARE = "umbrella"
#: The domain of two fifths of the entries, and the recipient of several.
COMMON = "mail.example"
RECIPIENT = "user23757@example3757.org"
#: The start of the recipient's address of one entry alone, ten days old.
PART = "ada"

_STATE = (
    "CASE n % 100 WHEN 0 THEN 'refused' WHEN 1 THEN 'failed' WHEN 2 THEN 'unknown' ELSE 'sent' END"
)
_RECIPIENT_STATE = "CASE n % 100 WHEN 0 THEN 'refused' WHEN 1 THEN 'not_sent' ELSE 'sent' END"
_CATEGORY = "CASE n % 10 WHEN 0 THEN 'security' WHEN 1 THEN 'invoice' ELSE 'general' END"
_VIA = "CASE n % 3 WHEN 0 THEN 'standard delivery' WHEN 1 THEN 'Set 1' ELSE 'Set 2' END"
_REPORTED = "CASE n % 20 WHEN 0 THEN 'bounced' WHEN 1 THEN 'opened' ELSE 'delivered' END"
_REPLY = "'250 2.0.0 Ok: queued as 4' || n"


def write(count: int) -> None:
    """Write them: entries with a recipient and an attempt each."""
    from wagtail_smtp.models import LogAttempt, LogEntry, LogRecipient

    apart, part = _PERIOD / count, count * 8 // 9
    ago = f"(({count} - n) * {apart})"
    at, key = {
        "sqlite": (
            f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || {ago} || ' seconds')",
            "lower(hex(randomblob(16)))",
        ),
        "postgresql": (f"now() - {ago} * interval '1 second'", "gen_random_uuid()"),
        "mysql": (f"utc_timestamp(6) - INTERVAL {ago} SECOND", "uuid()"),
    }[connection.vendor]
    prepare = {
        "sqlite": ("PRAGMA synchronous = OFF", "PRAGMA cache_size = -500000"),
        "mysql": ("SET SESSION sql_mode = 'PIPES_AS_CONCAT,ANSI_QUOTES'",),
    }
    _execute(*prepare.get(connection.vendor, ()))
    subject = (
        f"CASE n WHEN {count * 3 // 4} THEN 'Lost and found: one {RARE}' "
        "ELSE 'Your registration ' || n || ' for the conference' END"
    )
    changed = {"changed_at": at}
    # Where a UUID isn't a type of its own, Django writes it without dashes.
    uuids = [f"'{uuid.UUID(int=number)}'" for number in (1, 2)]
    if connection.vendor == "sqlite":
        uuids = [each.replace("-", "") for each in uuids]
    elif connection.vendor == "postgresql":
        uuids = [f"{each}::uuid" for each in uuids]
    set_key = f"CASE n % 3 WHEN 1 THEN {uuids[0]} WHEN 2 THEN {uuids[1]} END"
    sent = {"via": _VIA, "set_key": set_key, "state": _STATE}
    size = "2000 + n % 30000"
    named = {"category": _CATEGORY, "category_source": "'rule'", "sender": "'site@example.com'"}
    shown = {"subject": subject, "message_id": "'<' || n || '@example.com>'", "size": size}
    entry = changed | sent | named | shown | {"key": key, "created_at": at, "version": 1}
    entry["reported"] = _REPORTED
    domain = f"CASE WHEN n = {part} THEN 'example.com' WHEN n % 5 < 2 THEN '{COMMON}' "
    domain += "ELSE 'example' || (n * 7919 % 5000) || '.org' END"
    local = f"CASE WHEN n = {part} THEN '{PART}' ELSE 'user' || (n * 7919 % 200000) END"
    who = {"address": f"{local} || '@' || {domain}", "domain": domain, "state": _RECIPIENT_STATE}
    of_entry = {"entry_id": "n"}
    recipient = changed | of_entry | who | {"code": 250, "reply": _REPLY}
    attempt = of_entry | sent | {"began_at": at, "seconds": "0.02", "code": 250, "reply": _REPLY}
    for first in range(1, count + 1, _BATCH):
        last = min(first + _BATCH - 1, count)
        for model, values in ((LogEntry, entry), (LogRecipient, recipient), (LogAttempt, attempt)):
            _write(model, values, first, last)
    after = {
        # What autovacuum does within a minute or two, and what puts the sequences right.
        "postgresql": ("VACUUM ANALYZE", *_sequences(LogEntry, LogRecipient, LogAttempt)),
        "sqlite": ("PRAGMA synchronous = NORMAL",),
        "mysql": ("SET SESSION sql_mode = DEFAULT",),
    }
    _execute(*after[connection.vendor])


def _sequences(*tables: type[models.Model]) -> list[str]:
    return connection.ops.sequence_reset_sql(no_style(), tables)


def _write(model: type[models.Model], values: Mapping[str, Any], first: int, last: int) -> None:
    """A row for each number, the other columns as the model has them by default."""
    columns: dict[str, Any] = {"id": "n"}
    for field in model._meta.concrete_fields:
        if not field.primary_key:
            given = values.get(field.attname)
            columns[field.column] = _literal(field) if given is None else given
    numbers = {
        "sqlite": f"WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL "
        f"SELECT n + 1 FROM numbers WHERE n < {last}) SELECT n FROM numbers",
        "postgresql": f"SELECT n FROM generate_series({first}::bigint, {last}) AS n",
        "mysql": f"SELECT seq AS n FROM seq_{first}_to_{last}",
    }[connection.vendor]
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
