"""Assign messages to workers, with short transactions, leases and tokens.

A worker loses a message when its lease expires or someone cancels it. A worker that finds another
token or state in a row leaves that row alone. Before the first byte of a message is sent, its row
becomes *sending*, and that is committed. No worker ever claims it again.
"""

import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from wagtail_smtp.conf import conf
from wagtail_smtp.live.db import bulk_sql, clock, retry
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage
from wagtail_smtp.models.choices import State

_State = OutboxMessage.State
_TABLE = OutboxMessage._meta.db_table

#: How often a claim looks for messages again. It is limited because a caller's transaction may show
#: rows as they were.
_CLAIM_ATTEMPTS = 10


def rows() -> "QuerySet[OutboxMessage]":
    """The outbox, on the database it is written to."""
    return OutboxMessage.objects.using(db_connections.write_alias())


@retry.patiently
def claim(limit: int, token: uuid.UUID | None = None) -> tuple[uuid.UUID, list[OutboxMessage]]:
    """Claim up to ``limit`` due messages, security messages first.

    Times are the database's, so a worker's own clock may be wrong.

    Returns:
        The token and the messages, with ``entry`` and ``claimed_at`` (a datetime).
    """
    token = token or uuid.uuid4()
    connection = connections[db_connections.write_alias()]
    skips_locked = connection.features.has_select_for_update_skip_locked
    # SQLite's clock has milliseconds; this includes a message due in the current one.
    free = rows().filter(state=_State.WAITING, due_at__lte=clock.now(0.001))
    due = free.order_by("priority", "due_at", "id")
    if skips_locked:
        due = due.select_for_update(skip_locked=True)
    with transaction.atomic(using=connection.alias) if skips_locked else nullcontext():
        lease = clock.now(conf.OUTBOX_LEASE)
        for _attempt in range(_CLAIM_ATTEMPTS):
            keys = list(due.values_list("pk", flat=True)[:limit])
            if not keys:
                return token, []
            # Without SKIP LOCKED, other workers may have claimed them since: look for more.
            if free.filter(pk__in=keys).update(
                state=_State.CLAIMED, token=token, lease_until=lease
            ):
                break
        else:
            return token, []
    claimed = rows().filter(token=token, state=_State.CLAIMED).annotate(claimed_at=clock.now())
    return token, list(claimed.select_related("entry").order_by("priority", "due_at", "id"))


def load(window: Sequence[OutboxMessage]) -> dict[int, bytes]:
    """Load the stored messages of a few rows, by entry ID; they may be large."""
    stored = StoredMessage.objects.using(db_connections.write_alias())
    found = stored.filter(entry__in=[row.entry_id for row in window])
    return {key: bytes(content) for key, content in found.values_list("entry_id", "content")}


def begin(
    token: uuid.UUID,
    claimed: Sequence[OutboxMessage],
    outcomes: Sequence[bulk_sql.Statement] = (),
) -> list[OutboxMessage]:
    """Mark claimed messages as *sending* and return those that still belong to ``token``.

    Args:
        outcomes: statements that are run in the same transaction.
    """
    if not claimed:
        bulk_sql.run(*outcomes)
        return []
    keys = [row.pk for row in claimed]
    if bulk_sql.run(_mark_sending(token, keys), *outcomes) == len(keys):
        return list(claimed)
    sending = rows().filter(pk__in=keys, token=token, state=_State.SENDING)
    ours = set(sending.values_list("pk", flat=True))
    return [row for row in claimed if row.pk in ours]


def _mark_sending(token: uuid.UUID, keys: Sequence[int]) -> bulk_sql.Statement:
    """Mark claimed messages as *sending* unless their lease has expired."""
    until, now = clock.statement(conf.OUTBOX_LEASE), clock.statement()
    sql = (
        f"UPDATE {_TABLE}{bulk_sql.by_index(db_connections.write_alias(), OutboxMessage, 'id')}"  # noqa: S608
        f" SET state = %s, lease_until = {until.sql} WHERE id IN {bulk_sql.places(len(keys))}"
        f" AND token = %s AND state = %s AND lease_until >= {now.sql}"
    )
    claimed = bulk_sql.adapted(OutboxMessage, {"token": token, "state": str(_State.CLAIMED)})
    values = [str(_State.SENDING), *until.values, *keys, *claimed, *now.values]
    return bulk_sql.Statement(sql, values)


@retry.patiently
def extend(token: uuid.UUID) -> None:
    """Renew the lease of all messages of ``token``."""
    # Filter by state too: it has an index, the token has none.
    leased = rows().filter(token=token, state__in=(_State.CLAIMED, _State.SENDING))
    _by_key(leased).update(lease_until=clock.now(conf.OUTBOX_LEASE))


@retry.patiently
def release(token: uuid.UUID, unsent: Sequence[OutboxMessage] = ()) -> None:
    """Put messages that were certainly not sent back into the outbox.

    Args:
        unsent: messages marked as *sending*; empty: all messages that are only claimed.
    """
    if unsent:
        state, keys = _State.SENDING, [row.pk for row in unsent]
        released = rows().filter(pk__in=keys, token=token, state=state)
    else:
        released = _by_key(rows().filter(token=token, state=_State.CLAIMED))
    released.update(state=_State.WAITING, lease_until=None)


@retry.patiently
@retry.in_transaction
def release_abandoned() -> None:
    """Put messages that dead workers had claimed but not started to send back into the outbox.

    This doesn't wait for locked rows: they are checked again soon.
    """
    abandoned = rows().filter(state=_State.CLAIMED, lease_until__lt=clock.now())
    values = {"state": _State.WAITING, "lease_until": None}
    if not connections[db_connections.write_alias()].features.has_select_for_update_skip_locked:
        # On SQLite, only a transaction that begins with a write waits for others.
        abandoned.update(**values)
    elif keys := _lock_free(abandoned):
        bulk_sql.run(bulk_sql.update(OutboxMessage, "id", keys, values))


def _lock_free(wanted: "QuerySet[OutboxMessage]") -> list[int]:
    """Lock the rows that no other transaction has locked, and return their keys."""
    connection = connections[db_connections.write_alias()]
    keys = list(wanted.values_list("pk", flat=True))
    if not keys or not connection.features.has_select_for_update_skip_locked:
        return keys
    # By key, because MySQL locks, and waits for, every row that it examines.
    found = rows().filter(pk__in=keys).select_for_update(skip_locked=True)
    return list(found.values_list("pk", flat=True))


def _by_key(wanted: "QuerySet[OutboxMessage]") -> "QuerySet[OutboxMessage]":
    """The same rows by key: on MySQL, an UPDATE waits for every row that it examines."""
    if connections[db_connections.write_alias()].vendor != "mysql":
        return wanted
    return wanted.filter(pk__in=list(wanted.values_list("pk", flat=True)))


def with_outcome(sent: Sequence[OutboxMessage]) -> set[int]:
    """Return the keys of messages whose outcome is already in the database.

    A commit may have succeeded although the connection was lost during it.
    """
    keys = [row.pk for row in sent]
    waits = {row.pk: (row.state, row.token) for row in rows().filter(pk__in=keys)}
    # Another worker may have given up a message without knowing its outcome.
    given_up = set(
        LogEntry.objects.using(db_connections.write_alias())
        .filter(pk__in=[row.entry_id for row in sent], state=State.UNKNOWN)
        .values_list("pk", flat=True)
    )
    return {
        row.pk
        for row in sent
        if waits.get(row.pk) != (_State.SENDING, row.token) and row.entry_id not in given_up
    }


def lost() -> list[OutboxMessage]:
    """Messages whose worker died while sending them, so they may have been sent."""
    expired = rows().filter(state=_State.SENDING, lease_until__lt=clock.now())
    return list(expired.select_related("entry")[:100])


def is_still_lost(row: OutboxMessage) -> bool:
    """Whether a message from :func:`lost` is unchanged; if so, lock it."""
    same = rows().filter(pk=row.pk, token=row.token, state=row.state, lease_until=row.lease_until)
    # SQLite has no row locks, but a write locks the database.
    return bool(_lock_free(same)) and bool(same.update(state=row.state))


def time_left(row: OutboxMessage) -> timedelta:
    """How long a message may still be tried, as of its claim."""
    return row.expires_at - row.claimed_at


def postpone(row: OutboxMessage, wait: timedelta, tries: int = 1) -> bool:
    """Put a message back into the outbox for a retry; False if this worker has lost it."""
    sending = rows().filter(pk=row.pk, token=row.token, state=_State.SENDING)
    # The project's task system uses this machine's clock.
    row.due_at = timezone.now() + wait
    return bool(
        sending.update(
            state=_State.WAITING,
            tries=F("tries") + tries,
            due_at=clock.now(wait.total_seconds()),
            lease_until=None,
        )
    )
