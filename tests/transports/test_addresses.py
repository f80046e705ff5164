"""A host with several addresses: what fails at one of them isn't the host's failure."""

import contextlib
import socket
import threading
import time
from typing import Any

import pytest
import requests
from django.core.mail import send_mail

from tests.support.servers.provider_server import Answer, ProviderServer
from tests.support.servers.smtp_server import CA_PEM, SMTPServer, server_context
from wagtail_smtp import tracking
from wagtail_smtp.diagnostics.check_set import try_set
from wagtail_smtp.exceptions import DestinationRefused, MessageDeferred
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.esp.catalog import ESPConfig
from wagtail_smtp.transports.esp.transport import AnymailTransport
from wagtail_smtp.transports.http import Adapter, guarded
from wagtail_smtp.transports.oauth import client
from wagtail_smtp.transports.tls import ssl_context

# aiosmtpd advises TLS for AUTH; ours is TLS from the first byte, or meant to do without.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

#: A family that no machine has: making the socket fails, as IPv6's does without IPv6.
NO_FAMILY = 1000


def found(host: str, port: int, family: int = socket.AF_INET) -> Any:
    """One result of getaddrinfo."""
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


@pytest.fixture
def lead_to(monkeypatch):
    """Let a name have these addresses: ``lead_to("dual.test", address, …)``."""
    known: dict[str, list[Any]] = {}
    real = socket.getaddrinfo
    asked = []

    def look_up(host, *args, **kwargs):
        if host in known:
            asked.append(host)
            return known[host]
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    def lead(name, *addresses):
        known[name] = list(addresses)
        return asked

    return lead


@contextlib.contextmanager
def bad_server(says, *, hangs=False):
    """A server that says this to everyone and hangs up, or keeps silent; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    held = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                sock, _address = listener.accept()
                held.append(sock)
                with contextlib.suppress(OSError):
                    sock.sendall(says)
                    if not hangs:
                        sock.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        listener.close()
        for sock in held:
            sock.close()


@contextlib.contextmanager
def refusing():
    """A port that nothing listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def blackhole():
    """A port that doesn't answer: the queue of its socket is full."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as silent,
        contextlib.ExitStack() as full,
    ):
        port = silent.getsockname()[1]
        for _ in range(3):
            filler = full.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


#: What may be wrong with an address; ``tls`` marks what only shows in a handshake.
BAD: dict[str, Any] = {
    "refused": refusing,
    "closed at once": lambda: bad_server(b""),
    "421": lambda: bad_server(b"421 4.3.2 too busy\r\n"),
    "554": lambda: bad_server(b"554 5.7.1 not from there\r\n"),
    "no SMTP": lambda: bad_server(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "never answers": blackhole,
    "never greets": lambda: bad_server(b"", hangs=True),
}


@pytest.mark.parametrize("encryption", ["none", "ssl", "starttls"])
@pytest.mark.parametrize("bad", BAD)
def test_the_next_address_is_tried(make_set, reload, lead_to, bad, encryption):
    with SMTPServer(encryption=encryption) as server, BAD[bad]() as port:
        lead_to("localhost", found("127.0.0.1", port), found("127.0.0.1", server.port))
        make_set(server, host="localhost", timeout=2)
        reload()
        assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1
        assert len(server.received) == 1


def test_an_address_that_no_socket_can_be_made_for(make_set, reload, lead_to):
    with SMTPServer() as server:
        asked = lead_to(
            "localhost", found("127.0.0.1", 1, NO_FAMILY), found("127.0.0.1", server.port)
        )
        make_set(server, host="localhost")
        reload()
        asked.clear()
        assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1
        assert len(server.received) == 1
    assert asked == ["localhost"]


def test_an_address_with_another_certificate(make_set, reload, lead_to):
    with SMTPServer(encryption="ssl") as server, _other_certificate() as port:
        lead_to("localhost", found("127.0.0.1", port), found("127.0.0.1", server.port))
        make_set(server, host="localhost")
        reload()
        assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1


@contextlib.contextmanager
def _other_certificate():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            sock, _address = listener.accept()
            with sock:
                server_context("other.example.com").wrap_socket(sock, server_side=True)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(10)
        listener.close()


def test_each_address_has_its_share_of_the_time(make_set, reload, lead_to):
    with SMTPServer() as server, blackhole() as silent, bad_server(b"", hangs=True) as mute:
        lead_to(
            "localhost",
            *[found("127.0.0.1", silent)] * 3,
            *[found("127.0.0.1", mute)] * 3,
            found("127.0.0.1", server.port),
        )
        make_set(server, host="localhost", timeout=3)
        reload()
        began = time.monotonic()
        assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1
        assert time.monotonic() - began < 2 * 3 + 3


def test_the_error_is_of_the_address_that_came_furthest(make_set, reload, lead_to):
    with bad_server(b"554 5.7.1 not from there\r\n") as port, refusing() as refused:
        lead_to("localhost", found("127.0.0.1", port), found("127.0.0.1", refused))
        item = make_set(host="localhost", port=port)
        reload()
        with pytest.raises(MessageDeferred) as caught:
            send_mail("Hi", "Body", None, ["real@example.org"])
        assert (caught.value.phase, caught.value.code) == ("banner", 554)
        stages = [report.stage for report in try_set(item, None)]
    assert [stage.name for stage in stages] == ["resolve", "connect", "greeting"]
    assert stages[-1].error.code == 554


def test_each_stage_is_shown_once(make_set, lead_to):
    with SMTPServer(encryption="ssl") as server, bad_server(b"") as port:
        lead_to("localhost", found("127.0.0.1", port), found("127.0.0.1", server.port))
        stages = [r.stage.name for r in try_set(make_set(server, host="localhost"), None)]
    assert stages[:4] == ["resolve", "connect", "tls", "greeting"]
    assert len(set(stages)) == len(stages)


def test_addresses_that_are_refused_are_not_tried(make_set, reload, lead_to, settings):
    with SMTPServer() as server:
        lead_to("localhost", found("169.254.169.254", server.port), found("127.0.0.1", server.port))
        make_set(server, host="localhost")
        reload()
        assert send_mail("Hi", "Body", None, ["real@example.org"]) == 1
        lead_to("localhost", found("169.254.169.254", server.port))
        with pytest.raises(DestinationRefused):
            guard.resolve("localhost", server.port)


#: Where TLS comes first, or nothing is said before the request.
BAD_HTTPS = ("refused", "closed at once", "no SMTP", "never answers", "never greets")


@pytest.mark.parametrize("bad", [*BAD_HTTPS, "no socket"])
def test_providers_and_identity_providers(lead_to, monkeypatch, bad):
    with ProviderServer(Answer(200, {"fine": True})) as server, _bad(bad) as address:
        lead_to("localhost", address, found("127.0.0.1", server.port))
        adapter = Adapter(ssl_context(CA_PEM), 2)
        with guarded(requests.Session(), adapter) as session:
            assert session.post("https://localhost/").json() == {"fine": True}
            assert adapter.progress.at == "done"
            assert len(server.requests) == 1
        url = {"api_url": "https://localhost"}
        config = ESPConfig("Set", "postal", url, {}, ca_certificates=CA_PEM, timeout=2)
        stages = list(AnymailTransport(config).check())
        monkeypatch.setattr(client, "LONGEST", 4)
        with client.Session("https://localhost/", CA_PEM) as session:
            assert session.get("https://localhost/").json() == {"fine": True}
    assert [stage.name for stage in stages] == ["resolve", "connect", "tls"]
    assert [stage.error for stage in stages] == [None] * 3


@contextlib.contextmanager
def _bad(what):
    if what == "no socket":
        yield found("127.0.0.1", 1, NO_FAMILY)
        return
    with BAD[what]() as port:
        yield found("127.0.0.1", port)


@pytest.mark.parametrize("bad", ["refused", "closed at once", "no socket"])
def test_amazon_sns(lead_to, monkeypatch, tmp_path, configure, bad):
    host = "sns.eu-west-1.amazonaws.com"
    configure(ALLOWED_NETWORKS=["127.0.0.0/8"])
    authority = tmp_path / "ca.pem"
    authority.write_text(CA_PEM)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with ProviderServer(Answer()) as server, _bad(bad) as address:
        lead_to(host, address, found("127.0.0.1", server.port))
        topic = "arn:aws:sns:eu-west-1:123456789012:reports"
        tracking.confirm_sns_subscription({"TopicArn": topic, "Token": "t"})
        [request] = server.requests
    assert request.host == host


def test_what_is_interrupted_closes_its_socket(monkeypatch):
    sockets = []

    def use(sock):
        sockets.append(sock)
        raise KeyboardInterrupt

    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(KeyboardInterrupt):
        guard.open_first([found(*server.getsockname())] * 2, 2, use)
    [sock] = sockets
    assert sock.fileno() == -1


def test_a_socket_that_cant_be_made_is_an_oserror():
    with pytest.raises(OSError, match=r"\[Errno \d+\]"):
        guard.open_first([found("127.0.0.1", 1, NO_FAMILY)], 1, lambda sock: sock)
