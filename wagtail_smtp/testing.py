"""Pytest fixtures for the tests of projects that use the plugin; they need pytest-django.

In the project's ``conftest.py``::

    pytest_plugins = ["wagtail_smtp.testing"]

Django's test runner replaces the plugin by its own backend, so what the plugin would do with a
message (its category, its way, a redirect) shows in no test. With the fixture
:func:`email_delivery` it does, and still nothing leaves.
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
        message: as the project's code made it.
        category: its category, e.g. ``"invoice"``.
        via: the name of the settings set that carried it, or standard delivery's.
        redirected_to: the report addresses that got it instead; empty: it was not redirected.
        entry: its entry in the delivery log; None if none could be written.
    """

    message: EmailMessage
    category: str
    via: str
    redirected_to: tuple[str, ...]
    entry: LogEntry | None


@dataclass(frozen=True, slots=True)
class NotSent:
    """A message that was not sent, and why; attributes as those of :class:`Sent`."""

    message: EmailMessage
    category: str
    error: Exception


@dataclass
class EmailDelivery:
    """What the plugin did with the messages of one test, in their order.

    Attributes:
        sent: those that were sent.
        not_sent: those that were not.
    """

    settings: Any
    sent: list[Sent] = field(default_factory=list)
    not_sent: list[NotSent] = field(default_factory=list)

    @property
    def outbox(self) -> list[EmailMessage]:
        """The messages as they left by standard delivery: Django's own ``mail.outbox``."""
        return mail.outbox

    def redirect_all_to(self, *addresses: str) -> None:
        """Redirect all mail of this test, as ``REDIRECT_ALL_TO`` does; no addresses: block it."""
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
    """The plugin as it is in production, with standard delivery into ``mail.outbox``.

    Nothing is live at first, so all mail leaves by standard delivery. Settings sets that a test
    makes and reloads are used, with real connections to their servers.
    """
    if hasattr(django_settings, "MAILERS"):
        settings.MAILERS = {"default": {"BACKEND": _BACKEND}}
    else:
        settings.EMAIL_BACKEND = _BACKEND
    delivery = EmailDelivery(settings)
    delivery.configure(STANDARD={"BACKEND": _LOCMEM}, DELIVERY="immediate")
    # Kept, since a signal holds its receivers weakly.
    noted = {
        signals.message_sent: delivery._note_sent,
        signals.message_failed: delivery._note_failed,
    }
    _as_a_new_process()
    for signal, receiver in noted.items():
        signal.connect(receiver)
    yield delivery
    for signal, receiver in noted.items():
        signal.disconnect(receiver)
    _as_a_new_process()


def _as_a_new_process() -> None:
    lookup.forget()
    stored_message.forget()
