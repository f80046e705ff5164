"""Sending a stored message again, to its original recipients and through the same line."""

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.classify import Classification
from wagtail_smtp.delivery.log import message_store
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.exceptions import ResendRefused
from wagtail_smtp.models import LogEntry
from wagtail_smtp.outbox.enqueue import accept, recorder

#: What the log says of how a resent message came to its category.
SOURCE = "resent"


def can_resend(entry: LogEntry) -> bool:
    """Whether the message is stored, not security mail, and no longer processed automatically."""
    return entry.is_final and entry.category != SECURITY and hasattr(entry, "stored")


def original(entry: LogEntry) -> LogEntry:
    """What the new entry names as the one it repeats: the first of all, also for a copy of a copy.

    So that one look-up by an index finds the original and all its copies.
    """
    return LogEntry(pk=entry.resend_of_id) if entry.resend_of_id else entry


def resend(entry: LogEntry) -> LogEntry | None:
    """Send the message of ``entry`` again, as a new message with an entry of its own.

    It goes to those it was meant for, whoever got the first one; a redirect that is in force
    holds. Category and, with it, the way are those of now.

    Returns:
        The new entry; None if it could not be written.

    Raises:
        ResendRefused: it may not be sent again.
        MessageUnreadable: it is not stored any more or can't be decrypted.
        EmailDeliveryError: or what the project's own backend raises; it has its entry too.
    """
    if entry.category == SECURITY:
        raise ResendRefused("Security messages are never resent. Request a new one instead.")
    if not entry.is_final:
        raise ResendRefused("The message is still in the outbox.")
    message = message_store.load(entry)
    # A new message: mail programs drop a second one with the same Message-ID.
    message.extra_headers = {
        name: value
        for name, value in message.extra_headers.items()
        if name.lower() not in ("message-id", "date")
    }
    classification = Classification(entry.category, SOURCE)
    if conf.DELIVERY == "queued":
        return accept(message, classification, resend_of=original(entry))
    written: list[LogEntry | None] = []
    write = recorder(resend_of=original(entry))

    def record(delivery: DeliveryResult) -> LogEntry | None:
        written.append(write(delivery))
        return written[0]

    line = DeliveryPipeline(recorder=record)
    try:
        line.deliver(message, classification)
    finally:
        line.close()
    return written[0]
