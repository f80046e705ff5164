"""The delivery pipeline: classify, route, shape, send, log."""

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from django.core.mail import EmailMessage

from wagtail_smtp.categories import ALERT, ERROR, OTHER
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Attempt, Outcome, Recipient, SettingsSetConfig
from wagtail_smtp.delivery import routing
from wagtail_smtp.delivery.classify import Classification, classify
from wagtail_smtp.delivery.log import entries
from wagtail_smtp.delivery.log.stored_message import FrozenMessage
from wagtail_smtp.delivery.notices import announce
from wagtail_smtp.delivery.outgoing import handed_back, prepare, shape
from wagtail_smtp.delivery.redirect import require_held
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.delivery.routing import Route, is_black_box, route
from wagtail_smtp.exceptions import (
    AttemptFailed,
    ConfigurationUnavailable,
    DestinationRefused,
    EmailDeliveryError,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    MessageUnsupported,
    SecretError,
    SendCancelled,
)
from wagtail_smtp.live import LiveConfiguration, current
from wagtail_smtp.live.db import deferred
from wagtail_smtp.live.lookup import NO_VERSION
from wagtail_smtp.models import LogEntry
from wagtail_smtp.runtime import error_logging, project
from wagtail_smtp.transports.base import UNREACHABLE, Envelope, OutgoingMessage, Transport
from wagtail_smtp.transports.standard import NAME as STANDARD
from wagtail_smtp.transports.standard import StandardTransport

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


#: Seconds after which a batch checks again which version is live.
RECHECK_AFTER = 1.0

Recorder = Callable[[DeliveryResult], LogEntry | None]


class DeliveryPipeline:
    """Delivers one batch of messages.

    Used by one thread at a time. ``category`` is the mailer's; ``overrides`` are arguments
    a caller gave for the project's own backend; ``recorder`` writes the log entry.
    """

    def __init__(
        self,
        category: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        recorder: Recorder = entries.record,
    ) -> None:
        self._category = category
        self._recorder = recorder
        self._standard = StandardTransport(overrides or {})
        self._live: LiveConfiguration | None = None
        self._asked_at = 0.0

    def begin(self) -> None:
        """Make the next message check which version is live."""
        self._asked_at = 0.0

    def classify(self, message: EmailMessage) -> Classification:
        """Return the message's category. Call it on the sending code's stack.

        Raises:
            ValueError: the message names an invalid category.
        """
        try:
            return classify(message, self._category)
        except Exception as error:
            self._fail(message, Classification(OTHER, "default"), error)
            raise

    def deliver(self, message: EmailMessage, classification: Classification | None = None) -> bool:
        """Send one message now; False if it has no recipients, or the project cancelled it.

        Args:
            classification: if already known.

        Raises:
            EmailDeliveryError: or what the project's own backend raised.
            ValueError: the message can't be rendered.
        """
        classification = classification or self.classify(message)
        try:
            if not message.recipients():
                return False
        except Exception as error:
            self._fail(message, classification, error)
            raise
        with error_logging.quietly(classification.category in (ERROR, ALERT)):
            # Even a SystemExit in the middle of a delivery gets its log entry.
            delivery = self.try_deliver(message, classification, catching=BaseException)
            entry = self._recorder(delivery)
            announce(delivery, entry)
        if delivery.failure is None or entries.is_taken_care_of(entry):
            return True
        if isinstance(delivery.failure, SendCancelled):
            return False
        # Callers expect the errors of the project's own backend.
        raise getattr(delivery.failure, "original", None) or delivery.failure

    def try_deliver(
        self,
        message: EmailMessage,
        classification: Classification,
        settled: Collection[str] = (),
        key: uuid.UUID | None = None,
        catching: type[BaseException] = Exception,
    ) -> DeliveryResult:
        """Try to deliver a message; record nothing and raise nothing.

        Args:
            settled: envelope recipients, in lower case, to leave out.
            key: of its log entry, if there is one.
            catching: the errors that become the result's failure.
        """
        category = classification.category
        way = Route(category, (), "")
        tried = _Tried(message, key or uuid.uuid4())
        outcome: Outcome | None = None
        failure: BaseException | None = None
        try:
            tried.live = live = self._current(category)
            way = route(live.configuration, category)
            tried.prepared = prepare(message)
            tried.attempts = self._attempts(live, way, tried, settled)
            outcome = tried.attempts.run()
        except catching as error:
            failure = error
        return DeliveryResult(
            message=tried.prepared,
            original=message,
            classification=classification,
            route=way,
            version=tried.live.number if tried.live else 0,
            attempts=tuple(tried.attempts.made) if tried.attempts else (),
            outgoing=tried.outgoing,
            outcome=outcome,
            failure=failure,
            was_handed_over=tried.was_handed_over,
            key=tried.key,
        )

    def _fail(
        self, message: EmailMessage, classification: Classification, error: Exception
    ) -> None:
        """Record a message that failed before delivery began."""
        with error_logging.quietly(classification.category in (ERROR, ALERT)):
            delivery = DeliveryResult.of_failure(message, classification, error)
            announce(delivery, self._recorder(delivery))

    def close(self) -> None:
        """Close the connection of the project's own backend; sessions to sets are pooled."""
        self._standard.close()

    def _current(self, category: str) -> LiveConfiguration:
        now = time.monotonic()
        if self._live is None or now - self._asked_at >= RECHECK_AFTER:
            try:
                self._live, self._asked_at = current(), now
            except ConfigurationUnavailable as error:
                # Nothing was ever loaded. Error mail may be the only notice of the outage.
                if category == ERROR and error.no_database:
                    return NO_VERSION
                raise
        return self._live

    def _attempts(
        self, live: LiveConfiguration, way: Route, tried: "_Tried", settled: Collection[str]
    ) -> Attempts:
        reply_timeout = (
            conf.FINAL_REPLY_TIMEOUT
            if deferred.is_awaited()
            else conf.FINAL_REPLY_TIMEOUT_IN_WORKERS
        )

        def transport(item: Candidate) -> Transport:
            # Errors are logged for the site's administrators, so they use the site's language.
            with project.of_site():
                return self._standard if item is None else live.transport(item)

        def send(item: Candidate, by: Transport, attempts: Attempts) -> Outcome:
            shaped, envelope = shape(tried.prepared, item, way.redirect, by.username)
            with project.of_site():
                routing.require(tried.prepared, item, way)
            hold = partial(require_held, redirect=way.redirect) if way.redirect else None
            remaining = attempts.remaining(envelope)
            tried.outgoing = outgoing = OutgoingMessage(shaped, remaining, hold, str(tried.key))
            if not outgoing.envelope.recipients:
                return Outcome(by.name)  # every recipient has it already
            routing.check(outgoing, item)
            if is_black_box(item) and isinstance(shaped, FrozenMessage):
                shaped.unpack()
            by.prepare(outgoing)
            tried.was_handed_over = True
            with handed_back(tried.message, shaped) if is_black_box(item) else nullcontext():
                return by.send(outgoing, reply_timeout)

        return Attempts(way, transport, send, settled)


class _Tried:
    """The progress of one message."""

    def __init__(self, message: EmailMessage, key: uuid.UUID) -> None:
        self.key = key
        self.message = self.prepared = message
        self.live: LiveConfiguration | None = None
        self.attempts: Attempts | None = None
        self.outgoing: OutgoingMessage | None = None
        self.was_handed_over = False
