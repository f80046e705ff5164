"""What follows from an attempt at an outbox message: done, given up, or again later."""

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.errors import MessageError

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.log import entries as log_entries
from wagtail_smtp.delivery.log import tracking_events, writer
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.exceptions import (
    ConfigurationUnavailable,
    DestinationRefused,
    EmailDeliveryError,
    MessageDeferred,
    MessageLocked,
    SecretError,
    TransportUnavailable,
)
from wagtail_smtp.live.db import bulk_sql, clock, connections, retry
from wagtail_smtp.live.db.bulk_sql import Statement
from wagtail_smtp.models import LogAttempt, LogEntry, LogRecipient, OutboxMessage, StoredMessage
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.outbox import claims, tasks

logger = logging.getLogger(__name__)

#: Failures after which a later try may succeed and can't deliver twice.
PASSING = (MessageDeferred, ConfigurationUnavailable, SecretError, DestinationRefused)
#: Failures of this process or of the settings, none of the message's.
_OF_PROCESS = (ConfigurationUnavailable, SecretError, MessageLocked, TransportUnavailable)
#: Failures that may be the message's own, where nothing else is known.
_OF_MESSAGE = (EmailDeliveryError, ValueError, MessageError)
#: Seconds that the wait between two tries never exceeds.
_LONGEST = 3600
#: The same while only this process, or the settings, keep the message from being sent.
_LONGEST_OF_PROCESS = 900
#: States of recipients for whom nothing more is to be done.
SETTLED = (RecipientState.SENT, RecipientState.REFUSED, RecipientState.UNKNOWN)


def is_passing(delivery: DeliveryResult) -> bool:
    """Whether a later attempt may succeed for a recipient and can't deliver twice."""
    if delivery.outcome is not None:
        return any(item.state == "deferred" for item in delivery.outcome.recipients)
    return isinstance(delivery.failure, PASSING)


def is_of_process(delivery: DeliveryResult) -> bool:
    """Whether this process or the settings are at fault, so that another process may send it.

    Wrong keys, packages that are missing, a database that is away: the message can't help any of
    them, whatever the exception. So of what is raised before anything was handed over, all that is
    not known to be the message's counts.
    """
    failure = delivery.failure
    if failure is None or isinstance(failure, _OF_PROCESS):
        return failure is not None
    return not delivery.was_handed_over and not isinstance(failure, _OF_MESSAGE)


def _wait_of_process(row: OutboxMessage, left: timedelta) -> timedelta:
    """How long a message waits for a process that can send it: longer, the longer it waits."""
    age = conf.SECURITY_MAX_AGE if row.category == SECURITY else conf.OUTBOX_MAX_AGE
    waited = age - left.total_seconds()
    wait = max(min(waited / 4, _LONGEST_OF_PROCESS), conf.OUTBOX_RETRY_AFTER)
    return timedelta(seconds=wait * random.uniform(0.8, 1.2))  # noqa: S311


def wait_after(tries: int) -> timedelta:
    """How long a message waits that was tried ``tries`` times: ever longer, not all at once."""
    wait = min(conf.OUTBOX_RETRY_AFTER * 2 ** min(tries - 1, 16), _LONGEST)
    return timedelta(seconds=wait * random.uniform(0.8, 1.2))  # noqa: S311


@dataclass(frozen=True, slots=True)
class Result:
    """One message of a window and what became of it."""

    row: OutboxMessage
    delivery: DeliveryResult


def settle(results: Sequence[Result]) -> list[Statement]:
    """What is to be run to write down what became of a window.

    What takes more than statements is written at once: unless all are plain, to be called in the
    transaction in which they are run.
    """
    plain = [result for result in results if is_plain(result)]
    for result in results:
        if not is_plain(result):
            _settle_one(result)
    attempts = list(_attempts(results))
    return [*_sent(plain), *([bulk_sql.insert(attempts)] if attempts else [])]


def _attempts(results: Iterable[Result]) -> Iterator[LogAttempt]:
    for result in results:
        for attempt in log_entries.attempts(result.delivery.attempts):
            attempt.entry_id = result.row.entry_id
            yield attempt


@retry.patiently
def settle_alone(result: Result) -> None:
    """Write down one outcome, if need be without what the database doesn't take of it."""
    alias = connections.write_alias()

    def write() -> None:
        with transaction.atomic(using=alias):
            # A statement that writes comes first: SQLite waits for its turn only then.
            claims.extend(result.row.token)
            bulk_sql.run(*settle([result]))

    try:
        writer.as_plain_as_needed(write)
    except Exception as error:
        if not writer.is_of_value(error):
            raise
        logger.exception("The outcome of entry %s is kept without details.", result.row.entry_id)
        with transaction.atomic(using=alias):
            result.row.entry.state = log_entries.entry(result.delivery).state
            values = {"state": result.row.entry.state, "changed_at": timezone.now()}
            told = bulk_sql.update(LogEntry, "id", [result.row.entry_id], values)
            bulk_sql.run(told, *_forget([result.row.entry], result.row.entry.state))


def is_plain(result: Result) -> bool:
    """Whether everybody got the message at the first try, and no redirect changed who that is.

    And nothing is to be noted of each: a provider gives its messages names.
    """
    outcome = result.delivery.outcome
    return (
        outcome is not None
        and not outcome.not_sent
        and not any(item.provider_id for item in outcome.recipients)
        and result.row.tries == 0
        and result.delivery.route.redirect is None
    )


def _sent(results: Sequence[Result]) -> Iterator[Statement]:
    """All those that left the same way at once."""
    ways: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for result in results:
        delivery, entry = result.delivery, result.row.entry
        last = delivery.attempts[-1]
        way = (last.via, last.key or None, delivery.version, log_entries.sender(delivery))
        ways[way].append(entry.pk)
        entry.state, entry.via = State.SENT, last.via
    now = timezone.now()
    for (via, set_key, version, sender), keys in ways.items():
        values: dict[str, object] = {
            "state": State.SENT,
            "via": log_entries.clip(via, 100),
            "set_key": set_key,
            "version": version,
            "sender": sender,
            "reason": "",
            "changed_at": now,
        }
        yield bulk_sql.update(LogEntry, "id", keys, values)
        got = {"state": RecipientState.SENT, "changed_at": now}
        yield bulk_sql.update(LogRecipient, "entry_id", keys, got)
    yield from _forget([result.row.entry for result in results], State.SENT)


def _settle_one(result: Result) -> None:
    """One message, for which more is to be known than that it was sent."""
    row, delivery, entry = result.row, result.delivery, result.row.entry
    told = log_entries.entry(delivery)
    known = ["via", "set_key", "version", "redirected_by", "reason"]
    if delivery.outgoing is not None:
        known.append("sender")
    for name in known:
        setattr(entry, name, getattr(told, name))
    left = claims.time_left(row)
    if is_of_process(delivery) and (left > timedelta() or row.category != SECURITY):
        # No try of the message: it is not given up for that, however long it takes.
        again = claims.postpone(row, _wait_of_process(row, left), tries=0)
    elif is_passing(delivery) and left > timedelta():
        # False: the lease ran out meanwhile, and the message was given up.
        again = claims.postpone(row, min(wait_after(row.tries + 1), left))
    else:
        again = False
    recipients = _settle_recipients(entry, delivery, again)
    entry.state = State.DEFERRED if again else _whole(told.state, recipients)
    entry.changed_at = timezone.now()
    # Not all: somebody may have been erased from the rest meanwhile.
    entry.save(using=connections.write_alias(), update_fields=[*known, "state", "changed_at"])
    tracking_events.catch_up(entry, recipients)
    if not again:
        is_kept = log_entries.is_kept(delivery, entry.state)
        bulk_sql.run(*_forget([entry], entry.state, is_kept=is_kept))


def recipients_of(entry: LogEntry) -> "QuerySet[LogRecipient]":
    """The recipients of an entry, read where they are written."""
    return LogRecipient.objects.using(connections.write_alias()).filter(entry=entry)


def _settle_recipients(
    entry: LogEntry, delivery: DeliveryResult, again: bool
) -> list[LogRecipient]:
    """Bring the recipients up to date; all of the envelope's."""
    stored = _numbered(recipients_of(entry).filter(role=LogRecipient.Role.ENVELOPE))
    told = _numbered(log_entries.recipients(delivery, kept_from=False))
    waits = RecipientState.WAITING if again else RecipientState.NOT_SENT
    now = timezone.now()
    for which, item in told.items():
        kept = stored.setdefault(which, item)
        if kept is not item and kept.state in SETTLED:
            continue
        undecided = item.state in (RecipientState.NOT_SENT, RecipientState.DEFERRED)
        kept.state = waits if undecided else item.state
        kept.code, kept.reply, kept.changed_at = item.code, item.reply, now
        kept.provider_id = item.provider_id
    if delivery.route.redirect is not None:
        for which, item in stored.items():
            if which not in told and item.state not in SETTLED:
                item.role, item.state = LogRecipient.Role.TO, RecipientState.REDIRECTED
    elif not again:
        for item in stored.values():
            if item.state == RecipientState.WAITING:
                item.state = RecipientState.NOT_SENT
    LogRecipient.objects.using(connections.write_alias()).bulk_update(
        [item for item in stored.values() if item.pk is not None],
        ["role", "state", "code", "reply", "changed_at", "provider_id"],
        batch_size=200,
    )
    new = [item for item in stored.values() if item.pk is None]
    for item in new:
        item.entry_id = entry.pk
    bulk_sql.insert_rows(new)
    return [item for item in stored.values() if item.role == LogRecipient.Role.ENVELOPE]


def _numbered(items: Iterable[LogRecipient]) -> dict[tuple[str, int], LogRecipient]:
    """By address and its occurrence: ``A@x`` and ``a@x`` are two to the server."""
    found: dict[tuple[str, int], LogRecipient] = {}
    counts: Counter[str] = Counter()
    for item in items:
        found[item.address, counts[item.address]] = item
        counts[item.address] += 1
    return found


def _whole(state: State, recipients: Iterable[LogRecipient]) -> State:
    """The state of a message for good, over all its tries."""
    states = {item.state for item in recipients}
    if RecipientState.UNKNOWN in states:
        return State.UNKNOWN
    if RecipientState.SENT in states:
        return State.SENT if states == {RecipientState.SENT} else State.PARTLY_SENT
    return state


def _forget(
    entries: Sequence[LogEntry], state: str, *, is_kept: bool = False
) -> Iterator[Statement]:
    """Take messages that are through out of the outbox, and out of the store where that is due."""
    if not entries:
        return
    yield bulk_sql.delete(OutboxMessage, "entry_id", [entry.pk for entry in entries])
    is_stored = is_kept or conf.stores(state)
    gone = [entry.pk for entry in entries if entry.category == SECURITY or not is_stored]
    if gone:
        yield bulk_sql.delete(StoredMessage, "entry_id", gone)


@retry.in_transaction
def try_now(entry: LogEntry) -> bool:
    """Make a waiting message due; False if it isn't waiting any more."""
    waiting = claims.rows().filter(entry=entry, state=OutboxMessage.State.WAITING)
    is_waiting = bool(waiting.update(due_at=clock.now()))
    if is_waiting:
        tasks.run_after_commit()
    return is_waiting


@retry.in_transaction
def cancel(entry: LogEntry) -> bool:
    """Take a message out of the outbox; False if it is on its way or through already."""
    held = claims.rows().filter(entry=entry).exclude(state=OutboxMessage.State.SENDING)
    if not held.delete()[0]:
        return False
    recipients = entry.recipients.using(connections.write_alias())
    got = recipients.filter(state=RecipientState.SENT).exists()
    entry.state = State.PARTLY_SENT if got else State.CANCELLED
    entry.changed_at = timezone.now()
    entry.save(update_fields=["state", "changed_at"])
    recipients.filter(state=RecipientState.WAITING).update(
        state=RecipientState.NOT_SENT, changed_at=entry.changed_at
    )
    if entry.category == SECURITY or not conf.stores(entry.state):
        StoredMessage.objects.filter(entry=entry).delete()
    return True
