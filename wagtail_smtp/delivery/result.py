"""What became of a message on its way, before it is written down."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage

from wagtail_smtp.config.values import Attempt, Outcome
from wagtail_smtp.delivery.classify import Classification
from wagtail_smtp.delivery.routing import Route
from wagtail_smtp.exceptions import (
    EmailDeliveryError,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    RedirectError,
    SendCancelled,
)
from wagtail_smtp.models.choices import State
from wagtail_smtp.transports.base import OutgoingMessage


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of a message on its way through the line.

    Attributes:
        message: a copy of the caller's, with Message-ID and Date fixed if it got so far.
        original: the caller's.
        outgoing: what the last candidate was handed; None if there was none.
        version: of the configuration in force; 0: none.
        outcome, failure: one of them is None.
        was_handed_over: whether a transport had the message when it failed.
        key: of the entry that is written of it; None: any will do.
    """

    message: EmailMessage
    original: EmailMessage
    classification: Classification
    route: Route
    version: int = 0
    attempts: tuple[Attempt, ...] = ()
    outgoing: OutgoingMessage | None = None
    outcome: Outcome | None = None
    failure: BaseException | None = None
    was_handed_over: bool = False
    key: uuid.UUID | None = None

    @classmethod
    def of_nothing(cls, classification: Classification, failure: Exception) -> "DeliveryResult":
        """That of a message that can't be read any more."""
        return cls.of_failure(EmailMessage(), classification, failure)

    @classmethod
    def of_failure(
        cls, message: EmailMessage, classification: Classification, failure: BaseException
    ) -> "DeliveryResult":
        """That of a message which wasn't sent on its way."""
        way = Route(classification.category, (), "")
        return cls(message, message, classification, way, failure=failure)

    @property
    def state(self) -> State:
        """The state of the message as a whole."""
        if self.outcome is not None:
            return State.PARTLY_SENT if self.outcome.not_sent else State.SENT
        for kind, state in STATES.items():
            if isinstance(self.failure, kind):
                return state
        # Nobody knows what a project's own backend had done before it raised this, or how far a
        # session was that something else interrupted: a task system whose time was over.
        is_open = self.was_handed_over and not isinstance(self.failure, _OURS)
        return State.UNKNOWN if is_open else State.FAILED


#: Errors that say, or are known to say, that nothing left.
_OURS = (EmailDeliveryError, ValueError, ImproperlyConfigured)
#: The states that errors stand for.
STATES: Mapping[type[Exception], State] = {
    MessageOutcomeUnknown: State.UNKNOWN,
    SendCancelled: State.CANCELLED,
    MessageRefused: State.REFUSED,
    MessageTooLarge: State.TOO_LARGE,
    RedirectError: State.BLOCKED,
}
