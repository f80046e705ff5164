"""Pytest fixtures for the tests of projects that use the plugin; they need pytest-django.

In the project's ``conftest.py``::

    pytest_plugins = ["wagtail_smtp.testing"]

Django's test runner replaces the plugin's backend with its own, so tests don't see what the plugin
does with a message: its category, its route and a redirect. The fixture :func:`email_delivery`
keeps the plugin's backend, and still sends nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core import mail
from django.core.mail import EmailMessage

from wagtail_smtp import signals
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.live import lookup
from wagtail_smtp.models import LogEntry

_BACKEND = "wagtail_smtp.backend.EmailBackend"
_LOCMEM = "django.core.mail.backends.locmem.EmailBackend"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was sent.

    Attributes:
        message: as the project's code created it.
        category: its category, e.g. ``"invoice"``.
        via: the name of the settings set that sent it, or ``standard delivery``.
        redirected_to: the report emails that received it instead; empty: it was not redirected.
        entry: its entry in the delivery log; None if none could be written. It also has the site.
    """

    message: EmailMessage
    category: str
    via: str
    redirected_to: tuple[str, ...]
    entry: LogEntry | None


@dataclass(frozen=True, slots=True)
class NotSent:
    """A message that was not sent, and why. The attributes are as in :class:`Sent`."""

    message: EmailMessage
    category: str
    error: Exception


@dataclass
class EmailDelivery:
    """What the plugin did with the messages of one test.

    Attributes:
        sent: the messages that were sent, in order.
        not_sent: the messages that were not sent, in order.
    """

    settings: Any
    sent: list[Sent] = field(default_factory=list)
    not_sent: list[NotSent] = field(default_factory=list)

    @property
    def outbox(self) -> list[EmailMessage]:
        """The messages that standard delivery sent: Django's ``mail.outbox``."""
        return mail.outbox

    def redirect_all_to(self, *addresses: str) -> None:
        """Redirect all email of this test, as ``REDIRECT_ALL_TO`` does; no addresses: block it."""
        self.configure(REDIRECT_ALL_TO=list(addresses))

    def configure(self, **keys: Any) -> None:
        """Change keys of ``WAGTAIL_SMTP`` for this test."""
        self.settings.WAGTAIL_SMTP = getattr(self.settings, "WAGTAIL_SMTP", {}) | keys

    def _note_sent(self, message: EmailMessage, category: str, **about: Any) -> None:
        redirect = about["route"].redirect
        addresses = () if redirect is None else redirect.addresses
        via = about["outcome"].via
        self.sent.append(Sent(message, category, via, addresses, about["entry"]))

    def _note_failed(self, message: EmailMessage, category: str, **about: Any) -> None:
        self.not_sent.append(NotSent(message, category, about["error"]))


@pytest.fixture
def email_delivery(settings: Any, db: None) -> Iterator[EmailDelivery]:
    """The plugin as in production, with standard delivery into ``mail.outbox``.

    Nothing is live at first, so standard delivery sends all email. If a test creates settings sets
    and reloads, they are used, with real connections to their servers.
    """
    if hasattr(django_settings, "MAILERS"):
        settings.MAILERS = {"default": {"BACKEND": _BACKEND}}
    else:
        settings.EMAIL_BACKEND = _BACKEND
    delivery = EmailDelivery(settings)
    delivery.configure(STANDARD={"BACKEND": _LOCMEM}, DELIVERY="immediate")
    # In a variable, because a signal only has weak references to its receivers.
    receivers = {
        signals.message_sent: delivery._note_sent,
        signals.message_failed: delivery._note_failed,
    }
    _as_a_new_process()
    for signal, receiver in receivers.items():
        signal.connect(receiver)
    yield delivery
    for signal, receiver in receivers.items():
        signal.disconnect(receiver)
    _as_a_new_process()


def _as_a_new_process() -> None:
    lookup.forget()
    stored_message.forget()
