"""The log is kept for so many days and no longer: pruned in small steps, by the plugin itself.

After a message, and while a worker of the outbox has nothing to do, one step is made; at most
every ten minutes in each process, or twice a minute while more is due. Never in somebody's
transaction: then the step is made at the end of the request.

What is looked at is due, found by its index and bounded in number, so that no step takes longer
because the log is large. What the outbox holds is passed over: an entry that is not in the outbox
never comes into it again, so that needs no lock.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.signals import request_finished
from django.db import connections, models

from wagtail_smtp import signals
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.log import stored_message, tracking_events
from wagtail_smtp.live.db import clock, deferred, retry
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.models import (
    DeliveryEvent,
    LogAttempt,
    LogEntry,
    LogRecipient,
    OutboxMessage,
    StoredMessage,
)
from wagtail_smtp.runtime import once

logger = logging.getLogger(__name__)

#: Entries, or messages, of one step; rows of each kind that go with them; octets of messages.
STEP = 250
_ROWS = 500
_OCTETS = 64 * 1024 * 1024

#: Seconds between two steps of a process, and while more is due.
_INTERVAL = 600
_SOON = 30

#: More days than this are as good as for ever, and dates have an end.
_FOR_EVER = 36500


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a step removed, and whether there may be more."""

    entries: int = 0
    messages: int = 0
    more: bool = False


class Sweep:
    """Step by step through what is due, the oldest first."""

    def __init__(self) -> None:
        # Past how much the outbox holds; it is not looked at again at each step.
        self._from: dict[type[models.Model], datetime] = {}

    def step(self) -> Pruned:
        """Remove a few whole messages, and a few entries; each in a short transaction."""
        keep_log = conf.KEEP_LOG_DAYS
        keep_messages = min(conf.KEEP_MESSAGES_DAYS, keep_log)
        messages, more_messages = self._next(StoredMessage, keep_messages)
        some = _within_bytes(messages)
        if some:
            _delete(StoredMessage.objects.filter(pk__in=some))
            stored_message.forget()
        entries, more_entries = self._next(LogEntry, keep_log)
        dropped = _drop(entries)
        left_out = len(some) < len(messages) or dropped < len(entries)
        more_reports = tracking_events.sweep(timedelta(days=min(keep_log, _FOR_EVER)))
        more = more_messages or more_entries or more_reports or left_out
        return Pruned(dropped, len(some), more)

    def _next(self, model: type[models.Model], days: float) -> tuple[list[int], bool]:
        """Keys of the next rows that are due and not held, and whether there are more."""
        due = model._default_manager.using(db_connections.write_alias()).filter(
            created_at__lt=clock.now(-86400 * min(days, _FOR_EVER))
        )
        if model in self._from:
            due = due.filter(created_at__gte=self._from[model])
        entry = "pk" if model is LogEntry else "entry_id"
        found = list(due.order_by("created_at").values_list("pk", entry, "created_at")[:STEP])
        held = _held([entry for _key, entry, _at in found])
        free = [key for key, entry, _at in found if entry not in held]
        more = len(found) == STEP
        if not more:
            self._from.pop(model, None)
        elif not free:
            # If all were of the same moment, there is no way past them.
            more = self._from.get(model) != found[-1][2]
            self._from[model] = found[-1][2]
        return free, more


def _held(entries: Sequence[int]) -> set[int]:
    """Those of the entries that the outbox holds."""
    rows = OutboxMessage.objects.using(db_connections.write_alias()).filter(entry__in=entries)
    return set(rows.values_list("entry_id", flat=True)) if entries else set()


def _within_bytes(keys: Sequence[int]) -> list[int]:
    """The first of the messages, so many as one transaction should free the room of."""
    if not keys:
        return []
    rows = StoredMessage.objects.using(db_connections.write_alias()).filter(pk__in=keys)
    kept: list[int] = []
    octets = 0
    for key, size in rows.order_by("created_at").values_list("pk", "size"):
        octets += size
        if kept and octets > _OCTETS:
            break
        kept.append(key)
    return kept


@retry.in_transaction
def _drop(keys: Sequence[int]) -> int:
    """Remove entries with all that belongs to them; how many that were.

    None yet, if so many rows belong to them that these come first.
    """
    if not keys:
        return 0
    # SQLite wants a transaction that writes to begin with that.
    _delete(StoredMessage.objects.filter(entry__in=keys))
    for model in (DeliveryEvent, LogRecipient, LogAttempt):
        rows = model.objects.using(db_connections.write_alias()).filter(entry__in=keys).order_by()
        some = list(rows.values_list("pk", flat=True)[:_ROWS])
        _delete(model.objects.filter(pk__in=some))
        if len(some) == _ROWS:
            return 0
    _delete(LogEntry.objects.filter(pk__in=keys))
    return len(keys)


def _delete(rows: "models.QuerySet[Any]") -> None:
    """In one statement; Django's own way reads every row and its relations first."""
    rows._raw_delete(db_connections.write_alias())


class _Turn:
    """When this process makes its next step."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sweep = Sweep()
        self.due = 0.0
        #: A message could have been followed by a step, but for the caller's transaction.
        self.missed = False


_turn = _Turn()
once.after_in_child(lambda: _turn.__init__())  # type: ignore[misc]


def connect() -> None:
    """Listen to messages, idle workers and the end of requests."""
    for signal in (signals.message_sent, signals.message_failed, signals.outbox_idle):
        signal.connect(_prune_in_turn, dispatch_uid="wagtail_smtp.maintenance.retention")
    request_finished.connect(_make_up_for_it, dispatch_uid="wagtail_smtp.maintenance.retention")


def _prune_in_turn(**kwargs: Any) -> None:
    """One step, if it is time and no transaction is open; never raises."""
    if time.monotonic() < _turn.due or not _turn.lock.acquire(blocking=False):
        return
    try:
        if _is_busy():
            _turn.missed = True
            return
        _turn.missed = False
        _turn.due = time.monotonic() + _INTERVAL
        if _turn.sweep.step().more:
            _turn.due = time.monotonic() + _SOON
    except Exception:
        logger.warning(
            "The delivery log could not be pruned. It will be tried again.", exc_info=True
        )
    finally:
        _turn.lock.release()


def _is_busy() -> bool:
    """Whether this thread's connection is in a transaction, or may not be touched."""
    if deferred.runs_event_loop():
        return True
    connection = connections[db_connections.write_alias()]
    return connection.in_atomic_block or (
        connection.connection is not None and not connection.get_autocommit()
    )


def _make_up_for_it(**kwargs: Any) -> None:
    """At the end of a request, whose transaction is over."""
    if not _turn.missed or deferred.runs_event_loop():
        return
    connection = connections[db_connections.write_alias()]
    was_closed = connection.connection is None
    _prune_in_turn()
    if was_closed and not connection.in_atomic_block:
        connection.close()  # Django has closed those of the request already
