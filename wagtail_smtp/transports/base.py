"""The contract of a transport."""

import atexit
import functools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from django.core.mail import EmailMessage

from wagtail_smtp.config.values import Outcome
from wagtail_smtp.runtime import once
from wagtail_smtp.transports import mime
from wagtail_smtp.transports.pool import Availability


class Pooling(Protocol):
    """A transport that keeps connections open."""

    def close(self) -> None: ...
    def after_fork(self) -> None: ...


_transports: "weakref.WeakSet[Pooling]" = weakref.WeakSet()


def register(transport: Pooling) -> None:
    """Track ``transport`` for as long as it is referenced."""
    _transports.add(transport)


def _after_fork() -> None:
    for transport in list(_transports):
        transport.after_fork()


@atexit.register
def close_all() -> None:
    """Close all sessions of this process."""
    for transport in list(_transports):
        transport.close()


once.after_in_child(_after_fork)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The SMTP sender and recipients, which may differ from the headers.

    Addresses are bare and ASCII (``user@example.com``, IDNA domains encoded).
    """

    sender: str
    recipients: tuple[str, ...]


class OutgoingMessage:
    """A message for one transport, with its envelope. Serialised once, for the log and for sending.

    Args:
        check_redirect: raises RedirectError for a message that no longer goes to the report
            emails. Signal receivers may change a message before an email provider gets it.
        key: of the log entry; empty if there is none.
    """

    def __init__(
        self,
        message: EmailMessage,
        envelope: Envelope,
        check_redirect: Callable[[EmailMessage], None] | None = None,
        key: str = "",
    ) -> None:
        self.message = message
        self.envelope = envelope
        self.check_redirect = check_redirect
        self.key = key

    @functools.cached_property
    def content(self) -> bytes:
        """The bytes to send, before dot-stuffing, with a line break at the end.

        Raises:
            ValueError: the message can't be serialised.
        """
        content = mime.to_bytes(self.message)
        return content if content.endswith(b"\r\n") else content + b"\r\n"


class Transport(Protocol):
    """Sends messages."""

    #: Its name in outcomes and log lines.
    name: str
    #: Whether it is worth trying now.
    availability: Availability

    def send(self, outgoing: OutgoingMessage, reply_timeout: float) -> Outcome:
        """Send one message.

        Args:
            reply_timeout: seconds to wait for the response to the whole message.

        Returns:
            Each recipient's state: at least one is sent, and none is unknown.

        Raises:
            MessageDeferred, MessageRefused, MessageTooLarge, MessageOutcomeUnknown: the message
                was not sent to anyone; ``recipients`` has each recipient's state.
            DestinationRefused: connecting to this address is not allowed.
            ValueError: the message can't be serialised.
        """

    def close(self) -> None:
        """Close idle connections; never raises."""
