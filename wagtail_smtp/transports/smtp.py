"""SMTP sessions: connect, TLS, log in, hand over messages one by one."""

import functools
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.mail import EmailMessage
from django.core.mail.utils import DNS_NAME
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.configuration import Outcome, Recipient, TransportConfig
from wagtail_smtp.exceptions import (
    EmailDeliveryError,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
)
from wagtail_smtp.transports import guard, mime
from wagtail_smtp.transports.base import Envelope, Session
from wagtail_smtp.validation import may_log_in_without_tls

#: A line's first character, doubled where it is a dot (RFC 5321 4.5.2).
_LEADING_DOT = re.compile(rb"(?m)^\.")


class SMTPTransport:
    """Opens sessions to one server. The SSL context is built once and kept."""

    def __init__(self, config: TransportConfig) -> None:
        self.config = config
        self.name = config.name

    @functools.cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """Verifies certificate and name, against the set's own authority if it names one."""
        context = ssl.create_default_context(cadata=self.config.ca_certificates or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    @sensitive_variables()
    def open(self) -> Session:
        """Connect, encrypt and log in."""
        config = self.config
        client = _Client(config, self.ssl_context)
        try:
            with _deferring("connect", config.name):
                client.connect(config.host, config.port)
            with _deferring("ehlo", config.name):
                client.ehlo_or_helo_if_needed()
            if config.security == "starttls":
                with _deferring("tls", config.name):
                    client.upgrade()
            if config.username:
                client.log_in()
        except BaseException:
            client.close()
            raise
        return SMTPSession(client, config.name)


class SMTPSession:
    """One session of :class:`SMTPTransport`."""

    def __init__(self, client: "_Client", name: str) -> None:
        self._client = client
        self._name = name

    def send(self, message: EmailMessage, envelope: Envelope) -> Outcome:
        """Hand over one message; see :class:`wagtail_smtp.transports.base.Session`."""
        content = mime.to_bytes(message)
        with _deferring("mail", self._name):
            self._mail(content, envelope.sender)
        with _deferring("rcpt", self._name):
            recipients = tuple(self._rcpt(address) for address in envelope.recipients)
        if all(recipient.state != "sent" for recipient in recipients):
            self._raise_for_recipients(recipients)
        return Outcome(self._name, recipients, self._data(content))

    def close(self) -> None:
        """Say goodbye if the server still listens, and close the socket."""
        try:
            self._client.quit()
        except OSError:
            self._client.close()

    def _mail(self, content: bytes, sender: str) -> None:
        options = []
        if self._client.has_extn("size"):
            options.append(f"SIZE={len(content)}")
        if self._client.has_extn("8bitmime") and not content.isascii():
            options.append("BODY=8BITMIME")
        code, reply = self._client.mail(sender, options)
        if code != 250:
            self._client.rset()
            raise smtplib.SMTPSenderRefused(code, reply, sender)

    def _rcpt(self, address: str) -> Recipient:
        code, reply = self._client.rcpt(address)
        if code == 421:
            raise smtplib.SMTPResponseException(code, reply)
        if code in (250, 251):
            return Recipient(address)
        return Recipient(address, "refused" if code >= 500 else "deferred", code, _words(reply))

    def _raise_for_recipients(self, recipients: tuple[Recipient, ...]) -> None:
        with _deferring("rcpt", self._name):
            self._client.rset()
        error = (
            MessageRefused
            if all(item.state == "refused" for item in recipients)
            else MessageDeferred
        )
        first = recipients[0]
        raise error(
            f"{self._name}: the server took none of the {len(recipients)} recipients: "
            f"{first.code} {first.reply}",
            phase="rcpt",
            code=first.code,
            reply=first.reply,
        )

    def _data(self, content: bytes) -> str:
        with _deferring("data", self._name):
            code, reply = self._client.docmd("DATA")
            if code != 354:
                self._refuse("data", code, _words(reply))
        with _deferring("body", self._name):
            stuffed = _LEADING_DOT.sub(b"..", content)
            end = b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"
            self._client.transmit(stuffed + end)
        try:
            code, reply = self._client.final_reply()
        except OSError as error:
            raise MessageOutcomeUnknown(
                f"{self._name}: the message was handed over, but the server's answer never "
                "came. It may have been delivered, so it is not sent again by itself.",
                phase="reply",
            ) from error
        if code != 250:
            self._refuse("reply", code, _words(reply))
        return _words(reply)

    def _refuse(self, phase: str, code: int, reply: str) -> None:
        error = MessageRefused if code >= 500 else MessageDeferred
        raise error(
            f"{self._name}: the server didn't take the message: {code} {reply}",
            phase=phase,
            code=code,
            reply=reply,
        )


class _Client(smtplib.SMTP):
    """smtplib's client on a guarded socket, strict about TLS."""

    def __init__(self, config: TransportConfig, context: ssl.SSLContext) -> None:
        self._config = config
        self._context = context
        super().__init__(
            local_hostname=config.ehlo_name or DNS_NAME.get_fqdn(), timeout=config.timeout
        )

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = guard.connect(host, port, timeout, any_port=self._config.is_standard_server)
        # smtplib checks the certificate against this name after STARTTLS.
        self._host = host
        if self._config.security != "ssl":
            return sock
        try:
            return self._context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise

    def connect(self, host: str = "localhost", port: int = 0, source_address=None):  # type: ignore[no-untyped-def, override]
        code, reply = super().connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)
        return code, reply

    def upgrade(self) -> None:
        """STARTTLS, required; anything the server sent ahead of the handshake ends it."""
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError(
                "the server doesn't offer STARTTLS, and plain text is not fallen back to"
            )
        code, reply = self.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, reply)
        # Replies injected before TLS would be read as if they were encrypted (CVE-2011-0411).
        if self._buffered():
            raise smtplib.SMTPServerDisconnected("the server sent data ahead of the handshake")
        assert self.sock is not None
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._host)
        self.file = None
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        self.ehlo_or_helo_if_needed()

    def _buffered(self) -> bool:
        if self.file is None or self.sock is None:
            return False
        self.sock.setblocking(False)
        try:
            return bool(self.file.peek(1))
        except (BlockingIOError, ValueError):
            return False
        finally:
            self.sock.settimeout(self._config.timeout)

    @sensitive_variables()
    def log_in(self) -> None:
        """AUTH, never over plain text except where that is allowed."""
        config = self._config
        if not (config.username + config.password).isascii():
            # smtplib's own error would show the password.
            raise MessageDeferred(
                f"{config.name}: the username or password has characters that are not ASCII, "
                "which can't be sent to the server.",
                phase="auth",
            )
        failure: MessageDeferred | None = None
        try:
            if config.security == "none" and not may_log_in_without_tls(config.host):
                raise smtplib.SMTPNotSupportedError("logging in without TLS is refused")
            self.login(config.username, config.password)
        except (OSError, ValueError) as error:  # ValueError: the server's challenge is no base64
            failure = _auth_failed(config.name, error)
        if failure is not None:
            # Raised out here, where cause and server's words are gone: smtplib's frames hold
            # the password, an error page shows frames, and some servers echo what they got.
            raise failure

    def transmit(self, content: bytes) -> None:
        assert self.sock is not None
        self.sock.sendall(content)

    def final_reply(self) -> tuple[int, bytes]:
        """The reply to the whole message, which may take longer than any other."""
        assert self.sock is not None
        self.sock.settimeout(max(conf.FINAL_REPLY_TIMEOUT, self._config.timeout))
        try:
            return self.getreply()
        finally:
            if self.sock is not None:
                self.sock.settimeout(self._config.timeout)


@contextmanager
def _deferring(phase: str, name: str) -> Iterator[None]:
    """Turn a failure before the message was handed over into MessageDeferred."""
    try:
        yield
    except EmailDeliveryError:
        raise
    except OSError as error:
        raise _deferred(phase, name, error) from error


def _auth_failed(name: str, error: Exception) -> MessageDeferred:
    if isinstance(error, smtplib.SMTPResponseException):
        return MessageDeferred(
            f"{name}: the server refused the username or password ({error.smtp_code}).",
            phase="auth",
            code=error.smtp_code,
        )
    return MessageDeferred(f"{name}: failed at auth: {error}", phase="auth")


def _deferred(phase: str, name: str, error: OSError) -> MessageDeferred:
    if isinstance(error, smtplib.SMTPResponseException):
        reply = _words(error.smtp_error)
        return MessageDeferred(
            f"{name}: the server refused at {phase}: {error.smtp_code} {reply}",
            phase=phase,
            code=error.smtp_code,
            reply=reply,
        )
    return MessageDeferred(f"{name}: failed at {phase}: {error}", phase=phase)


def _words(reply: bytes | str) -> str:
    """The server's words on one line, without control characters, at most 500 characters."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return "".join(c if c.isprintable() else " " for c in text)[:500].strip()
