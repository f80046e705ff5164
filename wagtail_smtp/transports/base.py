"""The contract of a transport."""

from dataclasses import dataclass
from typing import Protocol

from django.core.mail import EmailMessage

from wagtail_smtp.configuration import Outcome


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who a message says it is from and goes to on the way, whatever its headers say.

    Addresses are bare and ASCII (``user@example.com``, IDNA domains encoded).
    """

    sender: str
    recipients: tuple[str, ...]


class Session(Protocol):
    """One open way to a server, used by one thread at a time."""

    def send(self, message: EmailMessage, envelope: Envelope) -> Outcome:
        """Hand over one message.

        Raises:
            MessageDeferred, MessageRefused, MessageOutcomeUnknown: as their names say.
            ValueError: the message itself can't be written down.
        """

    def close(self) -> None:
        """End the session; never raises."""


class Transport(Protocol):
    """Opens sessions. Shared by all threads of a process for as long as a version is live."""

    #: What outcomes and log lines call it.
    name: str

    def open(self) -> Session:
        """Connect, with TLS and authentication where configured.

        Raises:
            MessageDeferred: the server couldn't be reached or didn't let us in.
            DestinationRefused: the address may not be connected to.
            SecretError: the password can't be used.
        """
