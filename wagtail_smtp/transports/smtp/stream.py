"""The bytes of a session: writes that are known to be whole or not, replies within limits.

smtplib's own reader is not used: its buffer hides a reply that came unasked, after which
every later reply would be taken for the one before it.
"""

import math
import smtplib
import socket
import ssl
import time
from dataclasses import dataclass

#: Bytes of one reply line, as many as smtplib takes; RFC 5321 4.5.3.1.5 asks for 512.
MAX_LINE = 8192
#: Lines of one reply; an EHLO response has about twenty, some banners are pages of terms.
MAX_LINES = 1024

#: Octets a second below which a body on its way counts as stuck.
_SLOWEST = 8192
_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: its three-digit code and its words, lines joined by line feeds."""

    code: int
    text: bytes


class UnreadableReply(smtplib.SMTPException):
    """What came is no SMTP reply, or too long to be one."""


class IncompleteWrite(smtplib.SMTPServerDisconnected):
    """Not all octets were handed over, so the server can't have taken what they meant."""


class SMTPStream:
    """A connected socket with a reply reader. Used by one thread at a time.

    ``timeout`` is in seconds and bounds each wait: one reply, however slowly its octets
    come, and one write without progress. ``until``, a monotonic time, bounds all of them.
    """

    def __init__(self, sock: socket.socket, timeout: float, until: float = math.inf) -> None:
        self._sock = sock
        self._timeout = timeout
        self._until = until
        self._buffer = b""
        sock.settimeout(timeout)

    @property
    def sock(self) -> socket.socket:
        """The socket, for TLS and for closing."""
        return self._sock

    def write(self, data: bytes) -> None:
        """Hand all of ``data`` to the kernel.

        Raises:
            IncompleteWrite: the connection failed, or the server stopped reading, before
                the last octet was handed over.
        """
        deadline = time.monotonic() + self._timeout + len(data) / _SLOWEST
        view = memoryview(data)
        try:
            while view:
                # An error here means that nothing of this piece was taken; over TLS a
                # record that is not whole can't be read by the server either.
                view = view[self._sock.send(view[:_CHUNK]) :]
                if view and time.monotonic() > deadline:
                    raise TimeoutError("the server takes the message too slowly")
        except OSError as error:
            raise IncompleteWrite(f"the connection failed while sending: {error}") from error

    def read_reply(self, timeout: float | None = None) -> Reply:
        """The next reply.

        Args:
            timeout: seconds instead of the wire's own.

        Raises:
            SMTPServerDisconnected: the server closed the connection.
            UnreadableReply: it is no reply, or longer than any should be.
            OSError: the connection failed; TimeoutError: no whole reply came in time.
        """
        wait = timeout or self._timeout
        if wait == self._timeout:
            return self._read_reply(wait)
        self._sock.settimeout(wait)
        try:
            return self._read_reply(wait)
        finally:
            self._sock.settimeout(self._timeout)

    def _read_reply(self, wait: float) -> Reply:
        """As lenient as smtplib: the text may be missing (RFC 5321 4.2), anything but a hyphen
        ends the reply, and the last line's code counts."""
        deadline = min(time.monotonic() + wait, self._until)
        lines: list[bytes] = []
        while len(lines) < MAX_LINES:
            line = self._line(deadline).rstrip(b"\r")
            code = line[:3]
            if len(code) < 3 or not code.isdigit():
                raise UnreadableReply(f"the server's answer is no SMTP reply: {line[:80]!r}")
            lines.append(line[4:].strip(b" \t\r"))
            if line[3:4] != b"-":
                return Reply(int(code), b"\n".join(lines))
        raise UnreadableReply(f"the server's reply has more than {MAX_LINES} lines")

    def _line(self, deadline: float) -> bytes:
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if len(line) > MAX_LINE:
                raise UnreadableReply("the server's reply has a line without end")
            if newline:
                self._buffer = rest
                return line
            if time.monotonic() > deadline:
                raise TimeoutError("timed out")
            if self._until < math.inf:
                # A wait that began late may not outlast the time for all.
                self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._sock.recv(MAX_LINE)
            if not data and self._buffer:
                # The last words of a server that closes without ending the line.
                line, self._buffer = self._buffer, b""
                return line
            if not data:
                raise smtplib.SMTPServerDisconnected("the server closed the connection")
            self._buffer += data

    def is_silent(self) -> bool:
        """Whether nothing waits to be read: no late reply, no end of the connection."""
        if self._buffer:
            return False
        try:
            self._sock.setblocking(False)
            # Reading, not just asking: TLS tickets make a socket readable without a reply.
            self._sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            if self._sock.fileno() >= 0:
                self._sock.settimeout(self._timeout)
        return False

    def say_goodbye(self) -> None:
        """QUIT without waiting for the answer, and close; never raises."""
        try:
            self._sock.setblocking(False)
            self._sock.send(b"QUIT\r\n")
        except OSError:
            pass  # it is closed all the same
        self.close()

    def close(self) -> None:
        """Close the socket without a word, as a forked child must."""
        self._sock.close()
