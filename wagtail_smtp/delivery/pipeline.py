"""The straight line of a message: classify, candidates, shape, transport, record."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from django.core.mail import EmailMessage

from wagtail_smtp import signals
from wagtail_smtp.categories import ERROR
from wagtail_smtp.conf import conf
from wagtail_smtp.configuration import Attempt, Outcome
from wagtail_smtp.delivery.attempts import Attempts, Candidate
from wagtail_smtp.delivery.candidates import Route, route
from wagtail_smtp.delivery.classify import classify
from wagtail_smtp.delivery.shape import handed_back, prepare, shape
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import LiveConfiguration, current, threads
from wagtail_smtp.live.look_up import NO_VERSION
from wagtail_smtp.transports.base import Transport
from wagtail_smtp.transports.standard import StandardTransport

logger = logging.getLogger(__name__)

#: Seconds after which a batch asks again which version is in force.
RECHECK_AFTER = 1.0


class Line:
    """The way of one batch of messages.

    Used by one thread at a time. ``category`` is the mailer's; ``overrides`` are arguments
    a caller gave for the project's own backend.
    """

    def __init__(self, category: str | None, overrides: Mapping[str, Any]) -> None:
        self._category = category
        self._standard = StandardTransport(overrides)
        self._live: LiveConfiguration | None = None
        self._asked_at = 0.0

    def begin(self) -> None:
        """Let the next message ask which version is in force, however recently one did."""
        self._asked_at = 0.0

    def deliver(self, message: EmailMessage) -> Outcome | None:
        """Send one message; None if it has no recipients.

        Raises:
            EmailDeliveryError: or what the project's own backend raised.
            ValueError: the message can't be written down.
        """
        if not message.recipients():
            return None
        category = classify(message, self._category).category
        live = self._in_force(category)
        way = Route(category, (), "")
        attempts: Attempts | None = None
        outcome: Outcome | None = None
        failure: Exception | None = None
        try:
            way = route(live.configuration, category)
            attempts = self._attempts(live, way, message)
            outcome = attempts.run()
        except Exception as error:
            failure = error
        self._tell(message, way, attempts.made if attempts else (), outcome, failure)
        if failure is not None:
            # Callers of the project's own backend know its errors.
            raise getattr(failure, "original", None) or failure
        return outcome

    def close(self) -> None:
        """Close the connection of the project's own backend; sessions to sets are pooled."""
        self._standard.close()

    def _in_force(self, category: str) -> LiveConfiguration:
        now = time.monotonic()
        if self._live is None or now - self._asked_at >= RECHECK_AFTER:
            try:
                self._live, self._asked_at = current(), now
            except ConfigurationUnavailable as error:
                # Nothing was ever loaded. Error mail may be all that tells of the outage.
                if category == ERROR and error.no_database:
                    return NO_VERSION
                raise
        return self._live

    def _attempts(self, live: LiveConfiguration, way: Route, message: EmailMessage) -> Attempts:
        prepared = prepare(message)
        patience = (
            conf.FINAL_REPLY_TIMEOUT
            if threads.is_awaited()
            else conf.FINAL_REPLY_TIMEOUT_IN_WORKERS
        )

        def transport(item: Candidate) -> Transport:
            return self._standard if item is None else live.transport(item)

        def send(item: Candidate, by: Transport, attempts: Attempts) -> Outcome:
            username = getattr(getattr(by, "config", None), "username", "")
            shaped, envelope = shape(prepared, item, way.redirect, username)
            with handed_back(message, shaped) if item is None else nullcontext():
                return by.send(shaped, attempts.remaining(envelope), patience)

        return Attempts(way, transport, send)

    def _tell(
        self,
        message: EmailMessage,
        way: Route,
        attempts: Sequence[Attempt],
        outcome: Outcome | None,
        failure: Exception | None,
    ) -> None:
        """Log lines and signals."""
        about: dict[str, Any] = {
            "message": message,
            "category": way.category,
            "route": way,
            "attempts": tuple(attempts),
        }
        if outcome is None:
            logger.info("Message of category %s not sent: %r", way.category, type(failure))
            signals.send_robustly(signals.message_failed, type(message), error=failure, **about)
            return
        for item in outcome.not_sent:
            logger.warning(
                "%s took the message, but not for %s: %s %s",
                outcome.via,
                item.address,
                item.code,
                item.reply,
            )
        signals.send_robustly(signals.message_sent, type(message), outcome=outcome, **about)
