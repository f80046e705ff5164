"""The processor's time for one message, over a socket that only pretends to be one."""

import smtplib
import time
from collections.abc import Iterator
from typing import Any

from django.core.mail.backends import smtp

from benchmarks.contenders import stock_backend
from benchmarks.measure import Action, Contender, interleaved
from benchmarks.messages import SIZES, Build
from benchmarks.report import Goal, Table, rows
from benchmarks.services import Around
from wagtail_smtp.config.values import TransportConfig
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.smtp.session import SMTPSession
from wagtail_smtp.transports.smtp.stream import SMTPStream
from wagtail_smtp.transports.smtp.transaction import Extensions
from wagtail_smtp.transports.smtp.transport import SMTPTransport

STOCK = "stock Django, _send()"
OURS = "wagtail-smtp, the transport's send"
MESSAGE = "of which message.message()"
ROUNDS = {"2 KB": 1000, "30 KB": 600, "1 MB": 60}
GOALS = {"2 KB": 0.50, "30 KB": 0.40, "1 MB": 0.50}


def measure(around: Around) -> Iterator[Table]:
    """A table for each size."""
    for size, build in SIZES.items():
        contenders = [
            Contender(STOCK, _stock(build)),
            Contender(OURS, _ours(build)),
            Contender(MESSAGE, build(None).message),
        ]
        samples = interleaved(contenders, ROUNDS[size], warm=5, clock=time.thread_time)
        table = Table(
            f"Processor time for one message, {size}",
            "µs",
            rows(samples.values(), 1_000_000),
            base=STOCK,
            note=f"{ROUNDS[size]} rounds, no network",
        )
        part = table.value(OURS) / table.value(STOCK)
        yield table.with_goals(Goal("of stock's", part, GOALS[size]))


class _Swallowing:
    """A socket that takes everything and answers what an SMTP server would."""

    def __init__(self) -> None:
        self._answers = b""

    def _swallow(self, data: Any) -> None:
        start = bytes(data[:4]).upper()
        if start == b"EHLO":
            self._answers += b"250-stub\r\n250-SIZE 52428800\r\n250 8BITMIME\r\n"
        elif start == b"DATA":
            self._answers += b"354 Go ahead\r\n"
        else:
            self._answers += b"250 OK\r\n"

    def sendall(self, data: Any) -> None:
        self._swallow(data)

    def readline(self, _size: int = -1) -> bytes:
        line, _, self._answers = self._answers.partition(b"\n")
        return line + b"\n"

    def close(self) -> None:
        self._answers = b""


class _SwallowingAtOnce(_Swallowing):
    """The same for the plugin's session: the first message goes the plain way, a probe follows,
    and then each message is one write."""

    def __init__(self) -> None:
        super().__init__()
        self._is_data = False

    def send(self, data: Any) -> int:
        start = bytes(data[:256])
        if self._is_data:
            if bytes(data[-5:]).endswith(b".\r\n"):
                self._is_data = False
                self._answers += b"250 OK\r\n"
        elif start.startswith(b"RSET\r\nBDAT"):
            self._answers += b"250 OK\r\n503 MAIL first\r\n250 OK\r\n250 OK\r\n"
        elif start.startswith(b"MAIL ") and b"\r\nBDAT " in start:
            self._answers += b"250 OK\r\n" * 3
        elif start.startswith(b"MAIL ") and start.endswith(b"DATA\r\n"):
            self._answers += b"250 OK\r\n250 OK\r\n354 Go ahead\r\n"
            self._is_data = True
        elif start.startswith(b"DATA"):
            self._answers += b"354 Go ahead\r\n"
            self._is_data = True
        elif start.startswith((b"MAIL ", b"RCPT ", b"RSET", b"NOOP")):
            self._answers += b"250 OK\r\n"
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self._answers:
            raise BlockingIOError
        data, self._answers = self._answers[:size], self._answers[size:]
        return data

    def settimeout(self, seconds: float) -> None:
        """Nothing waits here."""

    def setblocking(self, flag: bool) -> None:
        """Nothing waits here."""

    def fileno(self) -> int:
        return 0


def _stock(build: Build) -> Action:
    backend: smtp.EmailBackend = stock_backend(0, "none")
    client: Any = smtplib.SMTP()
    client.sock = client.file = _Swallowing()
    backend.connection = client
    message = build(None)

    def send() -> None:
        assert backend._send(message)

    return send


class _Stubbed(SMTPTransport):
    def _open(self) -> SMTPSession:
        stream = SMTPStream(_SwallowingAtOnce(), 10)  # type: ignore[arg-type]
        offers = Extensions(pipelining=True, chunking=True, eight_bit=True, sizes=True)
        return SMTPSession(stream, offers, self.name)


def _ours(build: Build) -> Action:
    from wagtail_smtp.config.values import SettingsSetConfig
    from wagtail_smtp.delivery.outgoing import build_outgoing, prepare

    transport = _Stubbed(TransportConfig("stub", "localhost", 25))
    item = SettingsSetConfig(key="stub", name="stub")
    outgoing = build_outgoing(prepare(build(None)), item, transport, None, username="")
    message, envelope = outgoing.message, outgoing.envelope
    return lambda: transport.send(OutgoingMessage(message, envelope), 60)
