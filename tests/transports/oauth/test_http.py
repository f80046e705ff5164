"""The session that asks identity providers for tokens: what they may do to it."""

import gzip
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import requests
import trustme

from tests.support.servers.identity_provider import IdentityProvider
from tests.support.servers.smtp_server import CA_PEM, server_context
from wagtail_smtp.transports import http
from wagtail_smtp.transports.oauth import client as oauth_http


@contextmanager
def raw_server(speak, *, tls=False):
    """A server that says ``speak(sock)`` to the first who comes; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        sock, _address = listener.accept()
        try:
            if tls:
                sock = server_context().wrap_socket(sock, server_side=True)
            sock.recv(65536)
            speak(sock)
        except OSError:
            pass  # the client is gone
        finally:
            sock.close()

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield f"https://localhost:{port}/" if tls else f"http://127.0.0.1:{port}/"
    finally:
        thread.join(10)
        listener.close()


def within(url, seconds):
    """What asking brings, which must not take longer."""
    began = time.monotonic()
    try:
        with oauth_http.Session(url, CA_PEM) as session:
            return session.get(url)
    finally:
        assert time.monotonic() - began < seconds


@pytest.mark.parametrize("tls", [False, True])
def test_who_trickles_is_cut_off(monkeypatch, tls):
    monkeypatch.setattr(oauth_http, "LONGEST", 0.8)

    def trickle(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            time.sleep(0.05)
            sock.sendall(b"x")

    with raw_server(trickle, tls=tls) as url, pytest.raises(requests.RequestException):
        within(url, 4)


def test_name_servers_that_dont_answer_are_left_behind(monkeypatch):
    monkeypatch.setattr(oauth_http, "LONGEST", 0.3)
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **values: end.wait(20) and [])
    with pytest.raises(requests.ConnectionError):
        within("https://login.example.com/token", 4)
    end.set()


@pytest.mark.threat(18)
def test_an_answer_without_end_is_cut_short():
    def talk(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(64):
            sock.sendall(b"x" * 1024 * 1024)

    with raw_server(talk) as url:
        assert len(within(url, 9).content) <= http.MAX_RESPONSE


def test_an_answer_that_is_packed_is_unpacked_no_further():
    packed = gzip.compress(bytes(64 * 1024 * 1024))

    def talk(sock):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}"
        sock.sendall(head.encode() + b"\r\n\r\n" + packed)

    with raw_server(talk) as url:
        assert len(within(url, 9).content) <= http.MAX_RESPONSE


def test_public_authorities_count_beside_a_private_one(monkeypatch, tmp_path):
    (tmp_path / "ca.pem").write_text(CA_PEM)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    other = trustme.CA().cert_pem.bytes().decode()
    with (
        IdentityProvider(tls=server_context()) as provider,
        oauth_http.Session(provider.url, other) as session,
    ):
        assert session.get(provider.url).status_code == 200


def test_redirects_lead_nowhere():
    with IdentityProvider() as other, IdentityProvider(redirect_to=other.url) as provider:
        with oauth_http.Session(provider.url) as session:
            answer = session.post(f"{provider.url}/token", data={"client_secret": "canary"})
        assert answer.status_code in (301, 302, 303, 307, 308)
        assert other.asked == []
