"""Connect only to allowed addresses: resolve a host once, check the addresses, connect to those.

This prevents server-side request forgery: a host name entered in the admin must not give
access to the site's internal network. Only :mod:`~wagtail_smtp.transports.name_servers` connects
without it.
"""

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import ascii_host
from wagtail_smtp.exceptions import DestinationRefused

#: Ports on which loopback and private servers are allowed without ALLOWED_NETWORKS.
MAIL_PORTS = frozenset({25, 465, 587, 2525})

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Metadata services outside the link-local ranges: Alibaba, Azure, Oracle, AWS, Google,
#: Oracle, Scaleway and Linode. The IPv6 networks include neighbours such as AWS' name servers.
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
#: Prefixes of IPv6 addresses that end with an IPv4 address: IPv4-compatible (RFC 4291),
#: IPv4-translated (RFC 2765) and NAT64 (RFC 6052).
_BEFORE_IPV4 = tuple(
    ipaddress.IPv6Network(text) for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
#: Local NAT64 (RFC 8215): the IPv4 address may be at any position that RFC 6052 defines.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_IPV4_POSITIONS = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
#: The bytes before the IPv4 address in an ISATAP interface identifier (RFC 5214 6.1).
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))


#: One result of getaddrinfo.
Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


def resolve(
    host: str,
    port: int,
    *,
    any_port: bool = False,
    ports: Collection[int] = MAIL_PORTS,
    within: float | None = None,
) -> list[Address]:
    """Return the allowed addresses of ``host``, as getaddrinfo returns them.

    Args:
        any_port: allow any port, because a developer named the host in the project's settings.
            Metadata and link-local addresses are refused anyway.
        ports: on which loopback and private servers are allowed without ALLOWED_NETWORKS.
        within: seconds to wait for name servers; None: the system's limit.

    Raises:
        DestinationRefused: none of the host's addresses is allowed.
        OSError: the name can't be resolved.
    """
    found = _look_up(ascii_host(host), port, within)
    allowed: list[Address] = [
        item for item in found if is_allowed(item[4][0], port, any_port=any_port, ports=ports)
    ]
    if not allowed:
        raise DestinationRefused(
            f"Connecting to {host} on port {port} is not allowed. A developer can allow "
            "internal servers with WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        )
    return allowed


def ip_addresses(addresses: Sequence[Address]) -> tuple[str, ...]:
    """The IP addresses among them, each once."""
    return tuple(dict.fromkeys(address[4][0] for address in addresses))


def _look_up(host: str, port: int, within: float | None) -> list[Address]:
    found: Any
    if within is None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(found)
    # The system's resolver can't be interrupted, so it runs in a thread that may be abandoned.
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            results.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            results.put(error)

    try:
        threading.Thread(target=ask, name="wagtail-smtp-resolve", daemon=True).start()
    except RuntimeError as error:
        # Too many threads: as temporary as a name server that doesn't respond.
        raise socket.gaierror(
            socket.EAI_AGAIN, f"could not start the DNS lookup: {error}"
        ) from error
    try:
        found = results.get(timeout=within)
    except queue.Empty:
        raise socket.gaierror(socket.EAI_AGAIN, "name servers answered too late") from None
    if isinstance(found, Exception):
        raise found
    return list(found)


T = TypeVar("T")


def open_first(
    addresses: Sequence[Address], timeout: float, use: Callable[[socket.socket], T]
) -> T:
    """Return the result of ``use`` for the first address that works.

    Args:
        addresses: from :func:`resolve`; they are not resolved again.
        timeout: seconds to wait for one address; all together may take twice as long. Also the
            socket's timeout while ``use`` runs, unless other addresses need some of the time.
        use: called with the connected socket; proves that the address works, for example by a
            TLS handshake. If it raises, the socket is closed and the next address is tried.

    Raises:
        OSError: no address works; the error is from the address that got furthest.
    """
    failure: Exception | None = None
    for address, until in with_deadlines(addresses, timeout):
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
        del failure  # its traceback refers to this frame


def with_deadlines(addresses: Sequence[Address], timeout: float) -> Iterator[tuple[Address, float]]:
    """Yield each address with its deadline (monotonic time).

    All together take at most twice the timeout. Each gets an equal share of the time left, so
    that an address that never responds leaves time for the next.
    """
    deadline = time.monotonic() + 2 * timeout
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        now = time.monotonic()
        yield address, now + max(deadline - now, 0.001) / left


def connect(address: Address, until: float, timeout: float) -> socket.socket:
    """Open a TCP connection to one address.

    Args:
        until: the deadline for this address (monotonic time); half of the time left is for
            connecting.
        timeout: the socket's timeout afterwards.

    Raises:
        OSError: it doesn't respond, or this machine has no route to it.
    """
    family, kind, protocol, _name, target = address
    sock = socket.socket(family, kind, protocol)
    try:
        # Never 0: that would make the socket non-blocking.
        sock.settimeout(max(until - time.monotonic(), 0.002) / 2)
        sock.connect(target)
        sock.settimeout(timeout)
        # Without it, a TLS session stalls on larger bodies (smtplib never sets it).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def is_allowed(
    address: str | int,
    port: int,
    *,
    any_port: bool = False,
    ports: Collection[int] = MAIL_PORTS,
) -> bool:
    """Whether connecting to this IP address and port is allowed."""
    ip = ipaddress.ip_address(str(address).partition("%")[0])
    inner = _embedded(ip)
    candidates = [ip, *inner]
    if any(_is_never_allowed(candidate) for candidate in candidates):
        return False
    internal = [candidate for candidate in candidates if _is_internal(candidate)]
    if any_port or not internal or port in ports:
        return True
    # An address with embedded addresses is only allowed if all of them are.
    needed = [candidate for candidate in inner if candidate in internal] or [ip]
    return _is_listed(ip) or all(map(_is_listed, needed))


def _embedded(ip: IPAddress) -> list[IPAddress]:
    """The IPv4 addresses that are, or may be, embedded in an IPv6 address."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    # RFC 4291 2.5.5.2, RFC 3056, RFC 4380
    inner: list[IPAddress | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    data = ip.packed
    if data[8:12] in _ISATAP or any(ip in network for network in _BEFORE_IPV4):
        inner.append(ipaddress.IPv4Address(data[12:]))
    if ip in _LOCAL_NAT64:
        inner += [ipaddress.IPv4Address(bytes(data[i] for i in place)) for place in _IPV4_POSITIONS]
    return [item for item in inner if item is not None and int(item) > 1]


def _is_never_allowed(ip: IPAddress) -> bool:
    is_metadata = any(ip in network for network in _METADATA)
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified or is_metadata


def _is_internal(ip: IPAddress) -> bool:
    # Python treats fec0::/10 as global; older versions also 64:ff9b:1::/48.
    is_site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    return not ip.is_global or is_site_local or ip in _LOCAL_NAT64


def _is_listed(ip: IPAddress) -> bool:
    return any(ip.version == n.version and ip in n for n in conf.ALLOWED_NETWORKS)
