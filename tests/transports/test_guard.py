"""Where the plugin connects to, and what it insists on when it does."""

import contextlib
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import trustme
from django.core.mail import send_mail

from tests.support.servers.smtp_server import SMTPServer, free_port
from wagtail_smtp.exceptions import DestinationRefused, MessageDeferred
from wagtail_smtp.transports import guard

# aiosmtpd advises TLS for AUTH; ours is TLS from the first byte, or meant to do without.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

METADATA = [
    *("169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("fd00:ec2::254", "fd00:ec2::253", "fd20:ce::254", "fd20:ce::1", "fd00:c1::a9fe:a9fe"),
    *("fd00:42::42", "fd00:a9fe:a9fe::1"),
]
MAPPED = [
    "::ffff:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    # NAT64 of one's own (RFC 8215), by each length of a prefix in RFC 6052 that fits.
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b:1:a9:fe:a9fe::",
    "64:ff9b:1::a9:fea9:fe00:0",
    "64:ff9b:1::169.254.169.254",
    "64:ff9b:1:abcd::169.254.169.254",
    # ISATAP (RFC 5214)
    "2001:4860::5efe:169.254.169.254",
    "2001:4860::200:5efe:169.254.169.254",
    "::ffff:168.63.129.16",
]


@pytest.mark.threat(10)
@pytest.mark.parametrize("any_port", [False, True])
@pytest.mark.parametrize("port", [25, 587, 8025])
@pytest.mark.parametrize(
    "address",
    [*METADATA, *MAPPED, "fe80::1", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "ff02::1"],
)
def test_never_connected_to(settings, address, port, any_port):
    settings.WAGTAIL_SMTP = {"ALLOWED_NETWORKS": ["0.0.0.0/0", "::/0"]}
    assert not guard.is_allowed(address, port, any_port=any_port)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "10.0.0.5", "192.168.1.1", "fd12::1", "fec0::5"),
        # The second one means a public address, wherever the IPv4 address is in it.
        *("64:ff9b:1:7::808:808", "64:ff9b:1:808:808:808:808:808"),
    ],
)
def test_internal_servers_on_mail_ports_or_by_permission(settings, address):
    settings.WAGTAIL_SMTP = {}
    assert all(guard.is_allowed(address, port) for port in (25, 465, 587, 2525))
    assert not guard.is_allowed(address, 8025)
    assert not guard.is_allowed(address, 6379)
    assert guard.is_allowed(address, 8025, any_port=True)
    settings.WAGTAIL_SMTP = {"ALLOWED_NETWORKS": [address]}
    assert guard.is_allowed(address, 8025)


@pytest.mark.parametrize(
    "address",
    [
        *("::ffff:10.0.0.5", "64:ff9b::10.0.0.5", "2002:a00:5::1", "::ffff:0:10.0.0.5"),
        *("64:ff9b:1::10.0.0.5", "64:ff9b:1:a00:0:500::", "2001:4860::5efe:10.0.0.5"),
    ],
)
def test_internal_addresses_in_disguise(settings, address):
    settings.WAGTAIL_SMTP = {}
    assert not guard.is_allowed(address, 6379)
    settings.WAGTAIL_SMTP = {"ALLOWED_NETWORKS": ["10.0.1.0/24"]}
    assert not guard.is_allowed(address, 6379)
    settings.WAGTAIL_SMTP = {"ALLOWED_NETWORKS": [address]}
    assert guard.is_allowed(address, 6379)


def test_a_network_allows_its_addresses_in_disguise(settings):
    settings.WAGTAIL_SMTP = {"ALLOWED_NETWORKS": ["10.0.0.0/24"]}
    assert guard.is_allowed("::ffff:10.0.0.5", 6379)
    assert guard.is_allowed("64:ff9b::10.0.0.5", 6379)
    # It may mean 10.0.0.5, and 192.168.0.1 too.
    assert not guard.is_allowed("64:ff9b:1:a00:0:500:c0a8:1", 6379)


def test_public_addresses_on_any_port(settings):
    settings.WAGTAIL_SMTP = {}
    assert guard.is_allowed("8.8.8.8", 8025)
    assert guard.is_allowed("2606:4700::1111", 8025)


@pytest.mark.threat(10)
def test_a_set_that_points_at_an_internal_port_is_refused(smtp_server, make_set, reload, settings):
    make_set(smtp_server)
    reload()
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ALLOWED_NETWORKS": []}
    with pytest.raises(DestinationRefused):
        send_mail("Hi", "Body", None, ["real@example.org"])
    assert smtp_server.logins == []


# TLS


def _fails(phase):
    with pytest.raises(MessageDeferred) as caught:
        send_mail("Hi", "Body", None, ["real@example.org"])
    assert caught.value.phase == phase
    return caught.value


@pytest.mark.parametrize("encryption", ["starttls", "ssl", "none"])
def test_each_encryption_delivers(make_set, reload, encryption):
    with SMTPServer(encryption=encryption, auth=True) as server:
        make_set(server)
        reload()
        assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1
        assert server.logins == [(server.username, server.password)]
        assert len(server.received) == 1


@pytest.mark.threat(17)
def test_a_server_without_starttls_is_refused(make_set, reload):
    with SMTPServer(encryption="none") as server:
        make_set(server, encryption="starttls")
        reload()
        _fails("starttls")
        assert server.logins == []
        assert server.received == []


@pytest.mark.parametrize("encryption", ["starttls", "ssl"])
def test_a_certificate_of_another_authority_is_refused(make_set, reload, encryption):
    with SMTPServer(encryption=encryption) as server:
        make_set(server, ca_certificates=trustme.CA().cert_pem.bytes().decode())
        reload()
        _fails("tls")
        assert server.logins == []


def test_a_certificate_of_no_public_authority_is_refused(make_set, reload):
    with SMTPServer() as server:
        make_set(server, ca_certificates="")
        reload()
        _fails("tls")
        assert server.logins == []


def test_a_certificate_for_another_name_is_refused(make_set, reload):
    with SMTPServer() as server:
        # The certificate is for localhost and 127.0.0.1.
        make_set(server, host="127.0.0.2")
        reload()
        # The server listens on 127.0.0.1 alone, so a relay stands in the middle.
        with _relay("127.0.0.2", server.port):
            _fails("tls")
        assert server.logins == []


@contextmanager
def _relay(host, port):
    """Passes what arrives at ``host`` on to 127.0.0.1."""
    listener = socket.create_server((host, port))

    def copy(source, target):
        try:
            while data := source.recv(4096):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve():
        try:
            near, _ = listener.accept()
        except OSError:
            return
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            back = threading.Thread(target=copy, args=(far, near))
            back.start()
            copy(near, far)
            back.join(5)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join(5)
        listener.close()


@contextmanager
def scripted(*replies):
    """A server that greets, then answers each line with the next reply; None hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))
    lines = []

    def serve():
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as file:
            connection.sendall(b"220 ready\r\n")
            for reply in replies:
                line = file.readline()
                lines.append(line)
                if not line or reply is None:
                    return
                connection.sendall(reply)
            file.read()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], lines
    finally:
        listener.close()
        thread.join(5)


@pytest.mark.threat(17)
def test_replies_ahead_of_the_handshake_are_refused(make_set, reload):
    injected = b"220 go ahead\r\n250 injected\r\n"
    with scripted(b"250-x\r\n250 STARTTLS\r\n", injected) as (port, lines):
        make_set(port=port, encryption="starttls")
        reload()
        _fails("starttls")
    assert not any(line.startswith(b"AUTH") for line in lines)


def test_nobody_listens(make_set, reload):
    make_set(port=free_port())
    reload()
    assert _fails("connect").retry_is_safe


def test_a_host_with_many_silent_addresses_is_given_up_after_twice_the_timeout(monkeypatch):
    # The queue of a listening socket that nobody accepts from fills up; then it is silent.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        port = silent.getsockname()[1]
        found = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
        with contextlib.ExitStack() as full:
            for _ in range(3):
                filler = full.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found * 20)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                guard.open_first(guard.resolve("mail.example.com", port), 0.2, lambda sock: sock)
    assert time.monotonic() - began < 3  # each address in turn would take 4 seconds
