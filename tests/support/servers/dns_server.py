"""An authoritative DNS server on loopback, UDP and TCP, with right, wrong and hostile answers."""

import contextlib
import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset

#: Records by name and type; a name without any doesn't exist.
Zone = Mapping[str, Mapping[str, list[str]]]
#: Return the datagrams, or the bytes of a TCP connection in parts, with pauses as numbers.
Fault = Callable[[dns.message.Message, dns.message.Message, bool], Iterator[bytes | float]]


def txt(*texts: str) -> list[str]:
    """TXT records, each split into strings of 250 characters as long keys are."""
    parts = ([text[i : i + 250] for i in range(0, len(text), 250)] for text in texts)
    return [" ".join(f'"{part}"' for part in each) for each in parts]


def _sockets_on_one_port() -> tuple[socket.socket, socket.socket]:
    """One for UDP, a listening one for TCP. What is free for UDP may be in use for TCP."""
    for _ in range(100):
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        udp.bind(("127.0.0.1", 0))
        try:
            tcp.bind(udp.getsockname())
            # Binding may succeed while another socket on the port isn't listening yet.
            tcp.listen(64)
        except OSError as error:
            udp.close()
            tcp.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return udp, tcp
    raise RuntimeError("No port is free for both UDP and TCP.")


class DNSServer:
    """Start with ``with``. ``zone`` and ``faults`` (by name, or ``*``) may be replaced any time.

    Attributes:
        asked: name, type and protocol of every query.
    """

    def __init__(self, zone: Zone | None = None) -> None:
        self.zone: Zone = zone or {}
        self.faults: dict[str, Fault] = {}
        self.asked: list[tuple[str, str, str]] = []

    @property
    def address(self) -> str:
        """What ``DNS_SERVERS`` contains."""
        return f"127.0.0.1:{self._udp.getsockname()[1]}"

    def __enter__(self) -> "DNSServer":
        self._udp, self._tcp = _sockets_on_one_port()
        self._stopped = threading.Event()
        for each in (self._udp, self._tcp):
            each.settimeout(0.1)
        self._threads = [
            threading.Thread(target=run) for run in (self._answer_datagrams, self._accept)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _answer_datagrams(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                data, peer = self._udp.recvfrom(4096)
                for part in self._parts(data, is_tcp=False):
                    if isinstance(part, bytes):
                        self._udp.sendto(part, peer)
                    else:
                        self._stopped.wait(part)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _peer = self._tcp.accept()
                thread = threading.Thread(target=self._answer_connection, args=[connection])
                self._threads.append(thread)
                thread.start()

    def _answer_connection(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with connection, contextlib.suppress(OSError, struct.error):
            (length,) = struct.unpack("!H", connection.recv(2))
            for part in self._parts(connection.recv(length), is_tcp=True):
                if isinstance(part, bytes):
                    connection.sendall(part)
                else:
                    self._stopped.wait(part)

    def _parts(self, data: bytes, *, is_tcp: bool) -> Iterator[bytes | float]:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        kind = query.question[0].rdtype.name
        self.asked.append((name, kind, "tcp" if is_tcp else "udp"))
        response = self._response(query, name, kind)
        fault = self.faults.get(name) or self.faults.get("*") or honest
        return fault(query, response, is_tcp)

    def _response(self, query: dns.message.Message, name: str, kind: str) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        for _ in range(20):
            if name not in self.zone:
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            known = self.zone[name]
            found = kind if kind in known else "CNAME"
            if found not in known:
                break
            rrset = dns.rrset.from_text(f"{name}.", 300, "IN", found, *known[found])
            response.answer.append(rrset)
            if found == kind:
                break
            name = known["CNAME"][0].rstrip(".")
        return response


def framed(wire: bytes, is_tcp: bool) -> bytes:
    """Add the length that TCP needs."""
    return struct.pack("!H", len(wire)) + wire if is_tcp else wire


def honest(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Answer correctly; over UDP, truncate what is too long."""
    wire = response.to_wire(max_size=65535)
    if not is_tcp and len(wire) > 1232:
        yield from truncated(query, response, is_tcp)
    else:
        yield framed(wire, is_tcp)


def silent(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Never answer; keep a TCP connection open."""
    if is_tcp:
        yield 10.0


def truncated(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Set the flag for a truncated answer, over TCP too."""
    short = dns.message.make_response(query)
    short.flags |= dns.flags.TC
    yield framed(short.to_wire(), is_tcp)


def only_over_udp_truncated(fault: Fault) -> Fault:
    """Make the client come by TCP, and do the worst there."""

    def answer(
        query: dns.message.Message, response: dns.message.Message, is_tcp: bool
    ) -> Iterator[bytes | float]:
        return (fault if is_tcp else truncated)(query, response, is_tcp)

    return answer


def wrong_id(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Answer another query."""
    response.id ^= 1
    yield from honest(query, response, is_tcp)


def other_question(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Answer a question that was not asked."""
    response.question[0].name = dns.name.from_text("evil.example.")
    yield from honest(query, response, is_tcp)


def other_name(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Answer the question with another name's records."""
    for rrset in response.answer:
        rrset.name = dns.name.from_text("evil.example.")
    response.set_rcode(dns.rcode.NOERROR)
    yield from honest(query, response, is_tcp)


def failing(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Answer SERVFAIL."""
    failure = dns.message.make_response(query)
    failure.set_rcode(dns.rcode.SERVFAIL)
    yield from honest(query, failure, is_tcp)


def garbage(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Answer with the right header and nonsense after it."""
    yield framed(response.to_wire()[:12] + b"\xc0\x0c\xff" * 20, is_tcp)


def flood(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Send the longest answer there is, a megabyte of them: 250 TXT records of 250 bytes each."""
    names = query.question[0].name
    texts = [f'"{number:03}{"x" * 240}"' for number in range(250)]
    response.answer = [dns.rrset.from_text(names, 300, "IN", "TXT", *texts)]
    wire = response.to_wire(max_size=65535)
    for _ in range(16 if is_tcp else 1):
        yield framed(wire, is_tcp)


def drip(
    query: dns.message.Message, response: dns.message.Message, is_tcp: bool
) -> Iterator[bytes | float]:
    """Announce a long answer, and send a byte now and then."""
    yield struct.pack("!H", 65535)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        yield b"\0"
        yield 0.1
