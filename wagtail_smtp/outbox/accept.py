"""Into the outbox: in the caller's transaction, so that a rollback takes the message back."""

from datetime import timedelta

from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery import freeze, record, store
from wagtail_smtp.delivery.classify import Classification
from wagtail_smtp.delivery.shape import prepare
from wagtail_smtp.live import database
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.outbox import settle, tasks
from wagtail_smtp.states import RecipientState, State


def accept(
    message: EmailMessage, classification: Classification, resend_of: LogEntry | None = None
) -> LogEntry | None:
    """Put a message into the outbox; None if it has no recipients.

    On the caller's connection and in its transaction. Whatever goes wrong goes to the
    caller: a message that can't be stored is not accepted.

    Raises:
        StorageFull: the stored messages would be too large in all.
        ValueError: the message can't be written down.
        django.db.Error: it can't be stored.
    """
    if not message.recipients():
        return None
    prepared = prepare(message)
    frozen = freeze.freeze(prepared)
    entry = LogEntry(
        state=State.QUEUED,
        category=classification.category,
        category_source=classification.source,
        sender=record.clip(prepared.from_email),
        subject=record.clip(prepared.subject),
        size=frozen.size,
        message_id=record.clip(prepared.extra_headers.get("Message-ID", "")),
        resend_of=resend_of,
    )
    with transaction.atomic(using=database.write_alias()):
        entry.save(force_insert=True)
        waiting = RecipientState.WAITING
        record.save_recipients(
            entry, [record.recipient(address, waiting) for address in message.recipients()]
        )
        store.keep(entry, frozen.content)
        _add(entry, classification)
        tasks.run_after_commit()
    return entry


def record_or_retry(passage: record.Passage) -> LogEntry | None:
    """Write the entry of a message that was sent at once; a deferred one waits in the outbox.

    Returns:
        The entry; its state *deferred* says that the outbox has the message.
    """
    if not conf.RETRY_DEFERRED or not settle.is_passing(passage):
        return record.record(passage)
    return record.record(passage, retry=lambda entry: _retry_later(entry, passage))


def _retry_later(entry: LogEntry, passage: record.Passage) -> None:
    """In the transaction that writes the entry."""
    store.keep(entry, freeze.freeze(passage.message).content)
    row = _add(entry, passage.classification)
    row.tries, row.due_at = 1, settle.next_try(1)
    row.save(update_fields=["tries", "due_at"])


def _add(entry: LogEntry, classification: Classification) -> OutboxMessage:
    is_security = classification.category == SECURITY
    age = conf.SECURITY_MAX_AGE if is_security else conf.OUTBOX_MAX_AGE
    return OutboxMessage.objects.create(
        entry=entry,
        priority=0 if is_security else 1,
        category=classification.category,
        category_source=classification.source,
        expires_at=timezone.now() + timedelta(seconds=age),
    )
