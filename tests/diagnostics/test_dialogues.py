"""Produce each cause with a real server, in a test of a set and in the log of real email."""

import json
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.mail import EmailMultiAlternatives

from tests.support.dialogues import DIALOGUES, ELSEWHERE
from tests.support.servers.hostile import HostileServer
from tests.support.servers.identity_provider import IdentityProvider
from tests.support.servers.provider_server import PROVIDERS, ProviderServer
from tests.support.servers.smtp_server import CA, CA_PEM, free_port
from wagtail_smtp.causes import CAUSES, GROUPS, explain
from wagtail_smtp.causes.base import Failure
from wagtail_smtp.diagnostics.check_set import send_test_email, try_set
from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred, MessageUnsupported
from wagtail_smtp.live.resolve import transport_config
from wagtail_smtp.models import LogEntry, Secret
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.pool import close_all
from wagtail_smtp.transports.smtp.transport import SMTPTransport

#: Timeout where only a timeout ends the wait.
SHORT = 2


class Place:
    """The surroundings of the server. A dialogue may name one of these methods."""

    def __init__(self, monkeypatch, configure, server):
        self.patch, self.configure, self.server = monkeypatch, configure, server

    def arrange(self, name):
        if name:
            getattr(self, name)()

    def no_name_servers(self):
        self._look_up(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))

    def no_such_name(self):
        self._look_up(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))

    def _look_up(self, error):
        def fail(*args, **kwargs):
            raise error

        self.patch.setattr("socket.getaddrinfo", fail)

    def blocked_port(self):
        """A firewall that drops all packets."""

        def fail(*args, **kwargs):
            raise TimeoutError("timed out")

        self.patch.setattr(guard, "connect", fail)

    def behind_port(self):
        """The set's host and port lead to the server."""
        port = self.server.port

        def resolve(*args, **kwargs):
            return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

        self.patch.setattr(guard, "resolve", resolve)

    def early_certificate(self):
        begin = datetime.now(UTC) + timedelta(days=2)
        leaf = CA.issue_cert("127.0.0.1", not_before=begin, not_after=begin + timedelta(days=9))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        self.patch.setattr(
            "tests.support.servers.hostile_connection.tls_context", lambda name: context
        )

    def odd_certificate(self):
        """From a system authority, but without the extension that Python 3.13 requires."""
        context = _context_without_key_identifier(self.folder)
        self.patch.setattr(
            "tests.support.servers.hostile_connection.tls_context", lambda name: context
        )
        (self.folder / "system.pem").write_text(CA_PEM)
        self.patch.setenv("SSL_CERT_FILE", str(self.folder / "system.pem"))
        make = ssl.create_default_context

        def strict(*args, **kwargs):
            made = make(*args, **kwargs)
            made.verify_flags |= ssl.VERIFY_X509_STRICT
            return made

        self.patch.setattr("ssl.create_default_context", strict)

    def redirect_without_address(self):
        self.configure(REDIRECT_ALL_TO=[])

    def internal_token_address(self):
        self.configure(ALLOWED_NETWORKS=[])


def _context_without_key_identifier(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(CA_PEM.encode())
    signer = serialization.load_pem_private_key(CA.private_key_pem.bytes(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    address = x509.IPAddress(__import__("ipaddress").ip_address("127.0.0.1"))
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "mail.pem").write_bytes(secret + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "mail.pem")
    return context


def _tested(item):
    """The cause that the test of a set reports."""
    try:
        reports = list(try_set(item, "me@example.org"))
    except EmailDeliveryError as error:
        return explain(Failure.of(error, item.host, item.port, item.encryption)).slug
    assert all(report.cause is None for report in reports[:-1])
    return reports[-1].cause.slug if reports[-1].cause else ""


def _logged(reload):
    """The cause of a failed real email, read from the log."""
    reload()
    result = send_test_email("me@example.org")
    assert result.reason
    return LogEntry.objects.get(pk=result.entry.pk).cause


def test_a_password_that_cannot_be_read(make_set, reload):
    item = make_set(name="Office")
    reload()
    Secret.objects.update(ciphertext="x")
    item.secret.refresh_from_db()
    assert _tested(item) == "password-unreadable"
    result = send_test_email("me@example.org")
    assert result.entry.cause == "password-unreadable"


def _smtp(dialogue):
    return not (dialogue.token or dialogue.provider)


@pytest.mark.parametrize("dialogue", list(filter(_smtp, DIALOGUES)), ids=str)
def test_a_server(make_set, reload, monkeypatch, configure, tmp_path, dialogue):
    with HostileServer(faults=dialogue.faults, **dialogue.server) as server:
        place = Place(monkeypatch, configure, server)
        place.folder = tmp_path
        defaults = {"name": "Office", "timeout": SHORT, "sender_address": "shop@example.com"}
        if dialogue.place.startswith("no_"):
            defaults["host"] = "mail.example.com"
        item = make_set(server, **(defaults | dialogue.values))
        place.arrange(dialogue.place)
        assert _tested(item) == dialogue.slug
        if dialogue.is_live:
            assert _logged(reload) == dialogue.slug


@pytest.mark.parametrize("dialogue", [d for d in DIALOGUES if d.token], ids=str)
def test_an_identity_provider(make_set, reload, monkeypatch, configure, dialogue):
    server = {"mechanisms": ("XOAUTH2",)} | dialogue.server
    with (
        IdentityProvider() as provider,
        HostileServer(faults=dialogue.faults, **server) as mail_server,
    ):
        if dialogue.token != ("", ""):
            provider.refuse = dialogue.token
        oauth = provider.oauth("consent" if dialogue.place == "no_consent" else "client")
        if dialogue.place == "no_identity_provider":
            oauth["token_url"] = f"http://127.0.0.1:{free_port()}/token"
        if dialogue.place == "internal_token_address":
            oauth["token_url"] = "https://10.1.2.3/token"
        item = make_set(
            mail_server, name="Office", authentication="oauth2", oauth=oauth, timeout=SHORT
        )
        binding = item.frozen(()).binding()
        item.secret = Secret.store(provider.client_secret, binding, item.key)
        item.save()
        assert _tested(item) == dialogue.slug
        if dialogue.is_live:
            assert _logged(reload) == dialogue.slug


@pytest.mark.parametrize("dialogue", [d for d in DIALOGUES if d.provider], ids=str)
@pytest.mark.filterwarnings("ignore:django-anymail has dropped official support")
def test_an_email_provider(make_set, reload, monkeypatch, configure, dialogue):
    with ProviderServer(dialogue.provider) as server:
        place = Place(monkeypatch, configure, server)
        place.arrange(dialogue.place or "behind_port")
        item = make_set(
            name="Office", transport="resend", authentication="none", username="", host="",
            ca_certificates=CA_PEM, timeout=SHORT, sender_address="shop@example.com",
            provider=PROVIDERS["resend"].options,
        )  # fmt: skip
        item.secret = Secret.store(
            json.dumps(PROVIDERS["resend"].keys), item.frozen(()).binding(), item.key
        )
        item.save()
        assert _tested(item) == dialogue.slug
        assert _logged(reload) == dialogue.slug
        close_all()


def test_sessions_in_use(make_set, configure):
    configure(MAX_SESSIONS=1, SESSION_WAIT=0.2)
    with HostileServer() as server:
        item = make_set(server, timeout=1)
        config = item.frozen(())
        transport = SMTPTransport(transport_config(config, item.secret))
        try:
            with (
                transport.pool.lease(new=False),
                pytest.raises(MessageDeferred) as caught,
                transport.pool.lease(new=False),
            ):
                pass
        finally:
            transport.close()
    assert explain(Failure.of(caught.value, "", 587, "starttls")).slug == "sessions-in-use"


def test_not_supported(make_set, reload):
    with HostileServer() as server:
        make_set(server)
        reload()
        message = EmailMultiAlternatives("Hi", "Body", None, ["someone@example.org"])
        message.template_id = "welcome"
        with pytest.raises(MessageUnsupported) as caught:
            message.send()
    assert explain(Failure.of(caught.value, "127.0.0.1", 587, "starttls")).slug == "not-supported"
    assert LogEntry.objects.get().cause == "not-supported"


def test_every_cause_has_a_dialogue():
    covered = {dialogue.slug for dialogue in DIALOGUES}
    assert covered | set(ELSEWHERE) == {cause.slug for cause in CAUSES}
    assert not covered & set(ELSEWHERE)


def test_every_cause_is_in_one_group():
    grouped = [cause.slug for _slug, _title, causes in GROUPS for cause in causes]
    assert sorted(grouped) == sorted(cause.slug for cause in CAUSES)


@pytest.mark.parametrize(
    "cause",
    [cause for cause in CAUSES if cause.example and cause.slug not in ELSEWHERE],
    ids=lambda cause: cause.slug,
)
def test_each_example_comes_from_a_dialogue(cause):
    said = [
        text
        for dialogue in DIALOGUES
        if dialogue.slug == cause.slug
        for text in (*(fault.reply for fault in dialogue.faults), ": ".join(dialogue.token or ()))
    ]
    assert cause.example in said or cause.example.startswith(("[", "certificate verify"))
