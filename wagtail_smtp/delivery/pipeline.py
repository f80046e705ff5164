"""The straight line of a message: classify, candidates, shape, transport, record."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from django.core.mail import EmailMessage

from wagtail_smtp import signals
from wagtail_smtp.categories import ERROR
from wagtail_smtp.configuration import Outcome, SettingsSetConfig
from wagtail_smtp.delivery.candidates import Route, route
from wagtail_smtp.delivery.classify import classify
from wagtail_smtp.delivery.shape import prepare, shape
from wagtail_smtp.exceptions import ConfigurationUnavailable, MessageDeferred
from wagtail_smtp.live import LiveConfiguration, current
from wagtail_smtp.live.look_up import NO_VERSION
from wagtail_smtp.transports.base import Session, Transport
from wagtail_smtp.transports.standard import StandardTransport

logger = logging.getLogger(__name__)

#: Seconds after which a batch asks again which version is in force.
RECHECK_AFTER = 1.0


class Line:
    """The way of one batch of messages, with the sessions it keeps open between them.

    Used by one thread at a time. ``category`` is the mailer's; ``overrides`` are arguments
    a caller gave for the project's own backend.
    """

    def __init__(self, category: str | None, overrides: Mapping[str, Any]) -> None:
        self._category = category
        self._standard = StandardTransport(overrides)
        self._sessions: dict[Transport, Session] = {}
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
        try:
            way = route(live.configuration, category)
            outcome = self._try(live, way, prepare(message))
        except Exception as error:
            logger.info("Message of category %s not sent: %s", category, type(error).__name__)
            signals.send_robustly(
                signals.message_failed,
                type(message),
                message=message,
                category=category,
                route=way,
                error=error,
            )
            raise
        for recipient in outcome.not_sent:
            logger.warning(
                "%s took the message, but not for %s: %s %s",
                outcome.via,
                recipient.address,
                recipient.code,
                recipient.reply,
            )
        signals.send_robustly(
            signals.message_sent,
            type(message),
            message=message,
            category=category,
            route=way,
            outcome=outcome,
        )
        return outcome

    def close(self) -> None:
        """Close the sessions."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def _in_force(self, category: str) -> LiveConfiguration:
        now = time.monotonic()
        if self._live is None or now - self._asked_at >= RECHECK_AFTER:
            try:
                live = current()
            except ConfigurationUnavailable as error:
                # Nothing was ever loaded. Error mail may be all that tells of the outage.
                if category == ERROR and error.no_database:
                    return NO_VERSION
                raise
            if live is not self._live:
                self.close()
            self._live, self._asked_at = live, now
        return self._live

    def _try(self, live: LiveConfiguration, way: Route, prepared: EmailMessage) -> Outcome:
        """The first candidate that takes the message; the last one's error."""
        failure: MessageDeferred | None = None
        for item in way.candidates:
            try:
                return self._attempt(live, item, way, prepared)
            except MessageDeferred as error:
                failure = error
        assert failure is not None
        raise failure

    def _attempt(
        self,
        live: LiveConfiguration,
        item: SettingsSetConfig | None,
        way: Route,
        prepared: EmailMessage,
    ) -> Outcome:
        transport = self._standard if item is None else live.transport(item)
        username = getattr(getattr(transport, "config", None), "username", "")
        shaped, envelope = shape(prepared, item, way.redirect, username)
        session = self._sessions.get(transport)
        if session is None:
            session = self._sessions[transport] = transport.open()
        try:
            return session.send(shaped, envelope)
        except Exception:
            # What state the session is in can't be known.
            self._sessions.pop(transport).close()
            raise
