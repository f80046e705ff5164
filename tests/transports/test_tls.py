"""Which certificates are trusted, and how long what checks them is kept."""

import datetime
import gc
import os
import socket
import ssl
import struct
import sys
from contextlib import contextmanager

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from django.core.mail import send_mail

from tests.support.servers.hostile import HostileServer
from tests.support.servers.smtp_server import CA_PEM, server_context
from tests.transports.conftest import send
from wagtail_smtp import live
from wagtail_smtp.exceptions import TransportUnavailable
from wagtail_smtp.transports import tls
from wagtail_smtp.transports.oauth import client as oauth_client


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(subject, issuer, key, issuer_key, *extensions):
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate):
    return certificate.public_bytes(Encoding.PEM).decode()


class Authority:
    """A root, an intermediate and a server, without key usage and key identifiers.

    OpenSSL takes that for valid, except where X509_V_FLAG_X509_STRICT is set.
    """

    def __init__(self):
        root_key, middle_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        is_authority = x509.BasicConstraints(ca=True, path_length=None), False
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")]), False
        self.root = _signed("Root", "Root", root_key, root_key, is_authority)
        self.middle = _signed("Middle", "Root", middle_key, root_key, is_authority)
        self.server = _signed("localhost", "Middle", key, middle_key, names)
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def context(self, path):
        chain = path / "chain.pem"
        chain.write_text(self.key + _pem(self.server) + _pem(self.middle))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def _handshake(server, client, name="localhost"):
    """What the client says of the server's certificate; empty: it is trusted."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(incoming, outgoing, server_hostname=name)
    far = server.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(4):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
        if near.version() and near.getpeercert():
            return ""
    raise AssertionError("the handshake doesn't end")


@pytest.mark.parametrize("given", ["root", "middle", "server"])
def test_a_private_authority_is_trusted_as_it_was_given(tmp_path, given):
    authority = Authority()
    context = tls.ssl_context(_pem(getattr(authority, given)))
    assert _handshake(authority.context(tmp_path), context) == ""
    assert "match" in _handshake(authority.context(tmp_path), context, "other.example.com")


def test_another_authority_is_not_trusted(tmp_path):
    context = tls.ssl_context(_pem(Authority().root))
    assert _handshake(Authority().context(tmp_path), context)
    assert _handshake(server_context(), tls.ssl_context(trustme.CA().cert_pem.bytes().decode()))


def test_the_systems_authorities_are_checked_as_python_does():
    flags = ssl.create_default_context().verify_flags
    assert tls.ssl_context("").verify_flags == flags


def test_so_are_those_of_tokens(tmp_path):
    authority = Authority()
    with oauth_client.Session("https://localhost/", _pem(authority.middle)) as session:
        context = session._adapter._context
    assert _handshake(authority.context(tmp_path), context) == ""


@pytest.mark.parametrize("is_process", [False, True], ids=["certificates", "process"])
def test_what_can_not_be_set_up_is_a_failed_attempt(
    transport_to, monkeypatch, tmp_path, is_process
):
    """Nothing has left, and a backup may do better."""
    tls.forget()
    gc.collect()
    if is_process:
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "missing" / "keys"))
    with HostileServer() as server:
        transport = transport_to(server, ca_certificates="" if is_process else "no PEM")
        with pytest.raises(TransportUnavailable) as caught:
            send(transport)
        assert (caught.value.phase, server.connections) == ("tls", 0)
    with pytest.raises(TransportUnavailable):
        tls.shared_context("http", transport.config.ca_certificates)


NO_LOGIN = {"authentication": "none", "username": ""}


@contextmanager
def no_collector():
    """Only what is no cycle is freed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _contexts():
    """The contexts there are to check servers with."""
    found = [item for item in gc.get_objects() if issubclass(type(item), ssl.SSLContext)]
    return [item for item in found if item.protocol == ssl.PROTOCOL_TLS_CLIENT]


def _made_since(before):
    """How many contexts are new; those before are held, so that none is freed and miscounted."""
    known = {id(item) for item in before}
    return sum(id(item) not in known for item in _contexts())


def _authorities():
    """The test server's, and one that no other test has, so that it shares no context with them."""
    return CA_PEM + trustme.CA().cert_pem.bytes().decode()


# Versions that aren't committed are never kept, and so replace nothing.
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("encryption", ["starttls", "ssl", "none"])
def test_a_reload_leaves_no_context_behind(make_set, encryption):
    with HostileServer(encryption=encryption, auth=False) as server, no_collector():
        item = make_set(server, encryption=encryption, **NO_LOGIN)
        authorities = _authorities(), _authorities()
        before = _contexts()
        for number in range(4):
            item.name = f"Set {number}"
            # Other authorities each time, too.
            item.ca_certificates = authorities[number % 2]
            item.save()
            live.reload()
            send_mail("Hi", "Body", None, ["real@example.org"])
            assert _made_since(before) <= (encryption != "none")


@pytest.mark.django_db(transaction=True)
def test_sets_with_the_same_authorities_share_a_context(make_set):
    with HostileServer(auth=False) as first, HostileServer(auth=False) as second, no_collector():
        authorities = _authorities()
        before = _contexts()
        for server in (first, second):
            values = {"categories": ["form"] if server is first else [], **NO_LOGIN}
            make_set(server, ca_certificates=authorities, **values)
        live.reload()
        send_mail("Hi", "Body", None, ["real@example.org"])
        assert _made_since(before) == 1
        context = tls.shared_context("smtp", authorities)
        assert tls.shared_context("smtp", authorities) is context
        assert tls.shared_context("http", authorities) is not context


@pytest.fixture
def built(monkeypatch):
    """The certificates of each context that is created for sending from now on."""
    found = []

    def create(ca_certificates):
        found.append(ca_certificates)
        return ssl_context(ca_certificates)

    ssl_context = tls.ssl_context
    monkeypatch.setattr(tls, "ssl_context", create)
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("encryption", ["starttls", "ssl", "none"])
def test_a_context_is_built_once_for_all_reloads(make_set, built, encryption):
    authorities = _authorities()
    with HostileServer(encryption=encryption, auth=False) as server:
        item = make_set(server, encryption=encryption, ca_certificates=authorities, **NO_LOGIN)
        for number in range(5):
            item.name = f"Set {number}"
            item.save()
            live.reload()
            send_mail("Hi", "Body", None, ["real@example.org"])
    assert len(server.received) == 5
    assert built == ([] if encryption == "none" else [authorities])


@pytest.mark.django_db(transaction=True)
def test_reloads_leave_memory_flat(make_set):
    with HostileServer(auth=False) as server:
        item = make_set(server, ca_certificates=_authorities(), **NO_LOGIN)

        def reloads(number):
            for count in range(number):
                item.name = f"Set {count % 7}, {number}"
                item.save()
                live.reload()
                if count % 50 == 0:
                    send_mail("Hi", "Body", None, ["real@example.org"])
                    server.received.clear()
                else:
                    live.current()
            gc.collect()

        reloads(60)
        before = _contexts()
        grown = []
        for _ in range(4):
            blocks = sys.getallocatedblocks()
            reloads(100)
            grown.append(sys.getallocatedblocks() - blocks)
        assert _made_since(before) <= 1
        # Caches grow and shrink; what leaks grows each time.
        assert min(grown) < 300, grown


def test_no_socket_is_left_open_if_the_server_resets_the_connection():
    """Just before the handshake: Python before 3.13 leaves it to the garbage collector."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
    number = sock.fileno()

    with pytest.raises(ConnectionResetError):
        tls.ssl_context("").wrap_socket(sock, server_hostname="mail.example.com")

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
