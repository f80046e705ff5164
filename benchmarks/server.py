"""An SMTP server in a process of its own that costs as little as one in Python can.

STARTTLS, implicit TLS or plain text; AUTH PLAIN, PIPELINING, CHUNKING. It accepts everything and
keeps nothing. tests/support/servers/hostile.py keeps all, takes two to three times as long, and
offers CRAM-MD5, which would cost stock Django another round trip. Prints its port, and ends with
its standard input.
"""

import argparse
import base64
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.services import PASSWORD, USERNAME

_READ = 1 << 18
_LOGIN = b"\0" + USERNAME.encode() + b"\0" + PASSWORD.encode()
_EXTENSIONS = (b"PIPELINING", b"8BITMIME", b"SIZE 524288000")


class Session(threading.Thread):
    """One connection. Replies to commands that came together leave together."""

    def __init__(
        self,
        sock: socket.socket,
        encryption: str,
        context: ssl.SSLContext,
        keep: Callable[[bytes], None],
        extensions: tuple[bytes, ...],
    ) -> None:
        super().__init__(daemon=True)
        self._sock = sock
        self._encryption = encryption
        self._context = context
        self._keep = keep
        self._extensions = extensions
        self._buffer = bytearray()
        self._replies: list[bytes] = []
        self._chunks = bytearray()
        self._has_recipient = False

    def run(self) -> None:
        """Serve until the client leaves."""
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._encryption == "ssl":
                self._sock = self._context.wrap_socket(self._sock, server_side=True)
            self._replies.append(b"220 benchmark ESMTP")
            for line in self._lines():
                if not self._obey(line):
                    break
            self._flush()
        except OSError:
            pass  # the client is gone, which is its right
        finally:
            self._sock.close()

    def _lines(self) -> Iterator[bytes]:
        while True:
            end = self._find(b"\r\n")
            if end < 0:
                return
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            yield line

    def _find(self, mark: bytes) -> int:
        start = 0
        while (found := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark) + 1)
            if not self._read():
                return -1
        return found

    def _read(self) -> bool:
        self._flush()
        data = self._sock.recv(_READ)
        self._buffer += data
        return bool(data)

    def _flush(self) -> None:
        if self._replies:
            self._sock.sendall(b"\r\n".join((*self._replies, b"")))
            self._replies.clear()

    def _obey(self, line: bytes) -> bool:
        verb = line[:4].upper()
        if verb in (b"MAIL", b"RCPT", b"NOOP", b"RSET"):
            self._has_recipient = verb == b"RCPT"
            self._replies.append(b"250 OK")
        elif verb == b"BDAT":
            return self._chunk(line)
        elif verb == b"DATA":
            return self._data()
        elif verb in (b"EHLO", b"HELO"):
            self._greet()
        elif verb == b"AUTH":
            accepted = base64.b64decode(line.split()[-1]) == _LOGIN
            self._replies.append(b"235 OK" if accepted else b"535 No")
        elif verb == b"STAR":
            self._encrypt()
        elif verb == b"QUIT":
            self._replies.append(b"221 Bye")
            return False
        else:
            self._replies.append(b"500 What?")
        return True

    def _greet(self) -> None:
        offered = [b"benchmark", *self._extensions]
        if self._encryption == "starttls":
            offered.append(b"STARTTLS")
        else:
            offered.append(b"AUTH PLAIN")
        self._replies += [b"250-" + word for word in offered[:-1]] + [b"250 " + offered[-1]]

    def _encrypt(self) -> None:
        self._replies.append(b"220 Go ahead")
        self._flush()
        self._buffer.clear()
        self._sock = self._context.wrap_socket(self._sock, server_side=True)
        self._encryption = "encrypted"

    def _chunk(self, line: bytes) -> bool:
        words = line.split()
        size = int(words[1])
        while len(self._buffer) < size:
            if not self._read():
                return False
        self._chunks += self._buffer[:size]
        del self._buffer[:size]
        if not self._has_recipient:
            self._chunks.clear()
            self._replies.append(b"503 RCPT first")
            return True
        if words[-1].upper() == b"LAST":
            self._keep(bytes(self._chunks))
            self._chunks.clear()
            self._has_recipient = False
        self._replies.append(b"250 OK")
        return True

    def _data(self) -> bool:
        self._replies.append(b"354 Go ahead")
        end = self._find(b"\r\n.\r\n")
        if end < 0:
            return False
        self._keep(bytes(self._buffer[:end]))
        del self._buffer[: end + 5]
        self._replies.append(b"250 OK")
        return True


def _keeper(path: str) -> Callable[[bytes], None]:
    if not path:
        return lambda content: None
    lock = threading.Lock()
    log = Path(path).open("ab")  # noqa: SIM115

    def keep(content: bytes) -> None:
        start = content.index(b"Subject: ") + 9
        with lock:
            log.write(content[start : content.index(b"\r\n", start)] + b"\n")
            log.flush()

    return keep


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encryption", choices=("starttls", "ssl", "none"), default="starttls")
    parser.add_argument("--certificate", required=True, help="PEM file with key and certificate")
    parser.add_argument("--subjects", default="", help="file for the subjects of what arrives")
    parser.add_argument("--no-chunking", action="store_true")
    options = parser.parse_args()
    extensions = _EXTENSIONS if options.no_chunking else (*_EXTENSIONS, b"CHUNKING")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate)
    keep = _keeper(options.subjects)
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    threading.Thread(
        target=_accept,
        args=(server, options.encryption, context, keep, extensions),
        daemon=True,
    ).start()
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()


def _accept(
    server: socket.socket,
    encryption: str,
    context: ssl.SSLContext,
    keep: Callable[[bytes], None],
    extensions: tuple[bytes, ...],
) -> None:
    while True:
        Session(server.accept()[0], encryption, context, keep, extensions).start()


if __name__ == "__main__":
    main()
