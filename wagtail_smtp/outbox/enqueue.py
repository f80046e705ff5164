"""Put messages into the outbox, in the caller's transaction: a rollback removes them again."""

from datetime import timedelta

from django.core.mail import EmailMessage
from django.db import transaction

from wagtail_smtp.categories import ALERT, ERROR, SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.announcements import announce
from wagtail_smtp.delivery.log import entries, stored_message, writer
from wagtail_smtp.delivery.outgoing import prepare
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.delivery.routing import Classification
from wagtail_smtp.exceptions import StorageFull
from wagtail_smtp.live.db import autonomous, bulk_sql, connections, expressions
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.outbox import outcomes, tasks
from wagtail_smtp.runtime import error_logging, process


def enqueue(
    message: EmailMessage, classification: Classification, resend_of: LogEntry | None = None
) -> LogEntry | None:
    """Put a message into the outbox and return its log entry; None if it has no recipients.

    This uses the caller's connection and transaction. A running event loop has neither, so there
    it uses a separate connection. A message that can't be stored gets a log entry too.

    Raises:
        StorageFull: the stored messages would take too much space.
        ValueError: the message can't be rendered.
        django.db.Error: it can't be stored.
    """
    is_urgent = classification.category in (ERROR, ALERT)
    try:
        entry = _store(message, classification, resend_of)
    except Exception as error:
        # If there is no space, the caller sends urgent email immediately, which writes the entry.
        if not (is_urgent and resend_of is None and isinstance(error, StorageFull)):
            with error_logging.quietly(is_urgent):
                delivery = DeliveryResult.of_failure(message, classification, error)
                announce(delivery, entries.record(delivery, resend_of))
        raise
    if entry is None:
        return None
    if process.runs_event_loop():
        # In a thread: a backend that runs tasks immediately would block the log's writer.
        tasks.run_in_thread()
        return entry
    with error_logging.quietly(is_urgent):
        # Not in the transaction above: its savepoint would enqueue a task for each message.
        tasks.run_after_commit()
    return entry


def _store(
    message: EmailMessage, classification: Classification, resend_of: LogEntry | None
) -> LogEntry | None:
    if not message.recipients():
        return None
    prepared = prepare(message)
    frozen = stored_message.freeze(prepared)
    entry = LogEntry(
        state=State.QUEUED,
        category=classification.category,
        category_source=classification.source,
        **entries.site_columns(classification.site),
        sender=entries.clip(prepared.from_email),
        subject=entries.clip(prepared.subject),
        size=frozen.size,
        message_id=entries.clip(prepared.extra_headers.get("Message-ID", "")),
        resend_of=resend_of,
    )
    recipients = [
        entries.recipient(str(address), RecipientState.WAITING) for address in message.recipients()
    ]
    alias = connections.write_alias()

    def write() -> None:
        with transaction.atomic(using=alias):
            bulk_sql.insert_all(entry, recipients)
            stored_message.keep(entry, frozen.content)
            _add(entry, classification)

    on_event_loop = process.runs_event_loop()
    writer.retry_with_plainer_rows(
        lambda: autonomous.write(write, alias) if on_event_loop else write(), [entry, *recipients]
    )
    return entry


def record_or_retry(delivery: DeliveryResult, resend_of: LogEntry | None = None) -> LogEntry | None:
    """Write the log entry of a message sent immediately; put it into the outbox to retry it.

    With ``conf.RETRY_DEFERRED``, or in one of ``conf.RETRY_CATEGORIES``, a deferred message is
    put into the outbox, and its entry's state is *deferred*. Visitors who fill in a form should
    not see an error because a server failed.

    Args:
        resend_of: the entry whose message is sent again.
    """
    category = delivery.classification.category
    is_retried = conf.RETRY_DEFERRED or category in conf.RETRY_CATEGORIES
    if not is_retried or not outcomes.is_retryable(delivery):
        return entries.record(delivery, resend_of)
    wait = outcomes.wait_for(delivery, 1)

    def retry(entry: LogEntry) -> None:
        """Called in the transaction that writes the entry."""
        stored_message.keep(entry, stored_message.freeze(delivery.message).content)
        _add(entry, delivery.classification, attempts=1, wait=wait)

    entry = entries.record(delivery, resend_of, retry)
    if entry is not None and entry.state == State.DEFERRED:
        tasks.run_later(wait)
    return entry


def _add(
    entry: LogEntry,
    classification: Classification,
    attempts: int = 0,
    wait: timedelta = timedelta(),
) -> None:
    """Create the outbox row, with times from the database's clock, as in claims."""
    is_security = classification.category == SECURITY
    age = conf.SECURITY_MAX_AGE if is_security else conf.OUTBOX_MAX_AGE
    OutboxMessage.objects.create(
        entry=entry,
        priority=0 if is_security else 1,
        category=classification.category,
        category_source=classification.source,
        attempts=attempts,
        due_at=expressions.now(wait.total_seconds()),
        expires_at=expressions.now(age),
        environment=conf.environment(),
    )
