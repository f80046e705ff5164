"""Which worker has which messages: short transactions, a lease, and a token that fences.

A claim is lost when its lease runs out or somebody cancels it; whoever finds another token, or
another state, has lost the row and leaves it alone. A row becomes *sending* in a transaction of
its own before its first octet leaves, and nobody claims it from then on.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import F, QuerySet, prefetch_related_objects
from django.db.models.functions import Now
from django.utils import timezone

from wagtail_smtp.conf import conf
from wagtail_smtp.live import database
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.states import State

Row = OutboxMessage
_State = OutboxMessage.State


def rows() -> "QuerySet[OutboxMessage]":
    """The outbox, read where it is written."""
    return Row.objects.using(database.write_alias())


def claim(limit: int, token: uuid.UUID | None = None) -> tuple[uuid.UUID, list[OutboxMessage]]:
    """Up to ``limit`` messages that are due, security first, and the token they are held by.

    Times are the database's, so that a worker's own clock may be wrong.
    """
    alias = database.write_alias()
    token = token or uuid.uuid4()
    # SQLite's clock shows milliseconds: a message of this very one is due.
    free = rows().filter(state=_State.WAITING, due_at__lte=Now() + timedelta(milliseconds=1))
    first = free.order_by("priority", "due_at", "id")
    until = Now() + timedelta(seconds=conf.OUTBOX_LEASE)
    mark = {"state": _State.CLAIMED, "token": token, "lease_until": until}
    if connections[alias].features.has_select_for_update_skip_locked:
        with transaction.atomic(using=alias):
            locked = first.select_for_update(skip_locked=True)
            keys = list(locked.values_list("pk", flat=True)[:limit])
            free.filter(pk__in=keys).update(**mark)
    else:
        # No transaction: SQLite lets none write that has read what another changed since. A
        # faster worker may have taken some meanwhile, so the condition is checked again.
        keys = list(first.values_list("pk", flat=True)[:limit])
        free.filter(pk__in=keys).update(**mark)
    if not keys:
        return token, []
    mine = rows().filter(token=token, state=_State.CLAIMED).annotate(claimed_at=Now())
    return token, list(mine.select_related("entry").order_by("priority", "due_at", "id"))


def load(window: Sequence[OutboxMessage]) -> None:
    """Fetch the stored messages of ``window``; of no more at a time, since they may be large."""
    prefetch_related_objects([row.entry for row in window], "stored")


def free_abandoned() -> None:
    """Let others have what dead workers had claimed and not begun."""
    rows().filter(state=_State.CLAIMED, lease_until__lt=Now()).update(
        state=_State.WAITING, lease_until=None
    )


def begin(token: uuid.UUID, window: Sequence[OutboxMessage]) -> list[OutboxMessage]:
    """Those of ``window`` that are still ours, now *sending*; to be called in a transaction."""
    keys = [row.pk for row in window]
    held = rows().filter(pk__in=keys, token=token, state=_State.CLAIMED, lease_until__gte=Now())
    count = held.update(
        state=_State.SENDING, lease_until=Now() + timedelta(seconds=conf.OUTBOX_LEASE)
    )
    if count == len(keys):
        return list(window)
    ours = set(
        rows().filter(pk__in=keys, token=token, state=_State.SENDING).values_list("pk", flat=True)
    )
    return [row for row in window if row.pk in ours]


def extend(token: uuid.UUID) -> None:
    """Renew the lease of all that is held by ``token``."""
    rows().filter(token=token).update(lease_until=Now() + timedelta(seconds=conf.OUTBOX_LEASE))


def give_back(token: uuid.UUID) -> None:
    """Let others have what was claimed and not begun."""
    rows().filter(token=token, state=_State.CLAIMED).update(state=_State.WAITING, lease_until=None)


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
        LogEntry.objects.using(database.write_alias())
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
    dead = rows().filter(state=_State.SENDING, lease_until__lt=Now())
    return list(dead.select_related("entry")[:100])


def time_left(row: OutboxMessage) -> timedelta:
    """How long a claimed message may still be tried, as of its claim."""
    return row.expires_at - row.claimed_at


def postpone(row: OutboxMessage, wait: timedelta) -> bool:
    """Put a message back that was tried; False if it isn't ours any more."""
    held = rows().filter(pk=row.pk, token=row.token, state=_State.SENDING)
    # For the project's task system, which goes by this clock.
    row.due_at = timezone.now() + wait
    return bool(
        held.update(
            state=_State.WAITING, tries=F("tries") + 1, due_at=Now() + wait, lease_until=None
        )
    )
