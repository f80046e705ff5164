"""Clients for the tests of the hostile server: smtplib's and plain sockets."""

import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.servers.hostile import HostileServer
from tests.support.servers.smtp_server import CA

MAIL = b"MAIL FROM:<a@example.com>\r\n"
RCPT = b"RCPT TO:<b@example.com>\r\n"


def tls() -> ssl.SSLContext:
    """A client's TLS that trusts the tests' authority."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


@contextmanager
def logged_in(server: HostileServer, *, log_in: bool = True) -> Iterator[smtplib.SMTP]:
    """smtplib's client."""
    to: dict[str, Any] = {
        "host": server.host,
        "port": server.port,
        "local_hostname": "client",
        "timeout": 5,
    }
    client = (
        smtplib.SMTP_SSL(**to, context=tls()) if server.encryption == "ssl" else smtplib.SMTP(**to)
    )
    with client:
        if server.encryption == "starttls":
            client.starttls(context=tls())
        if log_in:
            client.login(server.username, server.password)
        yield client


@contextmanager
def after_ehlo(server: HostileServer) -> Iterator[socket.socket]:
    """A plain socket behind EHLO."""
    with socket.create_connection((server.host, server.port), 5) as sock:
        read(sock, b"220 hostile.example ESMTP\r\n")
        sock.sendall(b"EHLO client\r\n")
        read(sock, b"STARTTLS\r\n" if server.encryption == "starttls" else b"8BITMIME\r\n")
        yield sock


def read(sock: socket.socket, end: bytes) -> bytes:
    """All up to ``end``, and nothing behind it."""
    data = b""
    while not data.endswith(end):
        more = sock.recv(4096)
        assert more, data
        data += more
    return data


def read_all(sock: socket.socket) -> bytes:
    """All until the server closes the connection."""
    data = b""
    while more := sock.recv(4096):
        data += more
    return data


def how_it_ends(sock: socket.socket) -> str:
    """``close``, ``reset``, or ``hang`` where nothing came in time."""
    try:
        read_all(sock)
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "hang"
    return "close"
