"""An SMTP server on a free loopback port that is as good, or as hostile, as a test wants.

One thread a connection and blocking sockets, so that it costs little; benchmarks may use it as
``python -m tests.support.servers.hostile --port 0 --encryption starttls``, which prints its port.
"""

import argparse
import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support.servers.dialects import Dialect, usual
from tests.support.servers.hostile_connection import Connection
from tests.support.servers.hostile_faults import Fault, Faults
from tests.support.servers.hostile_session import Session
from tests.support.servers.smtp_server import CA_PEM, Received

EXTENSIONS = ("PIPELINING", "CHUNKING", "SIZE 35882577", "8BITMIME")
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")


@dataclass
class HostileServer:
    """Start with ``with``; ``encryption`` is starttls, ssl or none.

    Attributes:
        received: each message for which a 250 was decided, even if it was never said.
        writes: how often was read for each of them, from MAIL on.
        transcript: the command lines as read, without what follows AUTH's mechanism.
        violations: what no client may do, such as sending ahead of a handshake.
    """

    encryption: str = "starttls"
    extensions: Sequence[str] = EXTENSIONS
    username: str = "user@example.com"
    password: str = "secret of the tests"
    auth: bool = True
    faults: Sequence[Fault] = ()
    mechanisms: Sequence[str] = MECHANISMS
    #: Says of a user and an access token whether they may log in; for XOAUTH2 and OAUTHBEARER.
    takes_token: Callable[[str, str], bool] = lambda user, token: False
    #: How it puts its replies.
    dialect: Dialect = usual
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    received: list[Received] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __enter__(self) -> "HostileServer":
        self.plan = Faults(self.faults)
        self._stopping = threading.Event()
        self._open: dict[Connection, threading.Thread] = {}
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        # A port that is bound but not listened on refuses connections, and nobody else gets it.
        refusals = [f for f in self.faults if (f.phase, f.kind) == ("connect", "refuse")]
        for fault in refusals:
            self.plan.note(fault)
        if not refusals:
            self._listener.listen(128)
            self._accepting.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def struck(self) -> list[Fault]:
        """The faults that have struck, in order."""
        return self.plan.struck

    def stop(self) -> None:
        """End all connections, also hung ones, and wait for their threads."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        if self._accepting.ident:
            self._accepting.join(1)
        self._listener.close()
        left = tuple(self._open.items())
        for connection, _thread in left:
            connection.interrupt()
        for _connection, thread in left:
            thread.join(1)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stopping.is_set():
                sock = self._listener.accept()[0]
                self.connections += 1
                connection = Connection(
                    sock, self.connections, self.plan, self._stopping, self.dialect
                )
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._open[connection] = thread
                thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(OSError):
                Session(self, connection).run()
        finally:
            connection.close()
            self._open.pop(connection, None)


def main() -> None:
    """Serve until standard input ends; the first line of the output is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--encryption", choices=("starttls", "ssl", "none"), default="starttls")
    parser.add_argument("--extensions", nargs="*", default=EXTENSIONS)
    parser.add_argument("--authority", help="file to write the authority's certificate to")
    options = parser.parse_args()
    if options.authority:
        with open(options.authority, "w") as file:
            file.write(CA_PEM)
    with HostileServer(options.encryption, options.extensions, port=options.port) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
