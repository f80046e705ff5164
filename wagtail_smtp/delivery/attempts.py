"""Try the candidates in order, as long as nothing can be delivered twice."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from wagtail_smtp.categories import ALERT
from wagtail_smtp.config.values import Attempt, Outcome, Recipient, SettingsSetConfig
from wagtail_smtp.delivery.capabilities import is_black_box
from wagtail_smtp.delivery.routing import Route
from wagtail_smtp.exceptions import (
    AttemptFailed,
    DestinationRefused,
    EmailDeliveryError,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    MessageUnsupported,
    SecretError,
)
from wagtail_smtp.transports.availability import UNREACHABLE
from wagtail_smtp.transports.base import Envelope, Transport
from wagtail_smtp.transports.standard import NAME as STANDARD

logger = logging.getLogger(__name__)

Candidate = SettingsSetConfig | None

#: Errors after which nothing was accepted, so the next candidate is tried.
_GO_ON = (MessageDeferred, MessageTooLarge, MessageUnsupported, DestinationRefused, SecretError)
#: Errors that decide about the message only if every candidate has them: an unreachable one
#: might accept it later.
_OF_EACH = (MessageTooLarge, MessageUnsupported)


class Attempts:
    """The attempts for one message, and the outcome for each recipient.

    Args:
        way: the candidates, in order.
        transport: the transport of a candidate; may raise SecretError.
        send: sends the message with a candidate's transport to those recipients of its
            envelope that :meth:`remaining` returns.
        settled: addresses, in lower case, to leave out.
    """

    def __init__(
        self,
        way: Route,
        transport: Callable[[Candidate], Transport],
        send: Callable[[Candidate, Transport, "Attempts"], Outcome],
        settled: Collection[str] = (),
    ) -> None:
        self._way = way
        self._transport = transport
        self._send = send
        self._states: dict[str, Recipient] = {}
        #: Addresses that need no further attempt now.
        self._settled: set[str] = set()
        self._left_out = frozenset(settled)
        self.made: list[Attempt] = []

    def run(self) -> Outcome:
        """Try until each recipient is settled or no candidate is left.

        Raises:
            EmailDeliveryError: the message was not sent to any recipient, or that is unknown.
        """
        failure: EmailDeliveryError | None = None
        for candidate in self._in_order():
            if is_black_box(candidate) and (self._settled or self._left_out):
                failure = failure or MessageDeferred(
                    f"{candidate.name if candidate else STANDARD} can't be told to leave out those "
                    "who have it already.",
                    phase="standard",
                )
                continue
            try:
                outcome = self._attempt(candidate)
            except _GO_ON as error:
                if failure is None or not isinstance(error, _OF_EACH):
                    failure = error
                logger.warning("Message of category %s: %s", self._way.category, error)
                continue
            except (MessageRefused, MessageOutcomeUnknown) as error:
                failure = error
                break
            except Exception:
                if not any(attempt.outcome for attempt in self.made):
                    raise
                # Those who have the message already must not be forgotten: a resend of a message
                # that "failed" would reach them twice.
                logger.exception("The next settings set could not be tried")
                break
            if self._settled >= {item.address for item in outcome.recipients}:
                return self._whole(outcome)
        return self._conclude(failure)

    def remaining(self, envelope: Envelope) -> Envelope:
        """Return the envelope without recipients that need no further attempt."""
        still = tuple(
            address
            for address in envelope.recipients
            if address not in self._settled and address.lower() not in self._left_out
        )
        return replace(envelope, recipients=still)

    def _in_order(self) -> Iterator[Candidate]:
        """First those that could be reached lately; the others only if nothing else is left."""
        postponed = []
        for candidate in self._way.candidates:
            if self._is_worth_trying(candidate):
                yield candidate
            else:
                postponed.append(candidate)
        # An alert about a dead server must not wait for that server.
        if self._way.category != ALERT:
            yield from postponed

    def _is_worth_trying(self, candidate: Candidate) -> bool:
        try:
            return self._transport(candidate).availability.is_worth_trying()
        except SecretError:
            return True  # the attempt says what is wrong

    def _attempt(self, candidate: Candidate) -> Outcome:
        via, key = (candidate.name, candidate.key) if candidate else (STANDARD, "")
        began = time.monotonic()
        recovered = False
        try:
            transport = self._transport(candidate)
            outcome = self._send(candidate, transport, self)
            recovered = transport.availability.succeeded()
        except Exception as error:
            if isinstance(error, AttemptFailed):
                recovered = _note(transport, error)
                # The server took nothing; whom it only deferred another may serve.
                self._settle(error.recipients, but_not="deferred")
            self.made.append(
                Attempt(via, time.monotonic() - began, key, error=error, recovered=recovered)
            )
            raise
        # Whom it deferred among others it means; the rest it never got to.
        self._settle(outcome.recipients, but_not="deferred")
        self._settled.update(r.address for r in outcome.recipients if r.phase == "rcpt")
        self.made.append(Attempt(via, time.monotonic() - began, key, outcome, recovered=recovered))
        return outcome

    def _settle(self, recipients: Sequence[Recipient], but_not: str) -> None:
        self._states.update((item.address, item) for item in recipients)
        self._settled.update(item.address for item in recipients if item.state != but_not)

    def _whole(self, last: Outcome) -> Outcome:
        return replace(last, recipients=tuple(self._states.values()))

    def _conclude(self, failure: EmailDeliveryError | None) -> Outcome:
        """What to tell the caller if some recipients stay unsettled."""
        took = [attempt.outcome for attempt in self.made if attempt.outcome is not None]
        if took and not isinstance(failure, MessageOutcomeUnknown):
            return self._whole(took[-1])
        assert failure is not None
        if isinstance(failure, AttemptFailed):
            failure.recipients = tuple(self._states.values())
        raise failure


def _note(transport: Transport, error: AttemptFailed) -> bool:
    """Remember whether the server could be reached; whether it can again."""
    if error.phase in UNREACHABLE:
        transport.availability.failed()
        return False
    return error.phase != "pool" and transport.availability.succeeded()
