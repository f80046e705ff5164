"""Base class of transports, and the data types they share."""

import functools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from django.core.mail import EmailMessage

from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Outcome
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.transports import mime


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
        self._size: int | None = None

    @functools.cached_property
    def content(self) -> bytes:
        """The bytes to send, before dot-stuffing, with a line break at the end.

        Raises:
            ValueError: the message can't be serialised.
        """
        content = mime.to_bytes(self.message)
        content = content if content.endswith(b"\r\n") else content + b"\r\n"
        self._size = len(content)
        return content

    @property
    def size(self) -> int:
        """Bytes of :attr:`content`; raises what that does."""
        return len(self.content) if self._size is None else self._size

    def release(self) -> None:
        """Free the memory that :attr:`content` takes; if it is needed again, it is made again."""
        vars(self).pop("content", None)


#: Phases of a failure in which the server was unreachable or refused the session.
UNREACHABLE = frozenset({"connect", "banner", "ehlo", "starttls", "tls", "auth"})


@dataclass(frozen=True, slots=True)
class Pause:
    """A server reported that a quota is used up: not to be used until ``until`` (monotonic).

    ``code`` and ``reply`` are its response.
    """

    until: float
    code: int
    reply: str


class Availability:
    """Whether one server is reachable, cooling down or being tried again, in this process.

    ``pause`` is what is known about its quotas; it may be over.
    """

    def __init__(self) -> None:
        self.pause: Pause | None = None
        self._is_failing = False
        self._next_try = 0.0
        self.after_fork()

    def after_fork(self) -> None:
        """Replace the lock in a forked child: a thread of the parent may hold it."""
        self._lock = threading.Lock()

    def is_worth_trying(self) -> bool:
        """Whether a message should try the server.

        After the cool-down, only one message does, until its outcome is known.
        """
        if not self._is_failing:
            return True
        with self._lock:
            now = time.monotonic()
            if self._is_failing and now < self._next_try:
                return False
            # If that attempt never reports back, another is allowed after a second cool-down.
            self._next_try = now + conf.COOL_DOWN
            return True

    def failed(self) -> None:
        """Start a cool-down: the server could not be reached."""
        with self._lock:
            self._is_failing = True
            self._next_try = time.monotonic() + conf.COOL_DOWN

    def succeeded(self) -> bool:
        """End the cool-down; return whether there was one."""
        if not self._is_failing:
            return False
        with self._lock:
            was_failing, self._is_failing = self._is_failing, False
            return was_failing


StageName = Literal[
    "resolve",
    "connect",
    "tls",
    "greeting",
    "auth",
    "fast",
    "sender",
    "recipient",
    "message",
    "mailbox",
]

#: Maximum seconds of one check; the interface promises 20.
LONGEST_CHECK = 19.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A finished or failed stage of a check.

    Attributes:
        seconds: how long it took.
        response: the server's response, without control characters and echoed secrets.
        details: depending on the stage: ``addresses``; ``issuer``, ``expires`` (aware datetime)
            and ``protocol``; ``extensions``; ``with``, for a login with an access token; ``fast``,
            see :meth:`wagtail_smtp.transports.smtp.check.SMTPCheck.check_fast_sending`;
            ``sender``; ``accepted`` recipients; the number of ``messages`` in a mailbox.
        error: why it failed; no stage follows.
    """

    name: StageName
    seconds: float
    response: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    error: EmailDeliveryError | None = None


class StageTimer:
    """Times the stages of a check. ``at`` is the current stage."""

    def __init__(self, at: StageName) -> None:
        self.begin(at)

    def begin(self, at: StageName) -> None:
        """Start the next stage."""
        self.at = at
        self.began = time.monotonic()

    def passed(self, response: str = "", **details: Any) -> Stage:
        """Return the current stage, which has passed."""
        return Stage(self.at, time.monotonic() - self.began, response, details)

    def failed(self, error: EmailDeliveryError, **details: Any) -> Stage:
        """Return the current stage, which failed."""
        response = getattr(error, "reply", "")
        return Stage(self.at, time.monotonic() - self.began, response, details, error)


class Transport(ABC):
    """Sends messages. Callers ask for its capabilities, never for its class.

    Attributes:
        name: its name in outcomes and log lines.
        username: what it logs in with, which may be the sender's address; empty without a login.
        availability: whether it is worth trying now.
    """

    name: str
    username: str = ""
    availability: Availability

    #: Whether it reads the recipients from the message itself. Then no recipient can be left out,
    #: and it may set attributes of the message. Otherwise only the envelope counts.
    is_black_box: bool = False
    #: Whether it fills in templates and merge data.
    supports_merge_data: bool = False
    #: Whether the message's ``from_email`` becomes the envelope sender.
    uses_from_email_as_sender: bool = False
    #: Whether it checks and encodes addresses itself, as Django's backends do.
    encodes_addresses: bool = False
    #: Whether the envelope sender is sent as it is, so that bounces come back to it.
    keeps_envelope_sender: bool = False
    #: Whether :meth:`check` tests login and sender even if no message is sent.
    supports_login_check: bool = False

    def prepare(self, outgoing: OutgoingMessage) -> None:
        """Do everything that can fail before the message is sent. Call this before :meth:`send`.

        Raises:
            EmailDeliveryError, ValueError: the message was not sent.
        """
        outgoing.content  # noqa: B018 serialises the message

    @abstractmethod
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

    @abstractmethod
    def check(self, sender: str = "", outgoing: OutgoingMessage | None = None) -> Iterator[Stage]:
        """Check the server on a separate connection; yield each stage when it is done.

        A failed stage is the last. Errors are in the stages, never raised.

        Args:
            sender: the bare address to offer as the sender; empty: skip this.
            outgoing: a test email to send; its envelope is used instead of ``sender``.
        """

    @abstractmethod
    def close(self) -> None:
        """Close idle connections; never raises."""
