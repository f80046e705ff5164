"""The delivery pipeline: classify, route, send, log."""

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from django.core.mail import EmailMessage

from wagtail_smtp.categories import ALERT, ERROR, OTHER
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Attempt, Outcome, SettingsSetConfig
from wagtail_smtp.delivery import limits
from wagtail_smtp.delivery.announcements import announce
from wagtail_smtp.delivery.failover import TRY_NEXT, conclude, note_failure, worse
from wagtail_smtp.delivery.log import entries
from wagtail_smtp.delivery.log.stored_message import FrozenMessage
from wagtail_smtp.delivery.outgoing import (
    build_outgoing,
    check_size,
    check_supported,
    copy_new_attributes,
    prepare,
)
from wagtail_smtp.delivery.result import DeliveryResult, Recipients
from wagtail_smtp.delivery.routing import STANDARD_DELIVERY, Classification, Route, classify, route
from wagtail_smtp.delivery.site import MessageSite, default_site
from wagtail_smtp.delivery.suppressed import require_others, suppressed_recipients
from wagtail_smtp.exceptions import (
    AttemptFailed,
    ConfigurationUnavailable,
    EmailDeliveryError,
    LimitReached,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    RecipientsSuppressed,
    SecretError,
    SendCancelled,
)
from wagtail_smtp.live import LiveConfiguration
from wagtail_smtp.live.lookup import NO_VERSION, look_up
from wagtail_smtp.live.resolve import transport_class
from wagtail_smtp.models import LogEntry
from wagtail_smtp.runtime import error_logging, process, project, tracing
from wagtail_smtp.transports.base import OutgoingMessage, Transport
from wagtail_smtp.transports.standard import StandardTransport

logger = logging.getLogger(__name__)

#: Seconds after which a batch checks again which version is live.
RECHECK_AFTER = 1.0

Recorder = Callable[[DeliveryResult], LogEntry | None]


class DeliveryPipeline:
    """Delivers messages one after the other. Used by one thread at a time.

    Args:
        category: the mailer's, if it has one.
        overrides: arguments that a caller gave for the project's own backend.
        recorder: writes the log entry.
        is_worker: whether messages come from the outbox, so that they can wait.
    """

    def __init__(
        self,
        category: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        recorder: Recorder = entries.record,
        is_worker: bool = False,
    ) -> None:
        self._category = category
        self._overrides = overrides
        self._recorder = recorder
        self._is_worker = is_worker
        self._standard: StandardTransport | None = None
        self._live: LiveConfiguration | None = None
        self._has_suppressed = False
        #: Looked up when it is first needed, and again with the configuration.
        self._default_site: MessageSite | None = None
        self._checked_at = 0.0

    def begin(self) -> None:
        """Make the next message check which version is live."""
        self._checked_at = 0.0

    def close(self) -> None:
        """Close the connection of the project's own backend; sessions of sets are pooled."""
        if self._standard is not None:
            self._standard.close()

    def classify(self, message: EmailMessage) -> Classification:
        """Return the message's category and site. Call it on the sending code's stack.

        Raises:
            ValueError: the message names an invalid category or site.
        """
        try:
            return classify(message, self._category)
        except Exception as error:
            self._fail(message, Classification(OTHER, "default"), error)
            raise

    def deliver(self, message: EmailMessage, classification: Classification | None = None) -> bool:
        """Send one message now and log it.

        Args:
            classification: if already known.

        Returns:
            False if it has no recipients, or the project cancelled it.

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
        with _quietly(classification):
            # Even a SystemExit in the middle of a delivery gets its log entry.
            result = self.try_deliver(message, classification, catching=BaseException)
            entry = self._recorder(result)
            announce(result, entry)
        if result.failure is None or entries.is_handled(entry):
            return True
        if isinstance(result.failure, RecipientsSuppressed):
            return True  # as with email providers
        if isinstance(result.failure, SendCancelled):
            return False
        # Callers expect the errors of the project's own backend.
        raise getattr(result.failure, "original", None) or result.failure

    def try_deliver(
        self,
        message: EmailMessage,
        classification: Classification,
        leave_out: Collection[str] = (),
        key: uuid.UUID | None = None,
        catching: type[BaseException] = Exception,
    ) -> DeliveryResult:
        """Try to deliver a message; record nothing and raise nothing.

        Args:
            leave_out: envelope recipients, in lower case, that don't get it.
            key: of its log entry, if there is one.
            catching: the errors that become the result's failure.
        """
        category = classification.category
        result = DeliveryResult(
            message, message, classification, Route(category, (), ""), key=key or uuid.uuid4()
        )
        with tracing.delivery(category) as span:
            try:
                live = self._current(category)
                result.version = live.number
                result.classification = self._with_site(classification, live)
                site = result.classification.site.key
                result.route = route(live.configuration, category, live.held_from, site)
                result.message = prepare(message)
                if self._has_suppressed:
                    result.suppressed = suppressed_recipients(message, result.route)
                if result.suppressed:
                    require_others(message, result.suppressed, leave_out)
                result.outcome = self._send(result, live, Recipients(leave_out))
            except catching as error:
                result.failure = error
            if span is not None:
                via = result.attempts[-1].via if result.attempts else ""
                tracing.describe(span, result.state, via, result.failure)
        return result

    def _fail(
        self, message: EmailMessage, classification: Classification, error: Exception
    ) -> None:
        """Record a message that failed before delivery began."""
        with _quietly(classification):
            result = DeliveryResult.of_failure(message, classification, error)
            announce(result, self._recorder(result))

    def _current(self, category: str) -> LiveConfiguration:
        now = time.monotonic()
        if self._live is None or now - self._checked_at >= RECHECK_AFTER:
            try:
                found = look_up()
                self._live, self._checked_at = found.live, now
                self._has_suppressed = found.has_suppressed
                self._default_site = None
            except ConfigurationUnavailable as error:
                # Nothing was ever loaded. Error mail may be the only notice of the outage.
                if category == ERROR and error.no_database:
                    return NO_VERSION  # errors are sent to suppressed addresses too
                raise
        return self._live

    def _with_site(self, classification: Classification, live: LiveConfiguration) -> Classification:
        """The classification, with the default site if nothing names one and a set uses sites.

        Raises:
            ConfigurationUnavailable: the default site can't be looked up now.
            EmailDeliveryError: another site couldn't be looked up. Its email may be redirected.
        """
        if not live.configuration.uses_sites:
            return classification
        site = classification.site
        if not site.source:
            if self._default_site is None:
                self._default_site = default_site()
            site = self._default_site
        if site.is_lost and classification.category not in (ERROR, ALERT):
            kind = ConfigurationUnavailable if site.source == "default" else EmailDeliveryError
            raise kind(
                "The site of the message can't be looked up, and settings sets are limited to "
                "sites or have senders for them. Nothing was sent."
            )
        return replace(classification, site=site)

    def _send(
        self, result: DeliveryResult, live: LiveConfiguration, recipients: Recipients
    ) -> Outcome:
        """Try one candidate after the other until every recipient is settled.

        Raises:
            EmailDeliveryError: the message was not sent to any recipient, or that is unknown.
        """
        failure: EmailDeliveryError | None = None
        for candidate in self._in_order(result, live):
            if recipients.is_any_settled and transport_class(candidate).is_black_box:
                failure = failure or MessageDeferred(
                    f"{candidate.name} can't leave out recipients who already have the message.",
                    phase="standard",
                )
                continue
            try:
                outcome = self._attempt(candidate, result, live, recipients)
            except TRY_NEXT as error:
                failure = worse(failure, error)
                logger.warning("Message of category %s: %s", result.route.category, error)
                if self._waits_for(error):
                    break
            except (MessageRefused, MessageOutcomeUnknown) as error:
                failure = error
                break
            except Exception:
                if not any(attempt.outcome for attempt in result.attempts):
                    raise
                # Keep the state of those who have the message: if it "failed", a resend would
                # reach them twice.
                logger.exception("The next settings set could not be tried")
                break
            else:
                if recipients.are_settled(outcome):
                    return replace(outcome, recipients=recipients.known)
        return conclude(result, recipients, failure)

    def _waits_for(self, error: EmailDeliveryError) -> bool:
        """Whether the message waits for the set's rate instead of using another set."""
        return self._is_worker and isinstance(error, LimitReached) and error.period == "second"

    def _in_order(
        self, result: DeliveryResult, live: LiveConfiguration
    ) -> Iterator[SettingsSetConfig]:
        """The candidates: those that failed lately only after all others."""
        postponed = []
        avoided = getattr(result.original, "not_through", ())  # of an alert
        for candidate in result.route.candidates:
            if candidate.key and candidate.key in avoided:
                continue
            if result.needs(candidate) and self._is_worth_trying(candidate, live):
                yield candidate
            else:
                postponed.append(candidate)
        for candidate in postponed:
            # An alert about an unreachable server must not wait for that server.
            is_allowed = result.route.category != ALERT or self._is_worth_trying(candidate, live)
            if is_allowed and result.needs(candidate):
                yield candidate

    def _is_worth_trying(self, candidate: SettingsSetConfig, live: LiveConfiguration) -> bool:
        try:
            return self._transport(candidate, live).availability.is_worth_trying()
        except Exception:
            return True  # the attempt fails and reports the reason

    def _transport(self, candidate: SettingsSetConfig, live: LiveConfiguration) -> Transport:
        """The transport of a candidate.

        Raises:
            SecretError: in the site's language, because its administrators read it in the log.
        """
        if candidate is STANDARD_DELIVERY:
            if self._standard is None:
                self._standard = StandardTransport(self._overrides)
            return self._standard
        try:
            return live.transport(candidate)
        except SecretError:
            with project.in_site_language():
                return live.transport(candidate)

    def _attempt(
        self,
        candidate: SettingsSetConfig,
        result: DeliveryResult,
        live: LiveConfiguration,
        recipients: Recipients,
    ) -> Outcome:
        """Try one candidate, and add the attempt to the result."""
        began = time.monotonic()
        transport: Transport | None = None
        outcome: Outcome | None = None
        failure: Exception | None = None
        recovered = False
        try:
            transport = self._transport(candidate, live)
            outcome = self._send_with(transport, candidate, result, recipients)
            if outcome.not_sent:
                outcome = limits.learn_from_outcome(candidate, transport, outcome, result.version)
            recovered = transport.availability.succeeded()
            recipients.update(outcome.recipients)
            # Recipients that this server deferred while it accepted others are settled too.
            # It did not get to the rest.
            recipients.settled.update(r.address for r in outcome.recipients if r.phase == "rcpt")
            return outcome
        except Exception as error:
            failure = error
            if isinstance(error, AttemptFailed) and transport is not None:
                recovered = note_failure(transport, error)
                learned = limits.learn_from_error(candidate, transport, error, result.version)
                failure = learned or error
                recipients.update(failure.recipients)
                if learned is not None:
                    raise learned from error
            raise
        finally:
            if outcome is not None or failure is not None:
                seconds = time.monotonic() - began
                result.attempts += (
                    Attempt(candidate.name, seconds, candidate.key, outcome, failure, recovered),
                )

    def _send_with(
        self,
        transport: Transport,
        candidate: SettingsSetConfig,
        result: DeliveryResult,
        recipients: Recipients,
    ) -> Outcome:
        """Build the outgoing message, check that the candidate can send it, and send it."""
        outgoing = build_outgoing(
            result.message,
            candidate,
            transport,
            result.route.redirect,
            username=transport.username,
            key=str(result.key),
            suppressed=result.suppressed,
        )
        check_supported(result.message, transport, result.route)
        outgoing.envelope = recipients.remaining(outgoing.envelope)
        result.outgoing = outgoing
        if not outgoing.envelope.recipients:
            return Outcome(transport.name)  # everyone has it already
        check_size(outgoing, candidate)
        if transport.is_black_box and isinstance(outgoing.message, FrozenMessage):
            outgoing.message.unpack()
        transport.prepare(outgoing)
        if transport.is_black_box:
            outgoing.release()  # it serialises the message itself
        if not candidate.has_limits and transport.availability.pause is None:
            return _hand_over(transport, outgoing, result)
        return limits.send(
            candidate,
            transport,
            len(outgoing.envelope.recipients),
            partial(_hand_over, transport, outgoing, result),
            category=result.route.category,
            version=result.version,
            is_worker=self._is_worker,
        )


def _hand_over(transport: Transport, outgoing: OutgoingMessage, result: DeliveryResult) -> Outcome:
    result.was_handed_over = True
    copying = (
        copy_new_attributes(outgoing.message, result.original)
        if transport.is_black_box
        else nullcontext()
    )
    try:
        with copying:
            return transport.send(outgoing, _reply_timeout())
    finally:
        outgoing.release()


def _reply_timeout() -> float:
    """Seconds to wait for the final response: shorter if someone is waiting."""
    if process.is_awaited():
        return conf.FINAL_REPLY_TIMEOUT
    return conf.FINAL_REPLY_TIMEOUT_IN_WORKERS


def _quietly(classification: Classification) -> AbstractContextManager[None]:
    """Don't email errors about an email about errors."""
    if classification.category in (ERROR, ALERT):
        return error_logging.quietly()
    return nullcontext()
