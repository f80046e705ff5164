"""What follows from an attempt at an outbox message: done, given up, or again later."""

import logging
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery import record
from wagtail_smtp.delivery.passage import Passage
from wagtail_smtp.exceptions import (
    ConfigurationUnavailable,
    DestinationRefused,
    MessageDeferred,
    SecretError,
)
from wagtail_smtp.live import database, statements
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage, StoredMessage
from wagtail_smtp.outbox import claims
from wagtail_smtp.states import RecipientState, State

logger = logging.getLogger(__name__)

#: Failures after which a later try may succeed and can't deliver twice.
PASSING = (MessageDeferred, ConfigurationUnavailable, SecretError, DestinationRefused)
#: Seconds that the wait between two tries never exceeds.
_LONGEST = 3600
#: States of recipients for whom nothing more is to be done.
SETTLED = (RecipientState.SENT, RecipientState.REFUSED, RecipientState.UNKNOWN)


def is_passing(passage: Passage) -> bool:
    """Whether a later try may succeed for somebody, and can't deliver twice."""
    if passage.outcome is not None:
        return any(item.state == "deferred" for item in passage.outcome.recipients)
    return isinstance(passage.failure, PASSING)


def wait_after(tries: int) -> timedelta:
    """How long a message waits that was tried ``tries`` times: ever longer, not all at once."""
    wait = min(conf.OUTBOX_RETRY_AFTER * 2 ** min(tries - 1, 16), _LONGEST)
    return timedelta(seconds=wait * random.uniform(0.8, 1.2))  # noqa: S311


@dataclass(frozen=True, slots=True)
class Result:
    """One message of a window and what became of it."""

    row: OutboxMessage
    passage: Passage


def settle(results: Sequence[Result]) -> list[OutboxMessage]:
    """Write down what became of a window; to be called in a transaction.

    Returns:
        Those that will be tried again.
    """
    simple = [result for result in results if _is_simple(result)]
    others = [result for result in results if not _is_simple(result)]
    _settle_sent(simple)
    again = [result.row for result in others if _settle_one(result)]
    rows = []
    for result in results:
        made = list(record.attempts(result.passage.attempts))
        for attempt in made:
            attempt.entry_id = result.row.entry_id
        rows += made
    statements.insert(rows)
    return again


def settle_alone(result: Result) -> None:
    """Write down one outcome, if need be without what the database doesn't take of it."""
    alias = database.write_alias()
    try:
        with transaction.atomic(using=alias):
            settle([result])
    except (DataError, IntegrityError):
        logger.exception("The outcome of entry %s is kept without details.", result.row.entry_id)
        with transaction.atomic(using=alias):
            result.row.entry.state = record.entry(result.passage).state
            values = {"state": result.row.entry.state, "changed_at": timezone.now()}
            statements.update(LogEntry, "id", [result.row.entry_id], values)
            _forget([result.row.entry], result.row.entry.state)


def _is_simple(result: Result) -> bool:
    """Whether everybody got the message at the first try, and no redirect changed who that is."""
    outcome = result.passage.outcome
    return (
        outcome is not None
        and not outcome.not_sent
        and result.row.tries == 0
        and result.passage.route.redirect is None
    )


def _settle_sent(results: Sequence[Result]) -> None:
    """All those that left the same way at once."""
    ways: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for result in results:
        passage, entry = result.passage, result.row.entry
        last = passage.attempts[-1]
        way = (last.via, last.key or None, passage.version, record.sender(passage))
        ways[way].append(entry.pk)
        entry.state, entry.via = State.SENT, last.via
    now = timezone.now()
    for (via, set_key, version, sender), keys in ways.items():
        values: dict[str, object] = {
            "state": State.SENT,
            "via": record.clip(via, 100),
            "set_key": set_key,
            "version": version,
            "sender": sender,
            "reason": "",
            "changed_at": now,
        }
        statements.update(LogEntry, "id", keys, values)
        got = {"state": RecipientState.SENT, "changed_at": now}
        statements.update(LogRecipient, "entry_id", keys, got)
    _forget([result.row.entry for result in results], State.SENT)


def _settle_one(result: Result) -> bool:
    """One message; whether it is tried again."""
    row, passage, entry = result.row, result.passage, result.row.entry
    told = record.entry(passage)
    known = ("via", "set_key", "version", "redirected_by", "reason")
    for name in (*known, "sender") if passage.letter is not None else known:
        setattr(entry, name, getattr(told, name))
    left = claims.time_left(row)
    again = is_passing(passage) and left > timedelta()
    if again:
        # False: the lease ran out meanwhile, and the message was given up.
        again = claims.postpone(row, min(wait_after(row.tries + 1), left))
    recipients = _settle_recipients(entry, passage, again)
    entry.state = State.DEFERRED if again else _whole(told.state, recipients)
    entry.changed_at = timezone.now()
    entry.save()
    if not again:
        _forget([entry], entry.state)
    return again


def _settle_recipients(entry: LogEntry, passage: Passage, again: bool) -> list[LogRecipient]:
    """Bring the recipients up to date; all of the envelope's."""
    stored = {
        item.address: item for item in entry.recipients.filter(role=LogRecipient.Role.ENVELOPE)
    }
    told = {item.address: item for item in record.recipients(passage, kept_from=False)}
    waits = RecipientState.WAITING if again else RecipientState.NOT_SENT
    now = timezone.now()
    for address, item in told.items():
        kept = stored.setdefault(address, item)
        if kept is not item and kept.state in SETTLED:
            continue
        undecided = item.state in (RecipientState.NOT_SENT, RecipientState.DEFERRED)
        kept.state = waits if undecided else item.state
        kept.code, kept.reply, kept.changed_at = item.code, item.reply, now
    if passage.route.redirect is not None:
        for address, item in stored.items():
            if address not in told and item.state not in SETTLED:
                item.role, item.state = LogRecipient.Role.TO, RecipientState.REDIRECTED
    elif not again:
        for item in stored.values():
            if item.state == RecipientState.WAITING:
                item.state = RecipientState.NOT_SENT
    LogRecipient.objects.bulk_update(
        [item for item in stored.values() if item.pk is not None],
        ["role", "state", "code", "reply", "changed_at"],
        batch_size=200,
    )
    record.save_recipients(entry, [item for item in stored.values() if item.pk is None])
    return [item for item in stored.values() if item.role == LogRecipient.Role.ENVELOPE]


def _whole(state: State, recipients: Iterable[LogRecipient]) -> State:
    """The state of a message for good, over all its tries."""
    states = {item.state for item in recipients}
    if RecipientState.UNKNOWN in states:
        return State.UNKNOWN
    if RecipientState.SENT in states:
        return State.SENT if states == {RecipientState.SENT} else State.PARTLY_SENT
    return state


def _forget(entries: Sequence[LogEntry], state: str) -> None:
    """Take messages that are through out of the outbox, and out of the store where that is due."""
    if not entries:
        return
    statements.delete(OutboxMessage, "entry_id", [entry.pk for entry in entries])
    is_stored = conf.stores(state)
    gone = [entry.pk for entry in entries if entry.category == SECURITY or not is_stored]
    if gone:
        statements.delete(StoredMessage, "entry_id", gone)
