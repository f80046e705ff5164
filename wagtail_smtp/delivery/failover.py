"""What failed attempts mean for the next candidates, for a transport and for the message."""

from dataclasses import replace

from wagtail_smtp.config.values import Outcome
from wagtail_smtp.delivery.result import DeliveryResult, Recipients
from wagtail_smtp.exceptions import (
    AttemptFailed,
    DestinationRefused,
    EmailDeliveryError,
    LimitReached,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageTooLarge,
    MessageUnsupported,
    SecretError,
)
from wagtail_smtp.transports.base import UNREACHABLE, Transport

#: Errors after which nothing was accepted, so the next candidate is tried.
TRY_NEXT = (MessageDeferred, MessageTooLarge, MessageUnsupported, DestinationRefused, SecretError)
#: Errors that decide about the message only if every candidate has them: another one that can't
#: be reached now might accept it later.
_ONLY_IF_ALL = (MessageTooLarge, MessageUnsupported)


def worse(before: EmailDeliveryError | None, error: EmailDeliveryError) -> EmailDeliveryError:
    """Return the error that decides about the message if no candidate accepts it."""
    if before is None:
        return error
    if isinstance(error, _ONLY_IF_ALL):
        return before
    if not isinstance(error, LimitReached) or isinstance(before, _ONLY_IF_ALL):
        return error
    if isinstance(before, LimitReached) and error.retry_after < before.retry_after:
        return error
    return before


def conclude(
    result: DeliveryResult, recipients: Recipients, failure: EmailDeliveryError | None
) -> Outcome:
    """Return the outcome of a message that was not accepted for every recipient.

    Args:
        failure: the error that decides about the message, if there was one.

    Raises:
        EmailDeliveryError: the message was not sent to any recipient, or that is unknown.
    """
    accepted = [attempt.outcome for attempt in result.attempts if attempt.outcome is not None]
    if accepted and not isinstance(failure, MessageOutcomeUnknown):
        return replace(accepted[-1], recipients=recipients.known)
    if failure is None:
        raise MessageDeferred("Every server that could send it is failing.", phase="connect")
    if isinstance(failure, AttemptFailed):
        failure.recipients = recipients.known
    raise failure


def note_failure(transport: Transport, error: AttemptFailed) -> bool:
    """Update the transport's availability; return whether it has recovered."""
    if error.phase in UNREACHABLE:
        transport.availability.failed()
        return False
    if error.phase in ("pool", "limit"):
        return False  # the server was not asked
    return transport.availability.succeeded()
