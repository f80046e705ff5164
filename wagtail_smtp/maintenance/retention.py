"""Prune the delivery log automatically, in small steps.

Every process runs a step at most every ten minutes, or twice a minute while more is due. See
:mod:`wagtail_smtp.maintenance.periodic`.

A step reads a limited number of due rows by index, so it doesn't take longer if the log is large.
It needs no locks: an entry that has left the outbox never returns to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef

from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.log import stored_message, tracking_events
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.db import expressions, retry, sqlite_writer
from wagtail_smtp.maintenance import periodic
from wagtail_smtp.models import (
    DeliveryEvent,
    LogAttempt,
    LogEntry,
    LogRecipient,
    OutboxMessage,
    StoredMessage,
)

#: Limits of a step: entries and messages, related rows of each kind, and bytes of messages. On
#: SQLite no message can be logged during a transaction, so it must end within milliseconds.
STEP = 50
_ROWS = 150
_BYTES = 64 * 1024 * 1024

#: Seconds to wait, at least, between two steps of a command. SQLite lets others wait up to 25 ms
#: before they try again; without a pause, the next step would be first each time.
PAUSE = 0.025
#: Seconds between two steps of a process, and while more is due.
_INTERVAL = 600
_SHORT_INTERVAL = 30

#: More days than this mean “keep forever”, because such a date may be out of range.
_MAX_DAYS = 36500


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a step removed, and whether there may be more."""

    entries: int = 0
    messages: int = 0
    more: bool = False


def prune_step() -> Pruned:
    """Remove a few stored messages and a few entries, the oldest first, in short transactions."""
    keep_log = conf.KEEP_LOG_DAYS
    messages = _due(StoredMessage, min(conf.KEEP_MESSAGES_DAYS, keep_log))
    deleted = _within_bytes(messages)
    if deleted:
        stored_message.discard(deleted)
        stored_message.forget()
    entries = _due(LogEntry, keep_log)
    dropped = _delete_entries(entries)
    more_events = tracking_events.sweep(timedelta(days=min(keep_log, _MAX_DAYS)))
    is_partial = len(deleted) < len(messages) or dropped < len(entries)
    if deleted or entries:
        sqlite_writer.checkpoint(db_connections.write_alias())
    more = is_partial or more_events or STEP in (len(messages), len(entries))
    return Pruned(dropped, len(deleted), more)


def _due(model: type[models.Model], days: float) -> list[int]:
    """The keys of the oldest rows that are due and whose message isn't in the outbox."""
    entry = "pk" if model is LogEntry else "entry_id"
    alias = db_connections.write_alias()
    rows = model._default_manager.using(alias).filter(
        ~Exists(OutboxMessage.objects.using(alias).filter(entry=OuterRef(entry))),
        created_at__lt=expressions.now(-86400 * min(days, _MAX_DAYS)),
    )
    return list(rows.order_by("created_at").values_list("pk", flat=True)[:STEP])


def _within_bytes(keys: Sequence[int]) -> list[int]:
    """The entries of the first messages, up to the size that one transaction should delete."""
    if not keys:
        return []
    rows = StoredMessage.objects.using(db_connections.write_alias()).filter(pk__in=keys)
    found: list[int] = []
    total = 0
    for key, size in rows.order_by("created_at").values_list("entry", "size"):
        total += size
        if found and total > _BYTES:
            break
        found.append(key)
    return found


def _delete_entries(keys: Sequence[int]) -> int:
    """Delete entries with all their rows, and return the number of entries.

    It is 0 if they have so many rows that the next step has to delete the rest.
    """
    if not keys:
        return 0
    # Read first, so that the transaction only deletes: on SQLite it stops everyone who logs.
    rows: dict[type[models.Model], list[int]] = {}
    for model in (DeliveryEvent, LogRecipient, LogAttempt):
        rows[model] = _of_entries(model, keys)
        if len(rows[model]) == _ROWS:
            _delete_together(keys, rows)
            return 0
    _delete_together(keys, rows | {LogEntry: list(keys)})
    return len(keys)


def _of_entries(model: type[models.Model], keys: Sequence[int]) -> list[int]:
    rows = model._default_manager.using(db_connections.write_alias()).filter(entry__in=keys)
    return list(rows.order_by().values_list("pk", flat=True)[:_ROWS])


@retry.in_transaction
def _delete_together(
    entries: Sequence[int], rows: Mapping[type[models.Model], Sequence[int]]
) -> None:
    """Delete the messages of entries and these rows, given by key."""
    stored_message.discard(entries)
    for model, keys in rows.items():
        if keys:
            _delete(model._default_manager.filter(pk__in=keys))


def _delete(rows: "models.QuerySet[Any]") -> None:
    """Delete in one statement; ``delete()`` would read every row and its relations first."""
    rows._raw_delete(db_connections.write_alias())


def connect() -> None:
    """Prune automatically in this process."""
    periodic.add_step(periodic.Step(_prune, failure="The delivery log could not be pruned."))


def _prune() -> float:
    """Run a step and return the number of seconds until the next one."""
    return _SHORT_INTERVAL if prune_step().more else _INTERVAL
