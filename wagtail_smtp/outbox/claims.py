"""Assign messages to workers, with short transactions, leases and tokens.

A claim marks rows as *sending* and is committed before the first byte of a message is sent, so no
other worker ever claims them. A worker loses a message when its lease expires. A worker that finds
another token or state in a row leaves that row alone.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from mmap import mmap

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, QuerySet
from django.utils import timezone

from wagtail_smtp.conf import conf
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import bulk_sql, expressions, retry
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.db.bulk_sql import Statement
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage
from wagtail_smtp.models.choices import State

_State = OutboxMessage.State
_TABLE = OutboxMessage._meta.db_table

#: SQLite's clock has milliseconds; with these seconds, a message due in the current one is claimed.
_TOLERANCE = 0.001
#: How often a claim looks for messages again. It is limited because a transaction may show rows as
#: they were.
_CLAIM_ATTEMPTS = 10
#: The order in which messages are claimed and sent.
_ORDER = ("priority", "due_at", "id")


class Progress:
    """How far a worker has come with its claim, in memory that may survive the worker.

    It consists of the claim's token and two numbers of one byte, which are written at once however
    the worker dies: how many messages of the claim it has begun to send, and how many there are.

    Args:
        memory: has ``SIZE`` bytes from ``offset``.
    """

    SIZE = 18
    #: Nothing is known.
    _UNKNOWN = 255

    def __init__(self, memory: bytearray | mmap | None = None, offset: int = 0) -> None:
        self._memory = bytearray(self.SIZE) if memory is None else memory
        self._token = slice(offset, offset + 16)
        self._begun, self._size = offset + 16, offset + 17
        self._memory[self._begun] = self._UNKNOWN

    def claiming(self, token: uuid.UUID) -> None:
        """A claim is about to be made."""
        self._memory[self._begun] = self._UNKNOWN
        self._memory[self._token] = token.bytes
        self._memory[self._begun] = 0

    def claimed(self, size: int) -> None:
        """The claim has ``size`` messages."""
        self._memory[self._size] = size

    def sending(self, index: int) -> None:
        """The message with this index, from 0, is about to be sent."""
        self._memory[self._begun] = index + 1

    def end_claim(self) -> int:
        """For a dead worker: put the messages it hadn't begun to send back into the outbox.

        The lease of the others ends, so they become *unknown*.

        Returns:
            The number of messages put back.
        """
        begun, size = self._memory[self._begun], self._memory[self._size]
        if begun == self._UNKNOWN:
            return 0
        token = uuid.UUID(bytes=bytes(self._memory[self._token]))
        found = list(rows().filter(token=token, state=_State.SENDING).order_by(*_ORDER))
        if begun and len(found) != size:
            return 0  # a message was deleted, so the order says nothing
        if unsent := found[begun:]:
            release(token, unsent)
        if found[:begun]:
            _of(token, found[:begun]).update(lease_until=expressions.now())
        return len(unsent)


def rows() -> "QuerySet[OutboxMessage]":
    """The outbox, on the database it is written to."""
    return OutboxMessage.objects.using(db_connections.write_alias())


def claim(limit: int, token: uuid.UUID, outcomes: Sequence[Statement] = ()) -> None:
    """Mark up to ``limit`` due messages as *sending*, security messages first, and run statements.

    Messages of other environments, which came with a copied database, are never claimed.

    All or nothing, except that MySQL needs an open transaction for that. Times are the database's,
    so a worker's own clock may be wrong.
    """
    connection = connections[db_connections.write_alias()]
    if connection.features.allow_sliced_subqueries_with_in:
        bulk_sql.run(_claim_statement(connection, limit, token), *outcomes)
        return
    free = rows().filter(
        state=_State.WAITING,
        due_at__lte=expressions.now(_TOLERANCE),
        environment__in=environments.own_names(),
    )
    due = free.order_by(*_ORDER)
    if connection.features.has_select_for_update_skip_locked:
        due = due.select_for_update(skip_locked=True)
    lease = expressions.now(conf.OUTBOX_LEASE)
    for _attempt in range(_CLAIM_ATTEMPTS):
        # By key, because MySQL locks, and waits for, every row that it examines.
        keys = list(due.values_list("pk", flat=True)[:limit])
        # Without SKIP LOCKED, other workers may have claimed them since: look for more.
        claimed = free.filter(pk__in=keys)
        if not keys or claimed.update(state=_State.SENDING, token=token, lease_until=lease):
            break
    bulk_sql.run(*outcomes)


def _claim_statement(connection: BaseDatabaseWrapper, limit: int, token: uuid.UUID) -> Statement:
    """One statement: on SQLite, a transaction that begins with a read can't wait for others."""
    until, now = expressions.statement(conf.OUTBOX_LEASE), expressions.statement(_TOLERANCE)
    own = environments.own_names()
    due = (
        f"SELECT id FROM {_TABLE} WHERE state = %s AND due_at <= {now.sql}"  # noqa: S608
        f" AND environment IN ({', '.join(['%s'] * len(own))})"
        f" ORDER BY {', '.join(_ORDER)} LIMIT {limit:d}"
    )
    if connection.features.has_select_for_update_skip_locked:
        # An array, because PostgreSQL may run a subquery several times.
        due = f"= ANY(ARRAY({due} FOR UPDATE SKIP LOCKED))"
    else:
        due = f"IN ({due})"
    return Statement(
        f"UPDATE {_TABLE} SET state = %s, token = %s, lease_until = {until.sql} WHERE id {due}",  # noqa: S608
        [
            *bulk_sql.adapted(OutboxMessage, {"state": str(_State.SENDING), "token": token}),
            *until.values,
            str(_State.WAITING),
            *now.values,
            *own,
        ],
    )


#: In SQL, because Django takes longer to compile these queries than the database to run them.
_CLAIMED = (
    "SELECT outbox.*, stored.content AS content "  # noqa: S608
    f"FROM {_TABLE} outbox LEFT JOIN {StoredMessage._meta.db_table} stored "
    "ON stored.entry_id = outbox.entry_id WHERE outbox.token = %s AND outbox.state = %s "
    f"ORDER BY {', '.join(_ORDER)}"
)
#: The columns of an entry that sending needs; converting the others takes as long as these.
_COLUMNS = ("id", "key", "state", "category", "site_key", "site", "site_source", "subject", "size")
_USED = ", ".join(f"entry.{name}" for name in _COLUMNS)
_ENTRIES = (
    f"SELECT {_USED} FROM {LogEntry._meta.db_table} entry WHERE id IN "  # noqa: S608
    f"(SELECT entry_id FROM {_TABLE} WHERE token = %s AND state = %s)"
)


@retry.patiently
def claimed(token: uuid.UUID) -> list[OutboxMessage]:
    """The messages of a claim.

    Each has ``entry``, whose other fields are read when they are used, and ``content`` (bytes-like,
    or None if the stored message is missing).
    """
    alias = db_connections.write_alias()
    values = bulk_sql.adapted(OutboxMessage, {"token": token, "state": str(_State.SENDING)})
    found = list(OutboxMessage.objects.using(alias).raw(_CLAIMED, values))
    entries = {row.pk: row for row in LogEntry.objects.using(alias).raw(_ENTRIES, values)}
    for row in found:
        row.entry = entries[row.entry_id]
    return found


@retry.patiently
def extend(token: uuid.UUID) -> None:
    """Renew the lease of the messages of ``token``."""
    _of(token).update(lease_until=expressions.now(conf.OUTBOX_LEASE))


@retry.patiently
def release(token: uuid.UUID, unsent: Sequence[OutboxMessage] | None = None) -> None:
    """Put messages that were certainly not sent back into the outbox.

    Args:
        unsent: some messages of the claim; None: all of them.
    """
    _of(token, unsent).update(state=_State.WAITING, lease_until=None)


def _of(token: uuid.UUID, some: Sequence[OutboxMessage] | None = None) -> "QuerySet[OutboxMessage]":
    """All or some messages of a claim."""
    # Filter by state too: it has an index, the token has none.
    sending = rows().filter(token=token, state=_State.SENDING)
    if some is not None:
        sending = sending.filter(pk__in=[row.pk for row in some])
    if connections[db_connections.write_alias()].vendor != "mysql":
        return sending
    # By key: on MySQL, an UPDATE waits for every row that it examines.
    return sending.filter(pk__in=list(sending.values_list("pk", flat=True)))


def _lock_free(wanted: "QuerySet[OutboxMessage]") -> list[int]:
    """Lock the rows that no other transaction has locked, and return their keys."""
    connection = connections[db_connections.write_alias()]
    keys = list(wanted.values_list("pk", flat=True))
    if not keys or not connection.features.has_select_for_update_skip_locked:
        return keys
    # By key, because MySQL locks, and waits for, every row that it examines.
    found = rows().filter(pk__in=keys).select_for_update(skip_locked=True)
    return list(found.values_list("pk", flat=True))


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
    expired = rows().filter(state=_State.SENDING, lease_until__lt=expressions.now())
    return list(expired.select_related("entry")[:100])


def is_still_lost(row: OutboxMessage) -> bool:
    """Whether a message from :func:`lost` is unchanged; if so, lock it."""
    same = rows().filter(pk=row.pk, token=row.token, state=row.state, lease_until=row.lease_until)
    # SQLite has no row locks, but a write locks the database.
    return bool(_lock_free(same)) and bool(same.update(state=row.state))


def time_left(row: OutboxMessage) -> timedelta:
    """How long a message may still be tried, as of its claim."""
    assert row.lease_until is not None
    return row.expires_at - (row.lease_until - timedelta(seconds=conf.OUTBOX_LEASE))


def postpone(row: OutboxMessage, wait: timedelta, attempts: int = 1) -> bool:
    """Put a message back into the outbox for a retry; False if this worker has lost it."""
    sending = rows().filter(pk=row.pk, token=row.token, state=_State.SENDING)
    # The project's task system uses this machine's clock.
    row.due_at = timezone.now() + wait
    return bool(
        sending.update(
            state=_State.WAITING,
            attempts=F("attempts") + attempts,
            due_at=expressions.now(wait.total_seconds()),
            lease_until=None,
        )
    )
