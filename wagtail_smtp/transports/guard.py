"""Which addresses the plugin connects to: resolve once, check each, use that one.

A host name typed into the admin must not become a way to look around the network the
site runs in. Nothing else in the plugin opens a socket.
"""

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_host
from wagtail_smtp.exceptions import DestinationRefused

#: Ports on which loopback and private servers are allowed without ALLOWED_NETWORKS.
MAIL_PORTS = frozenset({25, 465, 587, 2525})

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Metadata services outside the link-local ranges: Alibaba, Azure, Oracle, AWS, Google,
#: Oracle, Scaleway and Linode. Of IPv6 also what lies beside them, such as AWS' name servers.
_METADATA = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
        *(
            "fd00:ec2::/64",
            "fd20:ce::/64",
            "fd00:c1::/64",
            "fd00:42::42/128",
            "fd00:a9fe:a9fe::/64",
        ),
    )
)
#: Prefixes in front of an IPv4 address: IPv4-compatible (RFC 4291), IPv4-translated (RFC 2765)
#: and NAT64 (RFC 6052).
_BEFORE_IPV4 = tuple(
    ipaddress.IPv6Network(text) for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
#: NAT64 of one's own (RFC 8215): the IPv4 address may be in any place that RFC 6052 has for it.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_PLACES = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
#: What is in front of the IPv4 address in an interface of ISATAP (RFC 5214 6.1).
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))


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

    try:
        threading.Thread(target=ask, name="wagtail-smtp-resolve", daemon=True).start()
    except RuntimeError as error:
        # The process has too many: as passing as a name server that doesn't answer.
        raise socket.gaierror(socket.EAI_AGAIN, f"no name server was asked: {error}") from error
    try:
        found = answers.get(timeout=within)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answered in time") from None
    if isinstance(found, Exception):
        raise found
    return list(found)


T = TypeVar("T")


def open_first(
    addresses: Sequence[Address], timeout: float, use: Callable[[socket.socket], T]
) -> T:
    """What ``use`` makes of a connection to the first address where that works.

    Args:
        addresses: from :func:`resolve`; they are not resolved again.
        timeout: seconds to wait, and twice that for all; becomes the socket's timeout while
            ``use`` runs, or less where other addresses have to be left time for.
        use: does what is needed to know that the address works, such as TLS. It may fail with
            any error, and the socket is closed then.

    Raises:
        OSError: none works; the error is of the address that came furthest.
    """
    failure: Exception | None = None
    for address, until in turns(addresses, timeout):
        try:
            sock = connect(address, until, timeout)
        except OSError as error:
            failure = failure or error
            continue
        try:
            sock.settimeout(min(timeout, max(until - time.monotonic(), 0.001)))
            return use(sock)
        except BaseException as error:
            sock.close()
            if not isinstance(error, Exception):
                raise
            failure = error
    assert failure is not None
    try:
        raise failure
    finally:
        del failure  # its traceback has this frame


def turns(addresses: Sequence[Address], timeout: float) -> Iterator[tuple[Address, float]]:
    """Each address, with the monotonic time until which it may be tried.

    In all they take twice the timeout at most. Each has a fair share of what is left, so that
    one that never answers doesn't use up the time of the next.
    """
    deadline = time.monotonic() + 2 * timeout
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        now = time.monotonic()
        yield address, now + max(deadline - now, 0.001) / left


def connect(address: Address, until: float, timeout: float) -> socket.socket:
    """Open a TCP connection to one address.

    Args:
        until: the monotonic time until which the address may be tried; half of what is left
            is for connecting.
        timeout: the socket's timeout afterwards.

    Raises:
        OSError: it doesn't answer, or this machine has nothing to reach it with.
    """
    family, kind, protocol, _name, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        # Never 0, which would mean not to wait at all and to fail for another reason.
        sock.settimeout(max(until - time.monotonic(), 0.002) / 2)
        sock.connect(target)
        sock.settimeout(timeout)
        # smtplib never sets it; without it a TLS session stalls on larger bodies.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def is_allowed(address: str | int, port: int, *, any_port: bool = False) -> bool:
    """Whether the plugin connects to this IP address on this port."""
    ip = ipaddress.ip_address(str(address).partition("%")[0])
    inner = _embedded(ip)
    faces = [ip, *inner]
    if any(_is_never_allowed(face) for face in faces):
        return False
    internal = [face for face in faces if _is_internal(face)]
    if any_port or not internal or port in MAIL_PORTS:
        return True
    # What carries another address is allowed with each that it may carry.
    needed = [face for face in inner if face in internal] or [ip]
    return _is_listed(ip) or all(map(_is_listed, needed))


def _embedded(ip: IPAddress) -> list[IPAddress]:
    """The IPv4 addresses that an IPv6 one carries, or may carry."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    # RFC 4291 2.5.5.2, RFC 3056, RFC 4380
    inner: list[IPAddress | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    data = ip.packed
    if data[8:12] in _ISATAP or any(ip in network for network in _BEFORE_IPV4):
        inner.append(ipaddress.IPv4Address(data[12:]))
    if ip in _LOCAL_NAT64:
        inner += [ipaddress.IPv4Address(bytes(data[i] for i in place)) for place in _PLACES]
    return [item for item in inner if item is not None and int(item) > 1]


def _is_never_allowed(ip: IPAddress) -> bool:
    is_metadata = any(ip in network for network in _METADATA)
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified or is_metadata


def _is_internal(ip: IPAddress) -> bool:
    # Python counts fec0::/10 as global, and older ones count 64:ff9b:1::/48 so.
    is_site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return not ip.is_global or is_site_local or ip in _LOCAL_NAT64


def _is_listed(ip: IPAddress) -> bool:
    return any(ip.version == n.version and ip in n for n in conf.ALLOWED_NETWORKS)
