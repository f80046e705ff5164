"""The contract of a transport."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from django.core.mail import EmailMessage

from wagtail_smtp.config.values import Outcome
from wagtail_smtp.transports import mime
from wagtail_smtp.transports.availability import Availability


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who a message says it is from and goes to on the way, whatever its headers say.

    Addresses are bare and ASCII (``user@example.com``, IDNA domains encoded).
    """

    sender: str
    recipients: tuple[str, ...]


class OutgoingMessage:
    """A message as one candidate gets it, with its envelope. Written once, for log and wire.

    Args:
        hold: raises RedirectError for a message that no longer goes where a redirect sends it.
            A project's own receivers may change a message on its way to a provider.
        key: of the message's entry in the log; empty: it has none.
    """

    def __init__(
        self,
        message: EmailMessage,
        envelope: Envelope,
        hold: Callable[[EmailMessage], None] | None = None,
        key: str = "",
    ) -> None:
        self.message = message
        self.envelope = envelope
        self.hold = hold
        self.key = key

    @functools.cached_property
    def content(self) -> bytes:
        """The octets that are sent, before dot-stuffing, the last line ended.

        Raises:
            ValueError: the message can't be written down.
        """
        content = mime.to_bytes(self.message)
        return content if content.endswith(b"\r\n") else content + b"\r\n"


class Transport(Protocol):
    """What carries a message."""

    #: What outcomes and log lines call it.
    name: str
    #: Whether it could be reached lately.
    availability: Availability

    def send(self, letter: OutgoingMessage, patience: float) -> Outcome:
        """Hand over one message.

        Args:
            patience: seconds to wait for the answer to the whole message.

        Returns:
            Each recipient's state; at least one was accepted and none is unknown.

        Raises:
            MessageDeferred, MessageRefused, MessageTooLarge, MessageOutcomeUnknown: as their
                names say; their ``recipients`` say it of each.
            DestinationRefused: the address may not be connected to.
            ValueError: the message itself can't be written down.
        """

    def close(self) -> None:
        """Close what is open and not in use; never raises."""
