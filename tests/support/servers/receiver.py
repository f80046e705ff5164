"""A webhook receiver on a free loopback port: what it got, and how it misbehaves."""

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus


@dataclass
class Receiver:
    """Start with ``with``. Apprise sends to :attr:`apprise_url`.

    Attributes:
        status: of its responses.
        location: where it redirects to.
        delay: seconds until it responds.
        trickles: it sends its response byte by byte, for ever.
        received: the documents that it got, in order.
        bodies: what it got, with escapes resolved.
        begun: set when a request has come.
    """

    status: int = 200
    location: str = ""
    delay: float = 0
    trickles: bool = False
    received: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Receiver":
        self.is_ended = threading.Event()
        receiver = self

        class Handler(_Handler):
            it = receiver

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.is_ended.set()
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def apprise_url(self) -> str:
        """With a secret in each part that services use for one."""
        return f"json://user:canary-pass@127.0.0.1:{self.port}/canary-path?-token=canary-query"

    @property
    def titles(self) -> list[str]:
        return [document["title"] for document in self.received]


class _Handler(BaseHTTPRequestHandler):
    it: Receiver
    protocol_version = "HTTP/1.0"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.it.paths.append(self.path)
        self._respond()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        self.it.bodies.append(unquote_plus(body.encode().decode("unicode_escape")))
        with suppress(ValueError):  # a form
            self.it.received.append(json.loads(body))
        self.it.paths.append(self.path)
        self.it.begun.set()
        self.it.is_ended.wait(self.it.delay)
        with suppress(OSError):  # the client has given up
            self._respond()

    def _respond(self) -> None:
        self.send_response(self.it.status)
        if self.it.location:
            self.send_header("Location", self.it.location)
        if not self.it.trickles:
            self.end_headers()
            self.wfile.write(b"{}")
            return
        while not self.it.is_ended.is_set():
            self.wfile.write(b"X-Slow: 1\r\n")
            self.wfile.flush()
            time.sleep(0.2)
