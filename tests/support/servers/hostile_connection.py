"""A server's end of a connection, on which faults strike."""

import contextlib
import select
import socket
import ssl
import struct
import threading
import traceback

from tests.support.servers.dialects import Dialect, usual
from tests.support.servers.hostile_faults import Fault, Faults, Phase, tls_context

GARBAGE = b"\x00\xff\x15\x03\x01 no code here \xfe\r\n"
_READ = 1 << 18
_FLOOD = 1 << 14


def _wrapped(sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The socket under TLS, before the handshake."""
    try:
        return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    except OSError as error:
        # The client left just now. Python has moved the descriptor already, and leaves it open.
        for frame, _line in traceback.walk_tb(error.__traceback__):
            half_made = frame.f_locals.get("self")
            if isinstance(half_made, ssl.SSLSocket):
                half_made.close()
        raise


class Connection:
    """A server's end of a connection: a buffer of bytes read, one of replies not yet written.

    Every method but :meth:`interrupt` raises ConnectionError when there is nothing more to do.
    """

    def __init__(
        self,
        sock: socket.socket,
        number: int,
        faults: Faults,
        stopping: threading.Event,
        dialect: Dialect = usual,
    ) -> None:
        with contextlib.suppress(OSError):  # some systems refuse it where the client has left
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._lock = threading.Lock()
        self._stopping = stopping
        self._faults = faults
        self._number = number
        self._dialect = dialect
        self._replies: list[bytes] = []
        self.buffer = bytearray()
        #: How often something was read.
        self.reads = 0

    # Bytes

    def fill(self) -> None:
        """Write the replies, and read once."""
        self.flush()
        data = self._sock.recv(_READ)
        if not data:
            raise ConnectionError("the client left")
        self.reads += 1
        self.buffer += data

    def need(self, size: int) -> None:
        """Until that much is in the buffer."""
        while len(self.buffer) < size:
            self.fill()

    def take(self, size: int) -> bytes:
        """Read that many bytes."""
        self.need(size)
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def take_until(self, mark: bytes) -> bytes:
        """All before ``mark``, which is left out."""
        start = 0
        while (end := self.buffer.find(mark, start)) < 0:
            start = max(0, len(self.buffer) - len(mark) + 1)
            self.fill()
        return self.take(end + len(mark))[:end]

    def reply(self, text: str) -> None:
        """To be written when nothing more can be read at once."""
        self._replies.append(self._dialect(text))

    def flush(self) -> None:
        """Write the replies in one go."""
        if self._replies:
            data = b"".join(self._replies)
            self._replies.clear()
            self._sock.sendall(data)

    def encrypt(self) -> None:
        """The server's half of the handshake."""
        self.flush()
        fault = self.fault("handshake")
        certificate = ""
        if fault is not None and fault.kind in ("expired", "wrong name", "self-signed"):
            certificate = fault.kind
            self._faults.note(fault)
        elif fault is not None:
            self.play(fault, "")
        with self._lock:
            self._sock = _wrapped(self._sock, tls_context(certificate))
        if self._stopping.is_set():
            raise ConnectionError("stopped")
        self._sock.do_handshake()

    def wait_idle(self) -> None:
        """Let the client rest, unless it already goes on."""
        fault = self.fault("idle")
        if fault is None or self.buffer:
            return
        self.flush()
        if not select.select([self._sock], [], [], fault.delay)[0]:
            self.play(fault, "")

    def close(self) -> None:
        """Without a word."""
        self._sock.close()

    def interrupt(self) -> None:
        """From another thread: whatever it waits for ends."""
        with self._lock, contextlib.suppress(OSError):
            # SSLSocket's own method would take TLS away under the thread that reads.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    # Faults

    def fault(self, phase: Phase) -> Fault | None:
        """The fault that is due now."""
        return self._faults.at(phase, self._number)

    def answer(self, phase: Phase, usual: str) -> bool:
        """Answer, as the phase's fault has it if there is one; whether the answer was yes."""
        return self.play(self.fault(phase), usual)

    def play(self, fault: Fault | None, usual: str) -> bool:
        """Let a fault strike where ``usual`` would be answered; empty: nothing would."""
        if fault is None:
            if usual:
                self.reply(usual)
            return True
        lasts = fault.kind in ("hang", "endless", "endless line")
        if lasts:
            self._faults.note(fault)
        try:
            return bool(getattr(self, "_" + fault.kind.replace(" ", "_"))(fault, usual))
        finally:
            if not lasts:
                self._faults.note(fault)

    def _refuse(self, fault: Fault, usual: str) -> bool:
        self.reply(fault.words)
        self.flush()
        if fault.then_close or fault.words.startswith("421"):
            self._close(fault, usual)
        return False

    _parameters = _refuse

    def _close(self, fault: Fault, usual: str) -> bool:
        self.flush()
        socket.socket.shutdown(self._sock, socket.SHUT_WR)
        self.close()
        raise ConnectionError("closed")

    def _reset(self, fault: Fault, usual: str) -> bool:
        self.flush()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
        raise ConnectionError("reset")

    def _hang(self, fault: Fault, usual: str) -> bool:
        self.flush()
        self._stopping.wait()
        raise ConnectionError("stopped")

    def _slow(self, fault: Fault, usual: str) -> bool:
        self.flush()
        for octet in self._dialect(usual) if usual else b"-":
            if self._stopping.wait(fault.delay):
                raise ConnectionError("stopped")
            if usual:
                self._sock.sendall(bytes((octet,)))
        return True

    def _garbage(self, fault: Fault, usual: str) -> bool:
        self.flush()
        self._sock.sendall(GARBAGE)
        return True

    def _endless(self, fault: Fault, usual: str) -> bool:
        return self._flood(b"250-And another thing\r\n")

    def _endless_line(self, fault: Fault, usual: str) -> bool:
        return self._flood(b"250 ", b"x")

    def _flood(self, first: bytes, more: bytes = b"") -> bool:
        self.flush()
        self._sock.sendall(first)
        while not self._stopping.is_set():
            self._sock.sendall((more or first) * _FLOOD)
        raise ConnectionError("stopped")

    def _late421(self, fault: Fault, usual: str) -> bool:
        if fault.delay:
            self.flush()
            self._stopping.wait(fault.delay)
        self.reply(fault.words)
        self.flush()
        if fault.then_close:
            self._close(fault, usual)
        if usual:
            self.reply(usual)
        return True

    def _injected(self, fault: Fault, usual: str) -> bool:
        self.reply(usual)
        self.reply("250 Injected")
        return True
