"""Which addresses the plugin connects to: resolve once, check each, use that one.

A host name typed into the admin must not become a way to look around the network the
site runs in. Nothing else in the plugin opens a socket.
"""

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from wagtail_smtp.conf import conf
from wagtail_smtp.exceptions import DestinationRefused
from wagtail_smtp.validation import ascii_host

#: Ports on which loopback and private servers are allowed without ALLOWED_NETWORKS.
MAIL_PORTS = frozenset({25, 465, 587, 2525})

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Metadata services that lie outside the link-local ranges.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


#: One result of getaddrinfo.
Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


def resolve(
    host: str, port: int, *, any_port: bool = False, within: float | None = None
) -> list[Address]:
    """The allowed addresses of ``host``, as getaddrinfo gives them.

    Args:
        any_port: the host was named by a developer in the project's settings, so any
            port of it is fine. Metadata and link-local stay refused.
        within: seconds to wait for name servers; None: as long as the system does.

    Raises:
        DestinationRefused: every address of the host is one the plugin doesn't connect to.
        OSError: the name can't be resolved.
    """
    found = _look_up(ascii_host(host), port, within)
    allowed: list[Address] = [
        item for item in found if is_allowed(item[4][0], port, any_port=any_port)
    ]
    if not allowed:
        raise DestinationRefused(
            f"Connecting to {host} on port {port} is not allowed. A developer can allow "
            "internal servers with WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        )
    return allowed


def _look_up(host: str, port: int, within: float | None) -> list[Address]:
    found: Any
    if within is None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(found)
    # The system's resolver can't be interrupted, only left behind.
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="wagtail-smtp-resolve", daemon=True).start()
    try:
        found = answers.get(timeout=within)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answered in time") from None
    if isinstance(found, Exception):
        raise found
    return list(found)


def connect(addresses: Sequence[Address], timeout: float) -> socket.socket:
    """Open a TCP connection to the first of the addresses that answers.

    Args:
        addresses: from :func:`resolve`; they are not resolved again.
        timeout: seconds for each address, and twice that for all; stays the socket's timeout.

    Raises:
        OSError: none answers.
    """
    failure: OSError | None = None
    deadline = time.monotonic() + 2 * timeout
    for family, kind, protocol, _name, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            # Never 0, which would mean not to wait at all and to fail for another reason.
            sock.settimeout(min(timeout, max(deadline - time.monotonic(), 0.001)))
            sock.connect(address)
            sock.settimeout(timeout)
            # smtplib never sets it; without it a TLS session stalls on larger bodies.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            failure = error
            if time.monotonic() >= deadline:
                break
    assert failure is not None
    raise failure


def is_allowed(address: str | int, port: int, *, any_port: bool = False) -> bool:
    """Whether the plugin connects to this IP address on this port."""
    ip = ipaddress.ip_address(str(address).partition("%")[0])
    faces = [ip, *_embedded(ip)]
    if any(_is_never_allowed(face) for face in faces):
        return False
    if any_port or all(face.is_global for face in faces) or port in MAIL_PORTS:
        return True
    return any(
        face.version == network.version and face in network
        for network in conf.ALLOWED_NETWORKS
        for face in faces
    )


def _embedded(ip: IPAddress) -> list[IPAddress]:
    # An IPv4 address can hide in an IPv6 one (RFC 4291 2.5.5.2, RFC 3056, 4380, 6052).
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    inner: list[IPAddress | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64 or ip.packed[:12] == bytes(12):
        inner.append(ipaddress.IPv4Address(ip.packed[-4:]))
    return [item for item in inner if item is not None and int(item) > 1]


def _is_never_allowed(ip: IPAddress) -> bool:
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in _METADATA
