"""Into the outbox: in the caller's transaction, so that a rollback takes the message back."""

from datetime import timedelta

from django.core.mail import EmailMessage
from django.db import transaction

from wagtail_smtp.categories import ALERT, ERROR, SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.classify import Classification
from wagtail_smtp.delivery.log import entries, stored_message, writer
from wagtail_smtp.delivery.log import stored_message as log_stored_message
from wagtail_smtp.delivery.notices import announce
from wagtail_smtp.delivery.outgoing import prepare
from wagtail_smtp.delivery.pipeline import Recorder
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.exceptions import StorageFull
from wagtail_smtp.live.db import autonomous, bulk_sql, clock, connections, deferred
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.outbox import outcomes, tasks
from wagtail_smtp.runtime import error_logging


def accept(
    message: EmailMessage, classification: Classification, resend_of: LogEntry | None = None
) -> LogEntry | None:
    """Put a message into the outbox; None if it has no recipients.

    On the caller's connection and in its transaction; on a running event loop, which has
    neither, beside it. Whatever goes wrong goes to the caller: a message that can't be stored
    is not accepted. It has its entry all the same, which says so.

    Raises:
        StorageFull: the stored messages would be too large in all.
        ValueError: the message can't be written down.
        django.db.Error: it can't be stored.
    """
    try:
        entry = _accepted(message, classification, resend_of)
    except Exception as error:
        # Alerts and error mail that find no room are sent at once, and have their entry then.
        is_urgent = classification.category in (ERROR, ALERT)
        if not (is_urgent and resend_of is None and isinstance(error, StorageFull)):
            with error_logging.quietly(is_urgent):
                delivery = DeliveryResult.of_failure(message, classification, error)
                announce(delivery, entries.record(delivery, resend_of))
        raise
    if entry is None:
        return None
    if deferred.runs_event_loop():
        # Not there: a task that runs where it is enqueued would keep the log waiting, and the
        # caller would not know that the message is accepted.
        tasks.run_apart()
        return entry
    with error_logging.quietly(classification.category in (ERROR, ALERT)):
        # Outside: the savepoint would have a task of its own for each message.
        tasks.run_after_commit()
    return entry


def _accepted(
    message: EmailMessage, classification: Classification, resend_of: LogEntry | None
) -> LogEntry | None:
    if not message.recipients():
        return None
    prepared = prepare(message)
    frozen = stored_message.freeze(prepared)
    entry = _entry(prepared, classification, frozen.size, resend_of)
    waiting = RecipientState.WAITING
    recipients = [entries.recipient(str(address), waiting) for address in message.recipients()]
    alias = connections.write_alias()

    def put() -> None:
        with transaction.atomic(using=alias):
            bulk_sql.insert_all(entry, recipients)
            log_stored_message.keep(entry, frozen.content)
            _add(entry, classification)

    is_on_loop = deferred.runs_event_loop()
    writer.as_held(
        lambda: autonomous.write(put, alias) if is_on_loop else put(), [entry, *recipients]
    )
    return entry


def _entry(
    message: EmailMessage, classification: Classification, size: int, resend_of: LogEntry | None
) -> LogEntry:
    return LogEntry(
        state=State.QUEUED,
        category=classification.category,
        category_source=classification.source,
        sender=entries.clip(message.from_email),
        subject=entries.clip(message.subject),
        size=size,
        message_id=entries.clip(message.extra_headers.get("Message-ID", "")),
        resend_of=resend_of,
    )


def recorder(resend_of: LogEntry | None = None) -> Recorder:
    """What writes the entry of a message that is sent at once.

    With ``conf.RETRY_DEFERRED``, or in one of ``conf.RETRY_CATEGORIES``, a deferred message waits
    in the outbox; the entry's state *deferred* says so. Somebody who fills in a form can't help
    it that a server fails.

    Args:
        resend_of: the entry whose message is sent again.
    """

    def write(delivery: DeliveryResult) -> LogEntry | None:
        category = delivery.classification.category
        is_retried = conf.RETRY_DEFERRED or category in conf.RETRY_CATEGORIES
        if not is_retried or not outcomes.is_passing(delivery):
            return entries.record(delivery, resend_of)
        wait = outcomes.wait_after(1)
        entry = entries.record(delivery, resend_of, lambda entry: _retry(entry, delivery, wait))
        if entry is not None and entry.state == State.DEFERRED:
            tasks.run_later(wait)
        return entry

    return write


def _retry(entry: LogEntry, delivery: DeliveryResult, wait: timedelta) -> None:
    """In the transaction that writes the entry."""
    log_stored_message.keep(entry, stored_message.freeze(delivery.message).content)
    _add(entry, delivery.classification, tries=1, wait=wait)


def _add(
    entry: LogEntry,
    classification: Classification,
    tries: int = 0,
    wait: timedelta = timedelta(),
) -> OutboxMessage:
    """The row of a message. Its times are the database's, as are those of claims."""
    is_security = classification.category == SECURITY
    age = conf.SECURITY_MAX_AGE if is_security else conf.OUTBOX_MAX_AGE
    return OutboxMessage.objects.create(
        entry=entry,
        priority=0 if is_security else 1,
        category=classification.category,
        category_source=classification.source,
        tries=tries,
        due_at=clock.now(wait.total_seconds()),
        expires_at=clock.now(age),
    )
