"""HTTP for OAuth 2: one session with one host, over the guard, bounded in time and size.

Nothing of the environment counts (no proxies, no netrc), and no redirect is followed: what is
posted here are secrets.
"""

import contextlib
import socket
import ssl
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

from wagtail_smtp.exceptions import DestinationRefused
from wagtail_smtp.oauth import is_loopback
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.grants import LONGEST

#: Octets of an answer.
MOST = 256 * 1024


class _Doing(threading.local):
    """What this thread's request opens: libraries make the connections, not we."""

    session: "Session | None" = None


_doing = _Doing()


def _open(connection: Any) -> socket.socket:
    session = _doing.session
    assert session is not None, "only Session.send() opens connections"
    try:
        return session.connect(connection.host, connection.port)
    except (OSError, UnicodeError) as error:
        session.failure = error
        raise NewConnectionError(connection, str(error)) from error


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _open(self)


class _EncryptedConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _open(self)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _EncryptedConnection


class _Adapter(HTTPAdapter):
    def __init__(self, ca_certificates: str) -> None:
        self._context = ssl.create_default_context()
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        if ca_certificates:
            self._context.load_verify_locations(cadata=ca_certificates)
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _EncryptedPool}

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        if host["scheme"] == "https":
            pool["ssl_context"] = self._context
        return host, pool


class Session(requests.Session):
    """For the libraries that speak the protocol; to be closed.

    Args:
        url: whose host and port are the only ones that are talked to.
        ca_certificates: of a private authority, besides the system's, in PEM format.
    """

    def __init__(self, url: str, ca_certificates: str = "") -> None:
        super().__init__()
        self.trust_env = False
        self.failure: Exception | None = None
        self._origin = _origin(url)
        self._guarded = _Adapter(ca_certificates)
        self._deadline = time.monotonic() + LONGEST
        self._sockets: list[socket.socket] = []

    def get_adapter(self, url: str | bytes) -> _Adapter:  # type: ignore[override]
        """The guarded one, whatever a library may have mounted."""
        return self._guarded

    def connect(self, host: str, port: int) -> socket.socket:
        """Open a connection to an address that the guard allows.

        Raises:
            DestinationRefused: no address of the host may be connected to.
            OSError: none answers in time.
        """
        left = max(self._deadline - time.monotonic(), 0.001)
        sock = guard.connect(guard.resolve(host, port), left / 2)
        # TLS takes the descriptor over; the copy stays ours, to end the connection by.
        self._sockets.append(sock.dup())
        return sock

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request, and read its whole answer.

        Raises:
            DestinationRefused: it goes elsewhere, or would not be encrypted.
            requests.RequestException: no answer, one too late, or one too large.
        """
        scheme, host, _port = origin = _origin(request.url or "")
        if origin != self._origin or not (scheme == "https" or is_loopback(host)):
            raise DestinationRefused(f"OAuth 2 sends nothing to {scheme}://{host}.")
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise requests.Timeout("The identity provider took too long.")
        kwargs |= {"allow_redirects": False, "stream": True, "timeout": left}
        kwargs |= {"verify": True, "cert": None, "proxies": {}}
        # The time-out of a socket is one for each read; who sends byte by byte would never end.
        cutting = threading.Timer(left, self._cut)
        cutting.daemon = True
        cutting.start()
        _doing.session = self
        try:
            return self._read(super().send(request, **kwargs))
        except requests.ConnectionError:
            if isinstance(self.failure, DestinationRefused):
                raise self.failure from None
            raise
        finally:
            _doing.session = None
            cutting.cancel()

    def _read(self, response: requests.Response) -> requests.Response:
        content = b""
        for chunk in response.iter_content(16 * 1024):
            content += chunk
            if len(content) > MOST:
                response.close()
                raise requests.RequestException("The identity provider's answer is too long.")
        response._content = content
        return response

    def _cut(self) -> None:
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self._guarded.close()
        for sock in self._sockets:
            sock.close()


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    ports = {"https": 443, "http": 80}
    return parts.scheme, (parts.hostname or "").lower(), parts.port or ports.get(parts.scheme)
