"""Which worker has which messages: short transactions, a lease, and a token that fences.

A claim is lost when its lease runs out or somebody cancels it; whoever finds another token, or
another state, has lost the row and leaves it alone. A row becomes *sending* in a transaction of
its own before its first byte is sent, and no one claims it from then on.
"""

import logging
import threading
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import Error, close_old_connections, connections, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from wagtail_smtp.conf import conf
from wagtail_smtp.live.db import bulk_sql, clock, retry
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage
from wagtail_smtp.models.choices import State
from wagtail_smtp.outbox import claims

Row = OutboxMessage
_State = OutboxMessage.State
_TABLE = OutboxMessage._meta.db_table


def rows() -> "QuerySet[OutboxMessage]":
    """The outbox, read where it is written."""
    return Row.objects.using(db_connections.write_alias())


@retry.patiently
def claim(limit: int, token: uuid.UUID | None = None) -> tuple[uuid.UUID, list[OutboxMessage]]:
    """Up to ``limit`` messages that are due, security first, and the token they are held by.

    Times are the database's, so that a worker's own clock may be wrong.
    """
    token = token or uuid.uuid4()
    if not retry.repeated(lambda: _mark_due(limit, token)):
        return token, []
    mine = rows().filter(token=token, state=_State.CLAIMED).annotate(claimed_at=clock.now())
    # Without what nobody asks of a claimed row: times are slow to read.
    mine = mine.defer("state", "priority", "due_at", "lease_until").select_related("entry")
    return token, list(mine.order_by("priority", "due_at", "id"))


def _mark_due(limit: int, token: uuid.UUID) -> int:
    """Make up to ``limit`` messages that are due those of ``token``; how many that were."""
    connection = connections[db_connections.write_alias()]
    until = clock.statement(conf.OUTBOX_LEASE)
    # SQLite's clock shows milliseconds: a message of this very one is due.
    now = clock.statement(0.001)
    if connection.vendor != "mysql":
        # One statement, so that nobody comes in between.
        skip = connection.features.has_select_for_update_skip_locked
        sql = (
            f"WITH due AS (SELECT id FROM {_TABLE} WHERE state = %s AND due_at <= {now.sql}"  # noqa: S608
            f" ORDER BY priority, due_at, id LIMIT %s{' FOR UPDATE SKIP LOCKED' * skip})"
            f" UPDATE {_TABLE} SET state = %s, token = %s, lease_until = {until.sql}"
            " WHERE id IN (SELECT id FROM due)"
        )
        mark = bulk_sql.adapted(Row, {"state": str(_State.CLAIMED), "token": token})
        values = [str(_State.WAITING), *now.values, limit, *mark, *until.values]
        return bulk_sql.run(bulk_sql.Statement(sql, values))
    # It doesn't select from a table that it updates.
    free = rows().filter(state=_State.WAITING, due_at__lte=clock.now(0.001))
    with transaction.atomic(using=connection.alias):
        due = free.order_by("priority", "due_at", "id")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        keys = list(due.values_list("pk", flat=True)[:limit])
        lease = clock.now(conf.OUTBOX_LEASE)
        # Of an older one a faster worker may have taken some meanwhile.
        return free.filter(pk__in=keys).update(state=_State.CLAIMED, token=token, lease_until=lease)


def load(window: Sequence[OutboxMessage]) -> dict[int, bytes]:
    """The stored messages of ``window`` by entry; of no more at a time: they may be large."""
    stored = StoredMessage.objects.using(db_connections.write_alias())
    found = stored.filter(entry__in=[row.entry_id for row in window])
    return {key: bytes(content) for key, content in found.values_list("entry_id", "content")}


@retry.patiently
@retry.in_transaction
def free_abandoned() -> None:
    """Let others have what dead workers had claimed and not begun.

    Without waiting: what somebody has locked is looked at again soon.
    """
    abandoned = rows().filter(state=_State.CLAIMED, lease_until__lt=clock.now())
    free = {"state": _State.WAITING, "lease_until": None}
    if not connections[db_connections.write_alias()].features.has_select_for_update_skip_locked:
        # SQLite waits for its turn only if a transaction begins by writing.
        abandoned.update(**free)
    elif keys := _without_waiting(abandoned):
        bulk_sql.run(bulk_sql.update(Row, "id", keys, free))


def _without_waiting(wanted: "QuerySet[OutboxMessage]") -> list[int]:
    """Keys of those rows that nobody has locked, locked until the open transaction ends."""
    connection = connections[db_connections.write_alias()]
    keys = list(wanted.values_list("pk", flat=True))
    if not keys or not connection.features.has_select_for_update_skip_locked:
        return keys
    # By their keys: MySQL locks, and waits for, whatever it looks at on the way.
    found = rows().filter(pk__in=keys).select_for_update(skip_locked=True)
    return list(found.values_list("pk", flat=True))


def _by_key(wanted: "QuerySet[OutboxMessage]") -> "QuerySet[OutboxMessage]":
    """The same rows; MySQL waits for each that an UPDATE looks at, also for others' rows."""
    if connections[db_connections.write_alias()].vendor != "mysql":
        return wanted
    return wanted.filter(pk__in=list(wanted.values_list("pk", flat=True)))


def begin(
    token: uuid.UUID,
    window: Sequence[OutboxMessage],
    along: Sequence[bulk_sql.Statement] = (),
) -> list[OutboxMessage]:
    """Those of ``window`` that are still ours, now *sending*.

    Args:
        along: what is done together with that, or not at all.
    """
    if not window:
        bulk_sql.run(*along)
        return []
    keys = [row.pk for row in window]
    if bulk_sql.run(_sending(token, keys), *along) == len(keys):
        return list(window)
    held = rows().filter(pk__in=keys, token=token, state=_State.SENDING)
    ours = set(held.values_list("pk", flat=True))
    return [row for row in window if row.pk in ours]


def _sending(token: uuid.UUID, keys: Sequence[int]) -> bulk_sql.Statement:
    """Those of the messages that are claimed, and whose lease holds, are *sending*."""
    until, now = clock.statement(conf.OUTBOX_LEASE), clock.statement()
    sql = (
        f"UPDATE {_TABLE}{bulk_sql.by_index(db_connections.write_alias(), Row, 'id')}"  # noqa: S608
        f" SET state = %s, lease_until = {until.sql} WHERE id IN {bulk_sql.places(len(keys))}"
        f" AND token = %s AND state = %s AND lease_until >= {now.sql}"
    )
    held = bulk_sql.adapted(Row, {"token": token, "state": str(_State.CLAIMED)})
    values = [str(_State.SENDING), *until.values, *keys, *held, *now.values]
    return bulk_sql.Statement(sql, values)


@retry.patiently
def extend(token: uuid.UUID) -> None:
    """Renew the lease of all that is held by ``token``."""
    # By state, which has an index; the token has none.
    held = rows().filter(token=token, state__in=(_State.CLAIMED, _State.SENDING))
    _by_key(held).update(lease_until=clock.now(conf.OUTBOX_LEASE))


@retry.patiently
def give_back(token: uuid.UUID) -> None:
    """Let others have what was claimed and not begun."""
    held = rows().filter(token=token, state=_State.CLAIMED)
    _by_key(held).update(state=_State.WAITING, lease_until=None)


@retry.patiently
def take_back(token: uuid.UUID, begun: Sequence[OutboxMessage]) -> None:
    """Let others have what became *sending*, but certainly didn't leave."""
    rows().filter(pk__in=[row.pk for row in begun], token=token, state=_State.SENDING).update(
        state=_State.WAITING, lease_until=None
    )


def written(tried: Sequence[OutboxMessage]) -> set[int]:
    """The keys of those whose outcome is written down.

    A commit may have been done although the connection was lost over it.
    """
    keys = [row.pk for row in tried]
    waits = {row.pk: (row.state, row.token) for row in rows().filter(pk__in=keys)}
    given_up = set(
        LogEntry.objects.using(db_connections.write_alias())
        .filter(pk__in=[row.entry_id for row in tried], state=State.UNKNOWN)
        .values_list("pk", flat=True)
    )
    # Given up by others, it is not written: the outcome is the better one.
    return {
        row.pk
        for row in tried
        if waits.get(row.pk) != (_State.SENDING, row.token) and row.entry_id not in given_up
    }


def lost() -> list[OutboxMessage]:
    """Messages whose worker died while sending them: nobody knows whether they left."""
    dead = rows().filter(state=_State.SENDING, lease_until__lt=clock.now())
    return list(dead.select_related("entry")[:100])


def is_still_lost(row: OutboxMessage) -> bool:
    """Whether a message of :func:`lost` is as it was; it is locked then."""
    same = rows().filter(pk=row.pk, token=row.token, state=row.state, lease_until=row.lease_until)
    # Locked by writing where there are no locks of rows.
    return bool(_without_waiting(same)) and bool(same.update(state=row.state))


def time_left(row: OutboxMessage) -> timedelta:
    """How long a claimed message may still be tried, as of its claim."""
    return row.expires_at - row.claimed_at


def postpone(row: OutboxMessage, wait: timedelta, tries: int = 1) -> bool:
    """Put a message back that was tried; False if it isn't ours any more."""
    held = rows().filter(pk=row.pk, token=row.token, state=_State.SENDING)
    # For the project's task system, which goes by this clock.
    row.due_at = timezone.now() + wait
    return bool(
        held.update(
            state=_State.WAITING,
            tries=F("tries") + tries,
            due_at=clock.now(wait.total_seconds()),
            lease_until=None,
        )
    )


logger = logging.getLogger(__name__)

#: Messages claimed at a time, and how many of these each thread marks as *sending* if the server is
#: fast. When a worker dies, at most this many messages of a thread become *unknown*.
CLAIM = 100
WINDOW = 10


@dataclass(frozen=True, slots=True)
class Window:
    """Messages that become *sending* together, and the token they are held by."""

    token: uuid.UUID
    rows: Sequence[OutboxMessage]


class ClaimBuffer:
    """Shared by the threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: deque[Window] = deque()
        #: Messages not begun, of each claim.
        self._open: Counter[uuid.UUID] = Counter()
        #: Claims to return to the outbox, as far as their messages are not begun.
        self._unreturned: set[uuid.UUID] = set()

    def next(self, size: int = WINDOW) -> Window | None:
        """The next window, of up to ``size`` messages; None: nothing is due.

        Raises:
            django.db.Error: the outbox can't be read.
        """
        # One claims for all; the others would find nothing, or less.
        with self._lock:
            if not self._windows:
                self._claim()
            if not self._windows:
                return None
            whole = self._windows.popleft()
            if rest := whole.rows[size:]:
                self._windows.appendleft(Window(whole.token, rest))
            return Window(whole.token, whole.rows[:size])

    def _claim(self) -> None:
        token = uuid.uuid4()
        # It may be done although the connection is lost over it.
        self._unreturned.add(token)
        rows = claims.claim(CLAIM, token)[1]
        self._unreturned.discard(token)
        if rows:
            self._windows.append(Window(token, rows))
            self._open[token] = len(rows)

    def begun(self, window: Window) -> None:
        """Nothing of the window is left to be given back."""
        with self._lock:
            self._open[window.token] -= len(window.rows)
            self._open += Counter()  # without those that are through

    def give_back(self) -> None:
        """Return all messages that are not begun. Windows already distributed will be empty."""
        with self._lock:
            self._windows.clear()
            self._unreturned.update(self._open)
            self._open.clear()
        self.return_claims()

    def return_claims(self) -> None:
        """Return claims, including those that a database error prevented before."""
        with self._lock:
            try:
                for token in tuple(self._unreturned):
                    claims.give_back(token)
                    self._unreturned.discard(token)
            except Error:
                logger.exception("Claimed messages could not be returned yet.")
                # The connection is unusable after the failed transaction.
                close_old_connections()
