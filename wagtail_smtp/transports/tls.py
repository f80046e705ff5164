"""TLS contexts that verify certificates."""

import errno
import ssl
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from wagtail_smtp.exceptions import TransportUnavailable


class _Socket(ssl.SSLSocket):
    """Is closed if the server resets the connection just before the handshake.

    Python before 3.13 then raises an error and leaves the socket open until its traceback is gone.
    """

    def getpeername(self) -> Any:
        """Return the server's address. This is the first thing that ``wrap_socket()`` asks for."""
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer") from error


#: The contexts in use, by protocol and authorities. Each takes time to create and about 0.6 MB.
#: Mail servers get their own: urllib3 changes its context, for example to use ALPN.
_in_use: "weakref.WeakValueDictionary[tuple[str, str], ssl.SSLContext]"
_in_use = weakref.WeakValueDictionary()
#: The context used last, by protocol. A reload closes all transports before it creates others; the
#: same authorities are not loaded again then.
_latest: dict[str, ssl.SSLContext] = {}


def shared_context(use: Literal["smtp", "http"], ca_certificates: str) -> ssl.SSLContext:
    """Return the context that all transports with the same authorities share.

    Raises:
        TransportUnavailable: the context can't be created; no connection was made.
    """
    context = _in_use.get((use, ca_certificates))
    if context is None:
        try:
            context = _in_use[use, ca_certificates] = ssl_context(ca_certificates)
        except (OSError, ValueError) as error:
            raise TransportUnavailable(
                f"This process can't set up TLS: {error}", phase="tls"
            ) from error
    _latest[use] = context
    return context


def ssl_context(ca_certificates: str) -> ssl.SSLContext:
    """Return a context that verifies certificate and host name.

    Args:
        ca_certificates: authorities to trust, in PEM format; empty: the system's.

    Raises:
        ssl.SSLError, ValueError: not valid PEM.
    """
    context = ssl.create_default_context(cadata=ca_certificates or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    if ca_certificates:
        trust_as_given(context)
    return context


def trust_as_given(context: ssl.SSLContext) -> None:
    """Trust entered certificates in the same way on every Python version.

    Python 3.13 began to refuse certificates that don't follow RFC 5280 strictly, as those of
    many private authorities, and to trust an intermediate authority without its root.
    """
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def certificate(sock: Any) -> dict[str, Any]:
    """Details of an encrypted connection's certificate."""
    found = sock.getpeercert() or {}
    issuer = dict(pair for part in found.get("issuer", ()) for pair in part)
    return {
        "issuer": issuer.get("organizationName") or issuer.get("commonName", ""),
        "expires": _moment(found["notAfter"]),
        "protocol": sock.version(),
    }


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, and when it was seen."""

    starts_at: datetime
    expires_at: datetime
    seen_at: datetime


#: Servers whose certificates a process remembers.
_REMEMBERED = 200
#: The certificates that servers presented last, by host and port: the time, and the validity as
#: text, because reading it takes longer than all the rest.
_seen: dict[tuple[str, int], tuple[float, str, str]] = {}


def remember(host: str, port: int, sock: Any) -> None:
    """Remember when the certificate of an encrypted connection is valid."""
    found = sock.getpeercert() or {}
    if "notAfter" in found and ((host, port) in _seen or len(_seen) < _REMEMBERED):
        _seen[host, port] = (
            time.time(),
            found.get("notBefore", found["notAfter"]),
            found["notAfter"],
        )


def remembered() -> Mapping[tuple[str, int], Validity]:
    """The validity of the certificates that this process saw last, by host and port."""
    return {
        server: Validity(_moment(starts), _moment(expires), datetime.fromtimestamp(at, UTC))
        for server, (at, starts, expires) in _seen.copy().items()
    }


def forget() -> None:
    """Forget all certificates, and the contexts that nothing uses; for tests."""
    _seen.clear()
    _latest.clear()
