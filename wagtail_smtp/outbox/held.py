"""Messages that came with a copied database: held until a person releases or deletes them.

The environment that queued them may have sent them itself. There may be many, so they are changed
in batches, each with a few statements in a short transaction.
"""

import time
from collections.abc import Iterator

from django.db.models import Q, QuerySet
from django.utils import timezone

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import connections, expressions, retry
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.outbox import claims, tasks

_State = OutboxMessage.State
#: Messages changed in one transaction.
_BATCH = 500


def rows() -> "QuerySet[OutboxMessage]":
    """The held messages."""
    foreign = ~Q(environment__in=environments.own_names())
    # Without the states' indexes, which some databases would read as a whole for each batch.
    return claims.rows().exclude(state=_State.SENDING).filter(Q(state=_State.HELD) | foreign)


def can_be_released() -> "QuerySet[OutboxMessage]":
    """The held messages without security messages: their links belong to the other site."""
    return rows().exclude(category=SECURITY)


def is_held(row: OutboxMessage) -> bool:
    """Whether a message is held."""
    is_foreign = row.environment not in environments.own_names()
    return row.state == _State.HELD or (row.state == _State.WAITING and is_foreign)


def may_be_released(row: OutboxMessage) -> bool:
    """Whether a held message isn't a security message."""
    return row.category != SECURITY


def release(entry: LogEntry) -> bool:
    """Let this environment send a held message; False if it isn't held or is a security message."""
    return _release(can_be_released().filter(entry=entry)) > 0


def release_all(seconds: float | None = None) -> int:
    """Release all held messages but security messages, and return how many.

    Args:
        seconds: after this time, the rest stays held.
    """
    return sum(_release(batch) for batch in _batches(can_be_released(), seconds))


def _release(held: "QuerySet[OutboxMessage]") -> int:
    count = retry.repeated(
        lambda: held.update(
            state=_State.WAITING,
            environment=conf.environment(),
            due_at=expressions.now(),
            # They were held for a long time, perhaps longer than the outbox tries a message.
            expires_at=expressions.now(conf.OUTBOX_MAX_AGE),
        )
    )
    if count:
        tasks.run_after_commit()
    return count


def delete(entry: LogEntry) -> bool:
    """Delete a held message; its entry stays in the log as cancelled. False if it isn't held."""
    return _delete(rows().filter(entry=entry)) > 0


def delete_all(seconds: float | None = None) -> int:
    """Delete all held messages, and return how many.

    Args:
        seconds: after this time, the rest stays held.
    """
    return sum(_delete(batch) for batch in _batches(rows(), seconds))


@retry.in_transaction
def _delete(held: "QuerySet[OutboxMessage]") -> int:
    """Delete some held messages, at most a batch."""
    # Lock them: someone else may be releasing them.
    categories = dict(held.select_for_update().values_list("entry_id", "category"))
    alias, now = connections.write_alias(), timezone.now()
    recipients = LogRecipient.objects.using(alias).filter(entry__in=[*categories])
    sent = recipients.filter(state=RecipientState.SENT).values_list("entry", flat=True)
    partly = set(sent.order_by())
    unstored = {entry for entry, category in categories.items() if category == SECURITY}
    for state, entries in (
        (State.PARTLY_SENT, partly),
        (State.CANCELLED, categories.keys() - partly),
    ):
        logged = LogEntry.objects.using(alias).filter(pk__in=entries)
        logged.update(state=state, changed_at=now)
        if not conf.stores(state):
            unstored |= entries
    waiting = recipients.filter(state=RecipientState.WAITING)
    waiting.update(state=RecipientState.NOT_SENT, changed_at=now)
    stored_message.discard(unstored)
    claims.rows().filter(entry__in=[*categories])._raw_delete(alias)
    return len(categories)


def _batches(
    wanted: "QuerySet[OutboxMessage]", seconds: float | None
) -> "Iterator[QuerySet[OutboxMessage]]":
    """Yield held messages in batches, and no more after ``seconds``."""
    began, last = time.monotonic(), 0
    by_key = wanted.order_by("pk")
    while keys := list(by_key.filter(pk__gt=last).values_list("pk", flat=True)[:_BATCH]):
        yield wanted.filter(pk__in=keys)
        last = keys[-1]
        if seconds is not None and time.monotonic() - began > seconds:
            return
