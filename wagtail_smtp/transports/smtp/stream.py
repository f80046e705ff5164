"""Write to and read from an SMTP connection.

A write is known to be complete or not, and replies are limited in size and time. smtplib's reader
is not used: its buffer hides unexpected replies, and every later reply would be misattributed.
"""

import math
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wagtail_smtp.exceptions import (
    AttemptFailed,
    MessageDeferred,
    MessageRefused,
    MessageTooLarge,
)

#: Maximum bytes of a reply line, as in smtplib; RFC 5321 4.5.3.1.5 requires 512.
MAX_LINE = 8192
#: Maximum lines of a reply. EHLO responses have about twenty; some banners are very long.
MAX_LINES = 1024

#: Minimum bytes per second while sending; slower counts as stuck.
_SLOWEST = 8192
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: its three-digit code and its text, with lines joined by line feeds."""

    code: int
    text: bytes


class UnreadableReply(smtplib.SMTPException):
    """The data received is not an SMTP reply, or too long."""


class IncompleteWrite(smtplib.SMTPServerDisconnected):
    """Not all bytes were written, so the server can't have accepted the message."""


class SMTPStream:
    """A connected socket with a reply reader. Used by one thread at a time.

    ``timeout`` (seconds) limits the wait for each whole reply and for progress of a write.
    ``until`` (monotonic time) limits everything.
    """

    def __init__(self, sock: socket.socket, timeout: float, until: float = math.inf) -> None:
        self.sock = sock
        self._timeout = timeout
        self._until = until
        self._buffer = b""
        sock.settimeout(timeout)

    def write(self, *parts: bytes) -> None:
        """Write all parts to the socket, one after the other.

        Raises:
            IncompleteWrite: the connection failed, or the server stopped reading, before the
                last byte was written.
        """
        deadline = time.monotonic() + self._timeout + sum(map(len, parts)) / _SLOWEST
        try:
            for chunk in _chunks(parts):
                while chunk:
                    if time.monotonic() > deadline:
                        raise TimeoutError("the server reads the message too slowly")
                    # An error here means that nothing of this chunk was sent: over TLS, the server
                    # can't read an incomplete record either.
                    chunk = chunk[self.sock.send(chunk) :]
        except OSError as error:
            raise IncompleteWrite(f"the connection failed while sending: {error}") from error

    def read_reply(self, timeout: float | None = None) -> Reply:
        """Read the next reply.

        Args:
            timeout: seconds, instead of the default.

        Raises:
            SMTPServerDisconnected: the server closed the connection.
            UnreadableReply: not a reply, or too long.
            OSError: the connection failed; TimeoutError: no complete reply came in time.
        """
        wait = timeout or self._timeout
        if wait == self._timeout:
            return self._read_reply(wait)
        self.sock.settimeout(wait)
        try:
            return self._read_reply(wait)
        finally:
            self.sock.settimeout(self._timeout)

    def _read_reply(self, wait: float) -> Reply:
        """Read a reply, as leniently as smtplib: the text may be missing (RFC 5321 4.2), anything
        but a hyphen ends the reply, and the last line's code counts."""
        deadline = min(time.monotonic() + wait, self._until)
        lines: list[bytes] = []
        while len(lines) < MAX_LINES:
            line = self._line(deadline).rstrip(b"\r")
            code = line[:3]
            if len(code) < 3 or not code.isdigit():
                raise UnreadableReply(f"the server's response is not an SMTP reply: {line[:80]!r}")
            lines.append(line[4:].strip(b" \t\r"))
            if line[3:4] != b"-":
                return Reply(int(code), b"\n".join(lines))
        raise UnreadableReply(f"the server's reply has more than {MAX_LINES} lines")

    def _line(self, deadline: float) -> bytes:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if len(line) > MAX_LINE:
                raise UnreadableReply("the server's reply has a line that is too long")
            if newline:
                self._buffer = rest
                return line
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")
            if self._until < math.inf:
                # A late wait must end by the overall deadline.
                self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.sock.recv(MAX_LINE)
            if not data and self._buffer:
                # The server closed the connection without ending the last line.
                line, self._buffer = self._buffer, b""
                return line
            if not data:
                raise smtplib.SMTPServerDisconnected("the server closed the connection")
            self._buffer += data

    def is_silent(self) -> bool:
        """Whether there is nothing to read: no late reply, no closed connection."""
        if self._buffer:
            return False
        try:
            self.sock.setblocking(False)
            # Read, don't just poll: TLS tickets make a socket readable without a reply.
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            if self.sock.fileno() >= 0:
                self.sock.settimeout(self._timeout)
        return False

    def quit(self) -> None:
        """Send QUIT and close without waiting for the reply; never raises."""
        try:
            self.sock.setblocking(False)
            self.sock.send(b"QUIT\r\n")
        except OSError:
            pass  # it is closed anyway
        self.close()

    def close(self) -> None:
        """Close the socket without sending anything, as a forked child must."""
        self.sock.close()


def _chunks(parts: Sequence[bytes]) -> Iterator[memoryview]:
    """Join parts into chunks, without copying a large one as a whole."""
    waiting: list[memoryview] = []
    left = _CHUNK
    for part in parts:
        view = memoryview(part)
        while view:
            waiting.append(view[:left])
            view, left = view[left:], left - len(waiting[-1])
            if not left:
                yield _joined(waiting)
                waiting, left = [], _CHUNK
    if waiting:
        yield _joined(waiting)


def _joined(views: list[memoryview]) -> memoryview:
    return views[0] if len(views) == 1 else memoryview(b"".join(views))


_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\d)")
#: Enhanced codes for a message that is too large (RFC 3463 3.3 and 3.4).
_TOO_LARGE = ("5.2.3", "5.3.4")


def is_positive(reply: Reply) -> bool:
    """Whether the server accepts."""
    return 200 <= reply.code < 300


def is_negative(reply: Reply) -> bool:
    """Whether the server refuses, temporarily or permanently."""
    return 400 <= reply.code < 600


def classify_reply(name: str, phase: str, reply: Reply) -> AttemptFailed:
    """Return the error for a reply that refuses."""
    text = response_text(reply)
    kind: type[AttemptFailed] = MessageDeferred
    if _is_too_large(reply.code, text) and phase != "rcpt":
        kind = MessageTooLarge
    elif reply.code >= 500 and phase in ("data", "body", "reply"):
        kind = MessageRefused
    return kind(
        f"{name}: the server refused at {phase}: {reply.code} {text}",
        phase=phase,
        code=reply.code,
        reply=text,
    )


def _is_too_large(code: int, text: str) -> bool:
    # 552 also means a full mailbox (5.2.2) and, at Gmail, a blocked file type (5.7.0).
    enhanced = _ENHANCED.match(text)
    return enhanced[0] in _TOO_LARGE if enhanced else code == 552


def connection_lost(name: str, phase: str, error: OSError) -> MessageDeferred:
    """Return the error for a connection that failed before the message was sent."""
    return MessageDeferred(f"{name}: failed at {phase}: {error}", phase=phase)


def response_text(reply: Reply) -> str:
    """The reply's text on one line: no control characters, at most 500 characters."""
    text = reply.text.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text)[:500].strip()
