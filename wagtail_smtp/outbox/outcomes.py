"""Write the outcomes of delivery attempts: finish, postpone or give up outbox messages."""

import logging
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.errors import MessageError
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Attempt
from wagtail_smtp.delivery.log import cause, stored_message, tracking_events, writer
from wagtail_smtp.delivery.log import entries as log_entries
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.exceptions import (
    ConfigurationUnavailable,
    DestinationRefused,
    EmailDeliveryError,
    LimitReached,
    MessageDeferred,
    MessageLocked,
    SecretError,
    TransportUnavailable,
)
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import bulk_sql, connections, expressions, retry, sqlite_writer
from wagtail_smtp.live.db.bulk_sql import Statement
from wagtail_smtp.models import (
    LogAttempt,
    LogEntry,
    LogRecipient,
    OutboxMessage,
    StoredMessage,
    StoredPiece,
)
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.outbox import claims, tasks

logger = logging.getLogger(__name__)

#: After these errors, another attempt may succeed and can't deliver the message twice.
_RETRYABLE = (MessageDeferred, ConfigurationUnavailable, SecretError, DestinationRefused)
#: Errors of this process or of the configuration, not of the message.
_OF_PROCESS = (ConfigurationUnavailable, SecretError, MessageLocked, TransportUnavailable)
#: Errors that may be the message's fault.
_OF_MESSAGE = (EmailDeliveryError, ValueError, MessageError)
#: Maximum seconds between two attempts; the second if only this process or the configuration keeps
#: the message from being sent.
_MAX_WAIT = 3600
_MAX_WAIT_FOR_PROCESS = 900
#: Final states of a recipient.
FINAL_STATES = (RecipientState.SENT, RecipientState.REFUSED, RecipientState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Result:
    """An outbox message and the result of its delivery."""

    row: OutboxMessage
    delivery: DeliveryResult

    @property
    def is_simple(self) -> bool:
        """Whether all recipients got it at the first attempt, without redirect or provider IDs."""
        outcome = self.delivery.outcome
        return (
            outcome is not None
            and not outcome.not_sent
            and not self.delivery.suppressed
            and not any(item.provider_id for item in outcome.recipients)
            and self.row.attempts == 0
            and self.delivery.route.redirect is None
        )


def is_retryable(delivery: DeliveryResult) -> bool:
    """Whether a retry may succeed for a recipient and can't deliver twice."""
    if delivery.outcome is not None:
        return any(item.state == "deferred" for item in delivery.outcome.recipients)
    return isinstance(delivery.failure, _RETRYABLE)


def is_of_process(delivery: DeliveryResult) -> bool:
    """Whether this process or the configuration is at fault, so another process may succeed.

    Examples are wrong keys, missing packages and an unavailable database. This includes every error
    raised before sending started, unless it may be the message's fault.
    """
    failure = delivery.failure
    if failure is None or isinstance(failure, _OF_PROCESS):
        return failure is not None
    return not delivery.was_handed_over and not isinstance(failure, _OF_MESSAGE)


def _wait_for_process(row: OutboxMessage, left: timedelta) -> timedelta:
    """The wait until another process may send it: a quarter of the time since it was queued."""
    age = conf.SECURITY_MAX_AGE if row.category == SECURITY else conf.OUTBOX_MAX_AGE
    waited = age - left.total_seconds()
    return _spread(max(min(waited / 4, _MAX_WAIT_FOR_PROCESS), conf.OUTBOX_RETRY_AFTER))


def wait_after(attempts: int) -> timedelta:
    """The wait after this number of attempts; it doubles with each."""
    return _spread(min(conf.OUTBOX_RETRY_AFTER * 2 ** min(attempts - 1, 16), _MAX_WAIT))


def wait_for(delivery: DeliveryResult, attempts: int) -> timedelta:
    """The wait after this number of attempts; at a limit, until there is probably room."""
    if isinstance(delivery.failure, LimitReached):
        return timedelta(seconds=max(delivery.failure.retry_after, 1))
    return wait_after(attempts)


def _spread(seconds: float) -> timedelta:
    """Vary a wait by up to 20%, so that messages aren't all due at the same time."""
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))  # noqa: S311


@retry.patiently
def write_and_claim(token: uuid.UUID, results: Sequence[Result], limit: int) -> None:
    """Write outcomes and claim up to ``limit`` messages with ``token``, all or nothing."""
    alias = connections.write_alias()
    if all(result.is_simple for result in results):
        sqlite_writer.in_transaction(lambda: claims.claim(limit, token, statements(results)), alias)
        return
    with transaction.atomic(using=alias):
        # A write comes first: on SQLite, only then does the transaction wait for others.
        claims.claim(limit, token)
        bulk_sql.run(*statements(results))


def write_one(result: Result) -> None:
    """Write one outcome, unless it is already in the database.

    If the database refuses a value, it is simplified. As a last resort, only the state is written.
    """
    alias = connections.write_alias()

    @retry.patiently
    def write() -> None:
        with transaction.atomic(using=alias):
            claims.extend(result.row.token)
            if not claims.with_outcome([result.row]):
                bulk_sql.run(*statements([result]))

    try:
        writer.retry_with_plainer_texts(write)
    except Exception as error:
        if not writer.is_of_value(error):
            raise
        logger.exception("The outcome of entry %s is logged without details.", result.row.entry_id)
        with transaction.atomic(using=alias):
            entry = result.row.entry
            entry.state = log_entries.entry(result.delivery).state
            values = {"state": entry.state, "changed_at": timezone.now()}
            update = bulk_sql.update(LogEntry, "id", [entry.pk], values)
            bulk_sql.run(update, *_delete([entry], entry.state))


def statements(results: Sequence[Result]) -> list[Statement]:
    """The statements that write outcomes.

    Outcomes that aren't simple need more than statements and are written immediately, so the
    caller needs an open transaction for them.
    """
    simple = []
    for result in results:
        if result.is_simple:
            simple.append(result)
        else:
            _write_outcome(result)
    attempts = list(_attempts(results))
    return [*_simple_outcomes(simple), *([bulk_sql.insert(attempts)] if attempts else [])]


def _attempts(results: Iterable[Result]) -> Iterator[LogAttempt]:
    for result in results:
        delivery = result.delivery
        made = delivery.attempts
        if delivery.outcome is None:
            # While a message waits for a limit, it may be looked at often.
            made = tuple(each for each in made if not _is_unasked(each))
        for attempt in log_entries.attempts(made):
            attempt.entry_id = result.row.entry_id
            yield attempt


def _is_unasked(attempt: Attempt) -> bool:
    """Whether a limit was reached, so that the server wasn't asked."""
    return isinstance(attempt.error, LimitReached) and not attempt.error.is_reported


def _simple_outcomes(results: Sequence[Result]) -> Iterator[Statement]:
    """Update the entries with the same transport, version and sender in one statement."""
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for result in results:
        delivery, entry = result.delivery, result.row.entry
        last = delivery.attempts[-1]
        site = tuple(_new_site(result).items())
        group = (last.via, last.key or None, delivery.version, log_entries.sender(delivery), site)
        groups[group].append(entry.pk)
        # Receivers of signals read these: a column that is not loaded would cost a query each.
        entry.state, entry.via, entry.reason, entry.cause = State.SENT, last.via, "", ""
    now = timezone.now()
    for (via, set_key, version, sender, site), keys in groups.items():
        values: dict[str, object] = {
            **dict(site),
            "state": State.SENT,
            "via": log_entries.clip(via, 100),
            "set_key": set_key,
            "version": version,
            "sender": sender,
            "reason": "",
            "cause": "",
            "changed_at": now,
        }
        yield bulk_sql.update(LogEntry, "id", keys, values)
        recipient_values = {"state": RecipientState.SENT, "changed_at": now}
        yield bulk_sql.update(LogRecipient, "entry_id", keys, recipient_values)
    yield from _delete([result.row.entry for result in results], State.SENT)


def _new_site(result: Result) -> dict[str, object]:
    """The columns of the default site, if only this delivery looked it up; else empty."""
    site, entry = result.delivery.classification.site, result.row.entry
    return log_entries.site_columns(site) if site.key and not entry.site_source else {}


def _write_outcome(result: Result) -> None:
    """Write any outcome of one message, in the open transaction."""
    row, delivery, entry = result.row, result.delivery, result.row.entry
    described = log_entries.entry(delivery)
    names = ["via", "set_key", "version", "redirected_by", "reason"]
    if delivery.outgoing is not None:
        names.append("sender")
    names += _new_site(result)
    for name in names:
        setattr(entry, name, getattr(described, name))
    left = claims.time_left(row)
    will_retry = False
    if is_of_process(delivery) and (left > timedelta() or row.category != SECURITY):
        # This doesn't count as an attempt, and the message isn't given up, however long it takes.
        will_retry = claims.postpone(row, _wait_for_process(row, left), attempts=0)
    elif is_retryable(delivery) and left > timedelta():
        # False if the lease has expired and the message was given up.
        wait = wait_for(delivery, row.attempts + 1)
        # Reaching a limit isn't a failed attempt.
        attempts = int(not isinstance(delivery.failure, LimitReached))
        will_retry = claims.postpone(row, min(wait, left), attempts)
    recipients = _update_recipients(entry, delivery, will_retry)
    entry.state = State.DEFERRED if will_retry else _final_state(State(described.state), recipients)
    entry.cause = cause.find(delivery, described.state if will_retry else entry.state, recipients)
    entry.changed_at = timezone.now()
    # Don't save the other fields: an address may have been erased from them.
    entry.save(
        using=connections.write_alias(), update_fields=[*names, "state", "cause", "changed_at"]
    )
    tracking_events.catch_up(entry, recipients)
    if not will_retry:
        is_kept = log_entries.is_kept(delivery, entry.state)
        bulk_sql.run(*_delete([entry], entry.state, is_kept=is_kept))


def recipients_of(entry: LogEntry) -> "QuerySet[LogRecipient]":
    """The recipients of an entry, on the database they are written to."""
    return LogRecipient.objects.using(connections.write_alias()).filter(entry=entry)


def _update_recipients(
    entry: LogEntry, delivery: DeliveryResult, will_retry: bool
) -> list[LogRecipient]:
    """Update the recipients after an attempt and return those of the envelope."""
    stored = _numbered(recipients_of(entry).filter(role=LogRecipient.Role.ENVELOPE))
    attempted = _numbered(log_entries.recipients(delivery, kept_from=False))
    undecided = RecipientState.WAITING if will_retry else RecipientState.NOT_SENT
    now = timezone.now()
    for key, new in attempted.items():
        item = stored.setdefault(key, new)
        if item is not new and item.state in FINAL_STATES:
            continue
        is_undecided = new.state in (RecipientState.NOT_SENT, RecipientState.DEFERRED)
        item.state = undecided if is_undecided else new.state
        item.code, item.reply, item.changed_at = new.code, new.reply, now
        item.provider_id = new.provider_id
    if delivery.route.redirect is not None:
        for key, item in stored.items():
            if key not in attempted and item.state not in FINAL_STATES:
                item.role, item.state = LogRecipient.Role.TO, RecipientState.REDIRECTED
    elif not will_retry:
        for item in stored.values():
            if item.state == RecipientState.WAITING:
                item.state = RecipientState.NOT_SENT
    LogRecipient.objects.using(connections.write_alias()).bulk_update(
        [item for item in stored.values() if item.pk is not None],
        ["role", "state", "code", "reply", "changed_at", "provider_id"],
        batch_size=200,
    )
    added = [item for item in stored.values() if item.pk is None]
    for item in added:
        item.entry_id = entry.pk
    bulk_sql.insert_rows(added)
    return [item for item in stored.values() if item.role == LogRecipient.Role.ENVELOPE]


def _numbered(items: Iterable[LogRecipient]) -> dict[tuple[str, int], LogRecipient]:
    """Recipients by address and occurrence: ``A@x`` and ``a@x`` are both logged as ``a@x``."""
    found: dict[tuple[str, int], LogRecipient] = {}
    counts: Counter[str] = Counter()
    for item in items:
        found[item.address, counts[item.address]] = item
        counts[item.address] += 1
    return found


def _final_state(state: State, recipients: Iterable[LogRecipient]) -> State:
    """The final state of a message after all attempts."""
    states = {item.state for item in recipients} - {RecipientState.SUPPRESSED}
    if RecipientState.UNKNOWN in states:
        return State.UNKNOWN
    if RecipientState.SENT in states:
        return State.SENT if states == {RecipientState.SENT} else State.PARTLY_SENT
    return state


def _delete(
    entries: Sequence[LogEntry], state: str, *, is_kept: bool = False
) -> Iterator[Statement]:
    """Delete finished messages from the outbox, and their stored content if it isn't kept."""
    if not entries:
        return
    yield bulk_sql.delete(OutboxMessage, "entry_id", [entry.pk for entry in entries])
    is_stored = is_kept or conf.stores(state)
    unstored = [entry.pk for entry in entries if entry.category == SECURITY or not is_stored]
    if unstored:
        yield bulk_sql.delete(StoredMessage, "entry_id", unstored)
        yield bulk_sql.delete(StoredPiece, "entry_id", unstored)


@retry.patiently
@retry.in_transaction
def give_up_lost(row: OutboxMessage) -> bool:
    """Mark a message from :func:`claims.lost` as *unknown*; False if its worker is back."""
    if not claims.is_still_lost(row):
        return False
    claims.rows().filter(pk=row.pk).delete()
    reason = "The process that was sending the message ended."
    _end(row.entry, State.UNKNOWN, RecipientState.UNKNOWN, reason)
    return True


@retry.in_transaction
def try_now(entry: LogEntry) -> bool:
    """Make a waiting message due; False if it isn't waiting any more."""
    waiting = claims.rows().filter(
        entry=entry,
        state=OutboxMessage.State.WAITING,
        environment__in=environments.own_names(),
    )
    is_waiting = bool(waiting.update(due_at=expressions.now()))
    if is_waiting:
        tasks.run_after_commit()
    return is_waiting


@retry.in_transaction
def cancel(entry: LogEntry) -> bool:
    """Remove a message from the outbox; False if it is being sent or is finished."""
    rows = claims.rows().filter(entry=entry).exclude(state=OutboxMessage.State.SENDING)
    if not rows.delete()[0]:
        return False
    was_sent = recipients_of(entry).filter(state=RecipientState.SENT).exists()
    _end(entry, State.PARTLY_SENT if was_sent else State.CANCELLED, RecipientState.NOT_SENT)
    return True


def _end(entry: LogEntry, state: State, waiting: RecipientState, reason: str | None = None) -> None:
    """Give an entry its final state, and its waiting recipients the state ``waiting``."""
    values = {"state": state, "changed_at": timezone.now()}
    if reason is not None:
        values["reason"] = reason
    if state in cause.BY_STATE:
        values["cause"] = cause.BY_STATE[state]
    for name, value in values.items():
        setattr(entry, name, value)
    entry.save(update_fields=[*values])
    recipients = recipients_of(entry).filter(state=RecipientState.WAITING)
    recipients.update(state=waiting, changed_at=entry.changed_at)
    if entry.category == SECURITY or not conf.stores(state):
        stored_message.discard([entry.pk])
