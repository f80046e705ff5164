"""The delivery pipeline: classify, route, shape, send, log."""

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from django.core.mail import EmailMessage

from wagtail_smtp.categories import ALERT, ERROR, OTHER
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Outcome
from wagtail_smtp.delivery import capabilities
from wagtail_smtp.delivery.announce import announce
from wagtail_smtp.delivery.attempts import Attempts, Candidate
from wagtail_smtp.delivery.capabilities import is_black_box
from wagtail_smtp.delivery.classify import Classification, classify
from wagtail_smtp.delivery.log import entries
from wagtail_smtp.delivery.log.stored_message import FrozenMessage
from wagtail_smtp.delivery.outgoing import handed_back, prepare, shape
from wagtail_smtp.delivery.redirect import require_held
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.delivery.routing import Route, route
from wagtail_smtp.exceptions import ConfigurationUnavailable, SendCancelled
from wagtail_smtp.live import LiveConfiguration, current
from wagtail_smtp.live.db import request_thread
from wagtail_smtp.live.lookup import NO_VERSION
from wagtail_smtp.models import LogEntry
from wagtail_smtp.runtime import error_logging, project
from wagtail_smtp.transports.base import OutgoingMessage, Transport
from wagtail_smtp.transports.standard import StandardTransport

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
            if request_thread.is_awaited()
            else conf.FINAL_REPLY_TIMEOUT_IN_WORKERS
        )

        def transport(item: Candidate) -> Transport:
            # Errors are logged for the site's administrators, so they use the site's language.
            with project.of_site():
                return self._standard if item is None else live.transport(item)

        def send(item: Candidate, by: Transport, attempts: Attempts) -> Outcome:
            username = getattr(getattr(by, "config", None), "username", "")
            shaped, envelope = shape(tried.prepared, item, way.redirect, username)
            with project.of_site():
                capabilities.require(tried.prepared, item, way)
            hold = partial(require_held, redirect=way.redirect) if way.redirect else None
            remaining = attempts.remaining(envelope)
            tried.outgoing = outgoing = OutgoingMessage(shaped, remaining, hold, str(tried.key))
            if not outgoing.envelope.recipients:
                return Outcome(by.name)  # every recipient has it already
            capabilities.check(outgoing, item)
            if item is not None:
                outgoing.content  # noqa: B018 rendered before sending begins
            if is_black_box(item) and isinstance(shaped, FrozenMessage):
                shaped.unpack()
            if item is None:
                self._standard.prepare()
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
