"""One SMTP session: connect, encrypt, log in, hand over messages one by one.

smtplib serves for greeting, STARTTLS and AUTH, but each reply is read by our own
:class:`~wagtail_smtp.transports.wire.Wire`.
"""

import base64
import binascii
import math
import smtplib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.mail.utils import DNS_NAME
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.configuration import Recipient, TransportConfig
from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports import auth, guard
from wagtail_smtp.transports.base import Envelope
from wagtail_smtp.transports.exchange import Exchange
from wagtail_smtp.transports.extensions import Extensions
from wagtail_smtp.transports.verdict import failure, lost
from wagtail_smtp.transports.wire import Reply, UnreadableReply, Wire
from wagtail_smtp.validation import ascii_host, may_log_in_without_tls

#: Replies that say a mechanism is not for us, not that the password is wrong.
_TRY_ANOTHER = (500, 501, 502, 503, 504, 534)


class SMTPSession:
    """An open session, logged in where configured. Used by one thread at a time."""

    def __init__(self, wire: Wire, extensions: Extensions, name: str) -> None:
        self._wire = wire
        self._extensions = extensions
        self._name = name
        self._needs_reset = False
        #: Whether something failed so that no message may follow.
        self.is_broken = False
        #: Messages handed over so far.
        self.messages = 0
        #: Monotonic times: of the last use, and after which it is not used again.
        self.used_at = time.monotonic()
        self.expires_at = math.inf

    def send(
        self, envelope: Envelope, content: bytes, patience: float
    ) -> tuple[tuple[Recipient, ...], str]:
        """Hand over one message; see :meth:`Exchange.run`.

        Args:
            patience: seconds to wait for the reply to the whole message.
        """
        exchange = Exchange(self._wire, self._extensions, self._name, patience)
        is_fresh = time.monotonic() - self.used_at <= conf.ONE_WRITE_WITHIN
        offers = self._extensions
        try:
            return exchange.run(
                envelope,
                content,
                at_once=offers.pipelining and offers.chunking and is_fresh,
                # An old session's first command must be one that costs nothing if it fails.
                reset=self._needs_reset or not is_fresh,
            )
        except BaseException as error:
            # Interrupted at any point, nobody knows which replies are still to come.
            self.is_broken = not isinstance(error, EmailDeliveryError)
            raise
        finally:
            self._needs_reset = not exchange.is_finished
            self.is_broken = self.is_broken or not exchange.in_step
            self.messages += 1
            self.used_at = time.monotonic()

    def is_usable(self) -> bool:
        """Whether the next message may go over this session: nothing failed, nothing waits."""
        return not self.is_broken and self._wire.is_quiet()

    def close(self) -> None:
        """Say goodbye without waiting for the answer, and close the socket; never raises."""
        self._wire.say_goodbye()

    def abandon(self) -> None:
        """Close the descriptor without a word: after a fork the session is the parent's."""
        self._wire.close()


@sensitive_variables()
def open_session(
    config: TransportConfig, context: ssl.SSLContext, *, chunking: bool = True
) -> SMTPSession:
    """Connect, encrypt and log in.

    Args:
        chunking: False: don't use CHUNKING though the server offers it.

    Raises:
        MessageDeferred: the server couldn't be reached or didn't let us in.
        DestinationRefused: the address may not be connected to.
    """
    client = _Client(config, context)
    try:
        with _phase("connect", config.name):
            client.open()
        with _phase("banner", config.name):
            client.greet()
        with _phase("ehlo", config.name):
            client.introduce()
        if config.security == "starttls":
            client.upgrade()
        if config.username:
            client.log_in()
    except BaseException:
        client.close()
        raise
    if not chunking:
        client.esmtp_features.pop("chunking", None)
    return SMTPSession(client.wire, Extensions.offered(client.esmtp_features), config.name)


class _Client(smtplib.SMTP):
    """smtplib's client on a guarded socket and with our reader, strict about TLS."""

    wire: Wire

    def __init__(self, config: TransportConfig, context: ssl.SSLContext) -> None:
        self._config = config
        self._context = context
        super().__init__(
            local_hostname=ascii_host(config.ehlo_name or DNS_NAME.get_fqdn()),
            timeout=config.timeout,
        )

    def open(self) -> None:
        """Connect, with TLS from the first byte where that is configured."""
        config = self._config
        self._host = config.host
        sock = guard.connect(
            config.host, config.port, config.timeout, any_port=config.is_standard_server
        )
        self.sock = sock
        if config.security == "ssl":
            with _phase("tls", config.name):
                self.sock = self._context.wrap_socket(sock, server_hostname=config.host)
        self.wire = Wire(self.sock, config.timeout)

    def getreply(self) -> tuple[int, bytes]:
        """The next reply, read by our own reader."""
        reply = self.wire.read_reply()
        return reply.code, reply.words

    def greet(self) -> None:
        """Read the banner."""
        self._expect("banner", self.getreply(), 220)

    def introduce(self) -> None:
        """EHLO, or HELO where the server is so old."""
        reply = self.ehlo()
        if reply[0] >= 500:
            reply = self.helo()
        self._expect("ehlo", reply, 250)

    def _expect(self, phase: str, reply: tuple[int, bytes], code: int) -> None:
        if reply[0] != code:
            raise failure(self._config.name, phase, Reply(*reply))

    def upgrade(self) -> None:
        """STARTTLS, required; anything the server sent ahead of the handshake ends it."""
        name = self._config.name
        with _phase("starttls", name):
            if not self.has_extn("starttls"):
                raise smtplib.SMTPNotSupportedError(
                    "the server doesn't offer STARTTLS, and plain text is not fallen back to"
                )
            self._expect("starttls", self.docmd("STARTTLS"), 220)
            # Replies injected before TLS would be read as if encrypted (CVE-2011-0411).
            if not self.wire.is_quiet():
                raise smtplib.SMTPServerDisconnected("the server sent data ahead of the handshake")
        with _phase("tls", name):
            self.sock = self._context.wrap_socket(self.wire.sock, server_hostname=self._host)
        self.wire = Wire(self.sock, self._config.timeout)
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        with _phase("ehlo", name):
            self.introduce()

    @sensitive_variables()
    def log_in(self) -> None:
        """AUTH, never over plain text except where that is allowed."""
        config = self._config
        refusal: MessageDeferred | None = None
        try:
            refusal = self._log_in()
        except (UnreadableReply, ValueError):
            # A challenge that is no base64, or anything else that may echo the password.
            why = "the server's answer can't be read"
            refusal = MessageDeferred(f"{config.name}: failed at auth: {why}.", phase="auth")
        except OSError as error:
            refusal = MessageDeferred(f"{config.name}: failed at auth: {error}", phase="auth")
        if refusal is not None:
            # Raised out here, without its cause: the frames below hold the password, an error
            # page shows frames, and some servers echo what they got.
            raise refusal

    @sensitive_variables()
    def _log_in(self) -> MessageDeferred | None:
        config = self._config
        if config.security == "none" and not may_log_in_without_tls(config.host):
            raise smtplib.SMTPNotSupportedError("logging in without TLS is refused")
        offered = self.esmtp_features.get("auth", "").split()
        names = auth.mechanisms(auth.FOR_PASSWORDS, offered)
        if not names:
            raise smtplib.SMTPNotSupportedError(
                f"the server offers no way to log in that is known here "
                f"({' '.join(offered) or 'none at all'})"
            )
        code = 0
        for name in names:
            encode = auth.FOR_PASSWORDS[name](config.username, config.password)
            code = self._authenticate(name, encode)
            if code == 235:
                return None
            if code not in _TRY_ANOTHER:
                break
        return MessageDeferred(
            f"{config.name}: the server refused the username or password ({code}).",
            phase="auth",
            code=code,
        )

    @sensitive_variables()
    def _authenticate(self, mechanism: str, encode: auth.Encoder) -> int:
        first = encode(None)
        line = f"AUTH {mechanism}"
        if first is not None:
            line += " " + (_base64(first) or "=")
        code, words = self.docmd(line)
        for _ in range(3):
            if code != 334:
                break
            answer = encode(base64.b64decode(words, validate=True))
            code, words = self.docmd(_base64(answer or b""))
        return code


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


@contextmanager
def _phase(phase: str, name: str) -> Iterator[None]:
    """Turn a failure into MessageDeferred that says where it happened."""
    try:
        yield
    except EmailDeliveryError:
        raise
    except OSError as error:
        raise lost(name, phase, error) from error
