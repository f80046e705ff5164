"""An adapter for requests: allowed addresses only, no proxies or redirects, limited time and size.

Imported only if django-anymail or the OAuth 2 libraries are installed, which require requests.
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

#: Maximum size of a response, in bytes.
MAX_RESPONSE = 1024 * 1024
#: Bytes to decompress at a time, so that a decompression bomb is noticed early.
_CHUNK = 16 * 1024
#: Headers about the transfer, which no longer apply once the response is read and decompressed.
_TRANSFER_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class Progress:
    """The stage that a request has reached.

    Attributes:
        at: ``resolve``, ``connect``, ``tls``, ``request`` while it is written, ``reply`` while
            waiting for the response, ``done``; empty before it starts.
        error: the error while connecting.
        addresses: the server's allowed addresses.
    """

    def __init__(self) -> None:
        self.begin()
        self.addresses: list[guard.Address] = []
        self.sock: Any = None

    def begin(self) -> None:
        """Start over for a new request."""
        self.at = ""
        self.error: Exception | None = None


class _Guarded:
    """Mixin for urllib3 connections: connects only to allowed addresses."""

    adapter: "Adapter"
    _connected: socket.socket

    @property
    def progress(self) -> Progress:
        return self.adapter.progress

    def _new_conn(self) -> socket.socket:
        return self._connected

    def connect(self) -> None:
        """Resolve the host, then connect and encrypt at the first address where both work."""
        progress, connection = self.progress, self
        host, port = connection.host, connection.port  # type: ignore[attr-defined]
        try:
            progress.at = "resolve"
            left = self.adapter.left()
            progress.addresses = guard.resolve(
                host, port, within=None if left == math.inf else left
            )
            progress.at = "connect"
            # All addresses together may take twice as long.
            seconds = min(self.adapter.seconds, self.adapter.left() / 2)
            guard.open_first(progress.addresses, seconds, self._use)
        except Exception as error:
            progress.error = error
            if progress.at == "tls":
                raise
            raise NewConnectionError(self, str(error)) from error  # type: ignore[arg-type]

    def _use(self, sock: socket.socket) -> None:
        """Let urllib3 continue with a connected socket."""
        self.progress.at = "tls"
        self.progress.sock = self._connected = sock
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
    """Connection pools by scheme whose connections update the adapter's progress."""
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
        context: verifies certificates.
        seconds: to wait for each address while connecting.

    Attributes:
        reply_timeout: seconds to wait for a response.
        until: deadline for everything, DNS lookups included (monotonic time); infinite: none.
    """

    def __init__(self, context: ssl.SSLContext, seconds: float) -> None:
        self.progress = Progress()
        self.reply_timeout = seconds
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
        """Use our context, so that requests doesn't load other certificates into it."""
        host, _pool = super().build_connection_pool_key_attributes(request, True, None)
        return host, {"ssl_context": self._context}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing, so that requests adds no authorities; the context verifies certificates."""

    @sensitive_variables()
    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request and read at most :data:`MAX_RESPONSE` bytes of the response.

        Raises:
            requests.RequestException: see :attr:`progress` for the stage.
        """
        self.progress.begin()
        left = self.left()
        timeout = min(self.seconds, left), min(self.reply_timeout, left)
        kwargs |= {"stream": True, "proxies": {}, "timeout": timeout}
        with self._cut_after(min(self.reply_timeout + 3 * self.seconds, left)):
            response = self._read(request, super().send(request, *args, **kwargs))
        self.progress.at = "done"
        return response

    def left(self) -> float:
        """Seconds until the deadline; never 0, which would mean a non-blocking socket."""
        return max(self.until - time.monotonic(), 0.001)

    def _read(self, request: Any, response: requests.Response) -> requests.Response:
        """Read the response, up to the maximum size."""
        raw, content = response.raw, b""
        try:
            while len(content) <= MAX_RESPONSE:
                piece = raw.read(_CHUNK, decode_content=True)
                if not piece:
                    break
                content += piece
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise requests.ConnectionError(error, request=request) from error
        if len(content) > MAX_RESPONSE:
            raw.close()
            content = content[:MAX_RESPONSE]
        raw.release_conn()
        headers = {k: v for k, v in raw.headers.items() if k.lower() not in _TRANSFER_HEADERS}
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
        """Close the connection if the response takes longer, however slowly it arrives."""
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
            return  # already closed

    def forget(self) -> None:
        """Close the connection; the next request opens a new one."""
        self.poolmanager.clear()


def guarded(session: requests.Session, adapter: Adapter) -> requests.Session:
    """Make ``session`` send everything through ``adapter``."""
    session.trust_env = False
    session.proxies = {}
    session.adapters.clear()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    # Don't follow redirects: another server must not get the key.
    session.get_redirect_target = lambda response: None  # type: ignore[method-assign]
    return session
