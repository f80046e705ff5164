"""Ways to send a message to one server: the peers and the limit."""

import asyncio
import base64
import socket
import ssl
from typing import Any

import aiosmtplib
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp

from benchmarks.messages import RECIPIENT, Build
from benchmarks.services import PASSWORD, USERNAME

HOST = "127.0.0.1"
STOCK = "stock Django"
KEPT = "stock Django, connection kept"
AIO = "aiosmtplib, a connection each time"
OURS = "wagtail-smtp"
COLD = "wagtail-smtp, cold"
LIMIT = "limit: raw socket, one write"
PING = "a round trip (NOOP)"


def stock_backend(port: int, encryption: str) -> smtp.EmailBackend:
    """Django's own backend, as the project's settings would make it."""
    return smtp.EmailBackend(
        alias=None,
        host=HOST,
        port=port,
        username=USERNAME,
        password=PASSWORD,
        use_tls=encryption == "starttls",
        use_ssl=encryption == "ssl",
        timeout=30,
    )


class Stock:
    """Connects for each message, as send_mail() does."""

    def __init__(self, port: int, encryption: str, build: Build) -> None:
        self._server = (port, encryption)
        self._build = build

    def __call__(self) -> None:
        assert self._build(stock_backend(*self._server)).send() == 1


class Kept:
    """Django's own backend with a connection kept open by hand."""

    def __init__(self, port: int, encryption: str, build: Build) -> None:
        self._backend = stock_backend(port, encryption)
        self._build = build

    def __call__(self) -> None:
        self._backend.open()
        assert self._build(self._backend).send() == 1

    def close(self) -> None:
        self._backend.close()


class Aiosmtplib:
    """As its documentation says, with an SSL context kept, on an event loop that is there."""

    def __init__(self, port: int, encryption: str, build: Build) -> None:
        self._options: dict[str, Any] = {
            "hostname": HOST,
            "port": port,
            "username": USERNAME,
            "password": PASSWORD,
            "use_tls": encryption == "ssl",
            "start_tls": encryption == "starttls",
            "tls_context": ssl.create_default_context() if encryption != "none" else None,
        }
        self._build = build
        self._loop = asyncio.new_event_loop()

    def __call__(self) -> None:
        message = self._build(None).message()
        refused, _reply = self._loop.run_until_complete(aiosmtplib.send(message, **self._options))
        assert not refused

    def close(self) -> None:
        self._loop.close()


class Raw:
    """A kept session without any library: bytes built before, one write, the replies."""

    def __init__(self, port: int, encryption: str) -> None:
        self._sock = socket.create_connection((HOST, port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = ssl.create_default_context()
        if encryption == "ssl":
            self._sock = context.wrap_socket(self._sock, server_hostname=HOST)
        self._replies(1)
        if encryption == "starttls":
            self._command(b"EHLO benchmark")
            self._command(b"STARTTLS")
            self._sock = context.wrap_socket(self._sock, server_hostname=HOST)
        self._command(b"EHLO benchmark")
        login = base64.b64encode(f"\0{USERNAME}\0{PASSWORD}".encode())
        self._command(b"AUTH PLAIN " + login)

    def sending(self, message: EmailMessage, content: bytes) -> "RawMessage":
        """What sends these bytes as this message."""
        sender = message.from_email.encode()
        written = (
            b"MAIL FROM:<%s> SIZE=%d\r\nRCPT TO:<%s>\r\nBDAT %d LAST\r\n"
            % (sender, len(content), RECIPIENT.encode(), len(content))
        ) + content
        return RawMessage(self, written, 3)

    def noop(self) -> "RawMessage":
        """What makes a round trip."""
        return RawMessage(self, b"NOOP\r\n", 1)

    def exchange(self, written: bytes, replies: int) -> None:
        """Write, and wait for so many replies."""
        self._sock.sendall(written)
        self._replies(replies)

    def close(self) -> None:
        self._sock.close()

    def _command(self, line: bytes) -> None:
        self.exchange(line + b"\r\n", 1)

    def _replies(self, count: int) -> None:
        seen = b""
        while sum(line[3:4] == b" " for line in seen.split(b"\r\n")[:-1]) < count:
            data = self._sock.recv(65536)
            assert data, "the server left"
            seen += data
        assert seen[:1] in (b"2", b"3"), seen


class RawMessage:
    """An exchange over a :class:`Raw` session."""

    def __init__(self, raw: Raw, written: bytes, replies: int) -> None:
        self._raw, self._written, self._count = raw, written, replies

    def __call__(self) -> None:
        self._raw.exchange(self._written, self._count)
