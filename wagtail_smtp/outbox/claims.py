"""Which worker has which messages: short transactions, a lease, and a token that fences.

A claim is lost when its lease runs out or somebody cancels it; whoever finds another token, or
another state, has lost the row and leaves it alone. A row becomes *sending* in a transaction of
its own before its first octet leaves, and nobody claims it from then on.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from wagtail_smtp.conf import conf
from wagtail_smtp.live import database
from wagtail_smtp.models import OutboxMessage

Row = OutboxMessage
_State = OutboxMessage.State


def rows() -> "QuerySet[OutboxMessage]":
    """The outbox, read where it is written."""
    return Row.objects.using(database.write_alias())


def claim(limit: int) -> tuple[uuid.UUID, list[OutboxMessage]]:
    """Up to ``limit`` messages that are due, security first, and the token they are held by.

    Times are the database's, so that a worker's own clock may be wrong.
    """
    alias = database.write_alias()
    token = uuid.uuid4()
    is_due = Q(state=_State.WAITING, due_at__lte=Now())
    is_abandoned = Q(state=_State.CLAIMED, lease_until__lt=Now())
    free = rows().filter(is_due | is_abandoned).order_by("priority", "due_at", "id")
    with transaction.atomic(using=alias):
        if connections[alias].features.has_select_for_update_skip_locked:
            free = free.select_for_update(skip_locked=True)
        keys = list(free.values_list("pk", flat=True)[:limit])
        # Elsewhere another worker may have been faster: the condition is checked again.
        rows().filter(is_due | is_abandoned, pk__in=keys).update(
            state=_State.CLAIMED,
            token=token,
            lease_until=Now() + timedelta(seconds=conf.OUTBOX_LEASE),
        )
    if not keys:
        return token, []
    mine = rows().filter(token=token, state=_State.CLAIMED).annotate(claimed_at=Now())
    return token, list(
        mine.select_related("entry", "entry__stored").order_by("priority", "due_at", "id")
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
    row.due_at = timezone.now() + wait
    return bool(
        held.update(
            state=_State.WAITING, tries=F("tries") + 1, due_at=Now() + wait, lease_until=None
        )
    )
