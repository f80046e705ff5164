"""The result of a delivery and the state of its recipients, before they are logged."""

import itertools
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage

from wagtail_smtp.config.values import Attempt, Outcome, Recipient, SettingsSetConfig
from wagtail_smtp.delivery.routing import Classification, Route
from wagtail_smtp.exceptions import (
    EmailDeliveryError,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    RecipientsSuppressed,
    RedirectError,
    SendCancelled,
)
from wagtail_smtp.models.choices import State
from wagtail_smtp.transports.base import Envelope, OutgoingMessage


@dataclass(slots=True)
class DeliveryResult:
    """The result of delivering one message, filled in while it is delivered.

    Attributes:
        message: a copy of the caller's message, with Message-ID and Date once it is prepared.
        original: the caller's message.
        outgoing: the message given to the last candidate, if any.
        version: number of the live version; 0: none.
        outcome, failure: exactly one of them is None in the end.
        was_handed_over: whether a transport had the message when it failed.
        key: of the log entry; None: a new one.
        suppressed: recipients on the suppression list, normalised, with the reason as text.
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
    suppressed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def without_message(
        cls, classification: Classification, failure: Exception
    ) -> "DeliveryResult":
        """Return the result for a queued message that failed before delivery, without its text."""
        return cls.of_failure(EmailMessage(), classification, failure)

    @classmethod
    def of_failure(
        cls, message: EmailMessage, classification: Classification, failure: BaseException
    ) -> "DeliveryResult":
        """Return the result for a message that failed before delivery began."""
        route = Route(classification.category, (), "")
        return cls(message, message, classification, route, failure=failure)

    @property
    def state(self) -> State:
        """The state of the message as a whole."""
        if self.outcome is not None:
            return State.PARTLY_SENT if self.outcome.not_sent else State.SENT
        for kind, state in STATES.items():
            if isinstance(self.failure, kind):
                return state
        # A project's own backend may have sent the message before it raised this error. So may a
        # session that was interrupted, for example by a task timeout.
        is_unknown = self.was_handed_over and not isinstance(self.failure, _NOTHING_SENT)
        return State.UNKNOWN if is_unknown else State.FAILED

    def needs(self, candidate: SettingsSetConfig) -> bool:
        """Whether a candidate may be tried: for overflow, only once all above it are full."""
        if not self.route.is_overflow(candidate):
            return True
        above = itertools.takewhile(lambda item: item is not candidate, self.route.candidates)
        full = {each.key for each in self.attempts if getattr(each.error, "phase", "") == "limit"}
        return full.issuperset(item.key for item in above)


#: Errors that prove that nothing was sent.
_NOTHING_SENT = (EmailDeliveryError, ValueError, ImproperlyConfigured)
#: The state for each kind of error.
STATES: Mapping[type[Exception], State] = {
    MessageOutcomeUnknown: State.UNKNOWN,
    SendCancelled: State.CANCELLED,
    MessageRefused: State.REFUSED,
    MessageTooLarge: State.TOO_LARGE,
    RedirectError: State.BLOCKED,
    RecipientsSuppressed: State.SUPPRESSED,
}


class Recipients:
    """The state of each recipient after the attempts made so far.

    Args:
        leave_out: addresses, in lower case, that need no attempt.
    """

    def __init__(self, leave_out: Collection[str]) -> None:
        self._states: dict[str, Recipient] = {}
        self._left_out = frozenset(leave_out)
        #: Addresses that need no further attempt now.
        self.settled: set[str] = set()

    @property
    def known(self) -> tuple[Recipient, ...]:
        """The newest state of each recipient."""
        return tuple(self._states.values())

    @property
    def is_any_settled(self) -> bool:
        return bool(self.settled or self._left_out)

    def update(self, recipients: Sequence[Recipient]) -> None:
        """Add the states after an attempt; another candidate can try deferred recipients."""
        self._states.update((item.address, item) for item in recipients)
        self.settled.update(item.address for item in recipients if item.state != "deferred")

    def are_settled(self, outcome: Outcome) -> bool:
        """Whether no recipient of the last attempt needs another."""
        return self.settled.issuperset(item.address for item in outcome.recipients)

    def remaining(self, envelope: Envelope) -> Envelope:
        """Return the envelope without recipients that need no further attempt."""
        remaining = tuple(
            address
            for address in envelope.recipients
            if address not in self.settled and address.lower() not in self._left_out
        )
        return replace(envelope, recipients=remaining)
