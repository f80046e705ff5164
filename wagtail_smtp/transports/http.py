"""HTTP as the plugin speaks it: to guarded addresses, without proxies and redirects, bounded.

Only imported where django-anymail or the libraries of OAuth 2 are, which bring requests.
"""

import io
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
import urllib3
from django.views.decorators.debug import sensitive_variables
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from wagtail_smtp.transports import guard

#: Octets of an answer that are read.
MAX_ANSWER = 1024 * 1024
#: Octets that are read at a time, so that little is unpacked of what is packed to be huge.
_PIECE = 16 * 1024
#: What says how an answer travels, which is over once it is read and unpacked.
_OF_TRANSFER = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class Progress:
    """How far a request has come.

    Attributes:
        at: ``resolve``, ``connect``, ``tls``, ``request`` while it is written, ``reply`` once all
            of it was handed over, ``done`` once it was answered; empty: nothing began.
        error: what went wrong while connecting.
        addresses: those of the server that may be connected to.
    """

    def __init__(self) -> None:
        self.begin()
        self.addresses: list[guard.Address] = []
        self.sock: Any = None

    def begin(self) -> None:
        """Another request."""
        self.at = ""
        self.error: Exception | None = None


class _Guarded:
    """A connection to an address that was resolved once and checked."""

    adapter: "Adapter"
    _reached: socket.socket

    @property
    def progress(self) -> Progress:
        return self.adapter.progress

    def _new_conn(self) -> socket.socket:
        return self._reached

    def connect(self) -> None:
        """Resolve, then connect and encrypt at the first address where both work."""
        progress, connection = self.progress, self
        host, port = connection.host, connection.port  # type: ignore[attr-defined]
        try:
            progress.at = "resolve"
            left = self.adapter.left()
            progress.addresses = guard.resolve(
                host, port, within=None if left == math.inf else left
            )
            progress.at = "connect"
            # Twice that for all addresses.
            seconds = min(self.adapter.seconds, self.adapter.left() / 2)
            guard.open_first(progress.addresses, seconds, self._use)
        except Exception as error:
            progress.error = error
            if progress.at == "tls":
                raise
            raise NewConnectionError(self, str(error)) from error  # type: ignore[arg-type]

    def _use(self, sock: socket.socket) -> None:
        """Let urllib3 go on with a socket that is connected."""
        self.progress.at = "tls"
        self.progress.sock = self._reached = sock
        super().connect()  # type: ignore[misc]
        self.progress.sock = self.sock  # type: ignore[attr-defined]
        self.sock.settimeout(self.adapter.seconds)  # type: ignore[attr-defined]

    def request(self, *args: Any, **kwargs: Any) -> None:
        if getattr(self, "sock", None) is None:
            self.connect()
        self.progress.at = "request"
        super().request(*args, **kwargs)  # type: ignore[misc]
        self.progress.at = "reply"


def _pools(adapter: "Adapter") -> Mapping[str, type[HTTPConnectionPool]]:
    """Pools whose connections tell the adapter how far they are."""
    values = {"adapter": adapter}
    plain = type("_Plain", (_Guarded, HTTPConnection), values)
    encrypted = type("_Encrypted", (_Guarded, HTTPSConnection), values)
    return {
        "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_EncryptedPool", (HTTPSConnectionPool,), {"ConnectionCls": encrypted}),
    }


class Adapter(HTTPAdapter):
    """Sends requests over guarded connections. Used by one thread at a time.

    Args:
        context: how certificates are checked.
        seconds: to wait for each address while connecting.

    Attributes:
        patience: seconds to wait for an answer.
        until: monotonic time by which all must be done, name servers included; infinite: there
            is none.
    """

    def __init__(self, context: ssl.SSLContext, seconds: float) -> None:
        self.progress = Progress()
        self.patience = seconds
        self.until = math.inf
        self.seconds = seconds
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = dict(_pools(self))

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        """Ours, so that nothing loads other certificates into the context."""
        host, _pool = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._context}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """The context does so; requests would add its own authorities."""

    @sensitive_variables()
    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request and read its answer, of that no more than :data:`MAX_ANSWER`.

        Raises:
            requests.RequestException: :attr:`progress` says how far it came.
        """
        self.progress.begin()
        left = self.left()
        timeout = min(self.seconds, left), min(self.patience, left)
        kwargs |= {"stream": True, "proxies": {}, "timeout": timeout}
        with self._cut_after(min(self.patience + 3 * self.seconds, left)):
            answer = self._read(request, super().send(request, *args, **kwargs))
        self.progress.at = "done"
        return answer

    def left(self) -> float:
        """Seconds until nothing is waited for; never 0, which would mean not to wait."""
        return max(self.until - time.monotonic(), 0.001)

    def _read(self, request: Any, response: requests.Response) -> requests.Response:
        """The answer, its content read and bounded."""
        raw, content = response.raw, b""
        try:
            while len(content) <= MAX_ANSWER:
                piece = raw.read(_PIECE, decode_content=True)
                if not piece:
                    break
                content += piece
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise requests.ConnectionError(error, request=request) from error
        if len(content) > MAX_ANSWER:
            raw.close()
            content = content[:MAX_ANSWER]
        raw.release_conn()
        headers = {k: v for k, v in raw.headers.items() if k.lower() not in _OF_TRANSFER}
        whole = urllib3.HTTPResponse(
            io.BytesIO(content),
            headers=headers,
            status=raw.status,
            reason=raw.reason,
            preload_content=False,
        )
        return self.build_response(request, whole)

    @contextmanager
    def _cut_after(self, seconds: float) -> Iterator[None]:
        """End the connection of a server that answers without end, however slowly."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        try:
            self.progress.sock.shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):
            return  # not open any more

    def forget(self) -> None:
        """Close the connection; the next request opens another."""
        self.poolmanager.clear()


def guarded(session: requests.Session, adapter: Adapter) -> requests.Session:
    """Let a session send by ``adapter`` alone."""
    session.trust_env = False
    session.proxies = {}
    session.adapters.clear()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # The answer that points elsewhere is the answer: the key is not for others.
    session.get_redirect_target = lambda response: None  # type: ignore[method-assign]
    return session
