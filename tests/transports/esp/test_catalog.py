"""Email providers: each API call over HTTPS is compared byte by byte with the documented one."""

import gzip
import json
import pkgutil
import socket
from collections.abc import Iterator
from typing import Any

import anymail.backends
import pytest
from django.core.mail import EmailMessage

from tests.support.read_settings import ReadSettings
from tests.support.servers.provider_server import CANARY, HANG_UP, PROVIDERS, Answer, ProviderServer
from tests.support.servers.smtp_server import CA_PEM, free_port
from wagtail_smtp.exceptions import (
    DestinationRefused,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    MessageUnsupported,
    SendCancelled,
)
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.base import Envelope, OutgoingMessage
from wagtail_smtp.transports.esp import catalog
from wagtail_smtp.transports.esp.catalog import ESPConfig
from wagtail_smtp.transports.esp.transport import AnymailTransport
from wagtail_smtp.transports.pool import close_all

pytestmark = pytest.mark.filterwarnings("ignore:django-anymail has dropped official support")


@pytest.fixture
def provider(monkeypatch):
    """A server that every provider's name leads to."""
    with ProviderServer(Answer()) as server:

        def resolve(host: str, port: int, **kwargs: Any) -> Any:
            server.asked_for = (host, port)
            return socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)

        monkeypatch.setattr(guard, "resolve", resolve)
        yield server
        close_all()


#: Kept until their test ends: what is collected before can't be closed with the others.
_made: list[AnymailTransport] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


def transport(slug: str, **options: str) -> AnymailTransport:
    known = PROVIDERS[slug]
    made = AnymailTransport(
        ESPConfig(
            name="Set",
            slug=slug,
            options=known.options | options,
            secrets=known.keys,
            timeout=3,
            ca_certificates=CA_PEM,
        )
    )
    _made.append(made)
    return made


def send(by: AnymailTransport, *recipients: str, **values: Any) -> Any:
    to = recipients or ("to@example.com",)
    message = values.pop("message", None) or EmailMessage(
        "Hi", "Body", "from@example.com", list(to)
    )
    for name, value in values.items():
        setattr(message, name, value)
    return by.send(OutgoingMessage(message, Envelope("from@example.com", tuple(to))), 3)


every_provider = pytest.mark.parametrize("slug", PROVIDERS)


@every_provider
def test_accepted(provider, slug):
    known = PROVIDERS[slug]
    recipients = ("to@example.com", "other@example.org")
    provider.answer = known.accepted(recipients)
    message = EmailMessage("Hi", "Body", "from@example.com", list(recipients))
    outcome = send(transport(slug), *recipients, message=message)
    assert [item.address for item in outcome.recipients] == [*recipients]
    assert {item.state for item in outcome.recipients} == {"sent"}
    identities = {item.provider_id for item in outcome.recipients}
    assert identities == {known.identity} if known.identity else all(identities)
    [request] = provider.requests
    assert provider.asked_for == (known.host, 443)
    assert request.host == known.host
    # What anymail's users read from their message, without the key.
    assert message.anymail_status.status <= {"sent", "queued"}
    answer = message.anymail_status.esp_response
    assert CANARY not in repr(answer if isinstance(answer, dict) else vars(answer))
    # It holds the headers.
    assert getattr(answer, "request", None) is None


@every_provider
def test_refused(provider, slug):
    provider.answer = PROVIDERS[slug].refused
    with pytest.raises(MessageRefused) as caught:
        send(transport(slug))
    assert caught.value.phase in ("data", "rcpt")


@every_provider
def test_an_answer_may_be_packed(provider, slug):
    """Its length is then another than what is read, which is no sign of a lost answer."""
    answer = PROVIDERS[slug].accepted(["to@example.com"])
    # Padded, so that it is longer unpacked.
    packed = gzip.compress(answer.body + b" " * 4096)
    headers = answer.headers | {"Content-Encoding": "gzip"}
    provider.answer = Answer(answer.status, packed, headers)
    outcome = send(transport(slug))
    assert [item.state for item in outcome.recipients] == ["sent"]


@every_provider
def test_rate_limited(provider, slug):
    provider.answer = PROVIDERS[slug].limited
    with pytest.raises(MessageDeferred) as caught:
        send(transport(slug))
    assert (caught.value.phase, caught.value.code) == ("data", 429)
    assert caught.value.reply


@every_provider
def test_a_wrong_key(provider, slug):
    provider.answer = PROVIDERS[slug].wrong_key
    with pytest.raises(MessageDeferred) as caught:
        send(transport(slug))
    assert caught.value.phase == "auth"


@every_provider
@pytest.mark.parametrize("echo", ["wrong_key", "refused", "accepted"])
def test_the_key_is_in_no_error(provider, slug, echo, caplog):
    """Not even where the provider repeats it."""
    provider.answer = Answer(400, {"message": f"Bad key {CANARY}; {json.dumps(CANARY)}"})
    if echo == "accepted":
        provider.answer = Answer(200, f"not what was expected: {CANARY}".encode())
    by = transport(slug)
    assert CANARY not in repr(by.config)
    try:
        outcome = send(by)
    except Exception as error:
        seen: list[BaseException] = [error]
        while (cause := seen[-1].__cause__ or seen[-1].__context__) is not None:
            seen.append(cause)
        for each in seen:
            assert CANARY not in f"{each!s} {each!r} {vars(each)!r}"
            frames = each.__traceback__
            while frames is not None:
                if "/anymail/" in frames.tb_frame.f_code.co_filename:
                    raise AssertionError("a frame of anymail's, which holds the key") from None
                frames = frames.tb_next
    else:
        assert echo == "accepted"
        assert CANARY not in repr(outcome)
    assert CANARY not in caplog.text
    [request] = provider.requests
    if slug != "amazon_ses":
        assert CANARY in request.text or "Basic " in request.text


@pytest.mark.parametrize(
    ("answer", "error", "phase"),
    [
        (Answer(403, {"message": "The from address is not verified"}), MessageDeferred, "mail"),
        (Answer(400, {"message": "Sender is not verified"}), MessageDeferred, "mail"),
        (Answer(404, {"message": "Domain not found: example.com"}), MessageDeferred, "mail"),
        (Answer(402, {"message": "no credits left"}), MessageDeferred, "mail"),
        (Answer(302, b"", {"Location": "https://evil.example/"}), MessageDeferred, "mail"),
        (Answer(500, b"Ack! Bad proxy!"), MessageDeferred, "data"),
        (Answer(503, b"busy"), MessageDeferred, "data"),
        (Answer(413, b"too large"), MessageTooLarge, "size"),
        # A gateway doesn't know what became of the request.
        (Answer(502, b"bad gateway"), MessageOutcomeUnknown, "reply"),
        (Answer(504, b"timeout"), MessageOutcomeUnknown, "reply"),
        (Answer(200, b"yikes, this isn't a real response"), MessageOutcomeUnknown, "reply"),
        (Answer(200, b"x" * 3_000_000), MessageOutcomeUnknown, "reply"),
        (HANG_UP, MessageOutcomeUnknown, "reply"),
    ],
)
@pytest.mark.parametrize("slug", ["mailgun", "postmark", "amazon_ses"])
def test_what_an_answer_means(provider, slug, answer, error, phase):
    if slug == "amazon_ses" and answer.status == 302:
        pytest.skip("botocore takes it for an answer of another region")
    provider.answer = answer
    with pytest.raises(error) as caught:
        send(transport(slug))
    assert type(caught.value) is error
    assert caught.value.phase == phase
    assert len(provider.requests) == 1


def test_a_provider_that_takes_the_message_and_says_nothing(provider):
    import threading

    never = threading.Event()
    provider.answer = lambda request: never.wait(5) or HANG_UP
    by = transport("mailgun")
    message = EmailMessage("Hi", "Body", "from@example.com", ["to@example.com"])
    with pytest.raises(MessageOutcomeUnknown) as caught:
        by.send(OutgoingMessage(message, Envelope("from@example.com", ("to@example.com",))), 0.3)
    never.set()
    assert not caught.value.retry_is_safe


@pytest.mark.parametrize("slug", ["mailgun", "amazon_ses"])
def test_nobody_answers(monkeypatch, slug):
    port = free_port()
    monkeypatch.setattr(
        guard, "resolve", lambda *a, **k: socket.getaddrinfo("127.0.0.1", port, type=1)
    )
    with pytest.raises(MessageDeferred) as caught:
        send(transport(slug))
    assert caught.value.phase == "connect"
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize("slug", ["mailgun", "amazon_ses"])
def test_a_name_nobody_knows(monkeypatch, slug):
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(guard, "resolve", fail)
    with pytest.raises(MessageDeferred) as caught:
        send(transport(slug))
    assert caught.value.phase == "connect"
    assert isinstance(caught.value.__cause__, socket.gaierror)


def test_a_certificate_nobody_signed(provider):
    import ssl

    by = transport("mailgun")
    by.config = by.config.__class__(**{**vars(by.config), "ca_certificates": ""})
    with pytest.raises(MessageDeferred) as caught:
        send(by)
    assert caught.value.phase == "tls"
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert provider.requests == []


@pytest.mark.parametrize(
    ("url", "networks"),
    [("https://127.0.0.1:{port}", ()), ("https://169.254.169.254", ("169.254.0.0/16",))],
)
def test_an_address_that_may_not_be_connected_to(configure, url, networks):
    configure(ALLOWED_NETWORKS=networks)
    with ProviderServer(Answer()) as server:
        with pytest.raises(DestinationRefused):
            send(transport("postal", api_url=url.format(port=server.port)))
        assert server.connections == 0


def test_no_proxy_of_the_machine(configure, monkeypatch):
    configure(ALLOWED_NETWORKS=["127.0.0.0/8", "::1"])
    with ProviderServer(Answer(), tls=False) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with ProviderServer(PROVIDERS["postal"].accepted(["to@example.com"])) as server:
            send(transport("postal", api_url=server.url))
            monkeypatch.setattr(
                guard,
                "resolve",
                lambda *a, **k: socket.getaddrinfo("127.0.0.1", server.port, type=1),
            )
            server.answer = PROVIDERS["amazon_ses"].accepted([])
            send(transport("amazon_ses"))
            assert len(server.requests) == 2
        assert proxy.connections == 0


def test_no_login_of_the_machine(provider, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    provider.answer = PROVIDERS["brevo"].accepted([])
    send(transport("brevo"))
    assert "Authorization" not in provider.requests[0].headers


def test_no_setting_of_the_project_is_used(provider, settings, monkeypatch):
    """Above all nothing that adds recipients, or prints the key."""
    settings.ANYMAIL = {
        "SEND_DEFAULTS": {"bcc": ["spy@example.com"], "tags": ["theirs"]},
        "MAILGUN_SEND_DEFAULTS": {"cc": ["spy@example.com"]},
        "MAILGUN_SENDER_DOMAIN": "theirs.example",
        "DEBUG_API_REQUESTS": True,
        "IGNORE_UNSUPPORTED_FEATURES": True,
        "REQUESTS_TIMEOUT": 0.0001,
        "POSTMARK_MESSAGE_STREAM": "theirs",
        "AMAZON_SES_CONFIGURATION_SET_NAME": "theirs",
        "AMAZON_SES_CLIENT_PARAMS": {"region_name": "theirs"},
    }
    settings.SENDGRID_USERNAME = "theirs"
    monkeypatch.setenv("AWS_PROFILE", "theirs")
    for slug in PROVIDERS:
        provider.answer = PROVIDERS[slug].accepted(["to@example.com"])
        send(transport(slug))
    for request in provider.requests:
        assert "spy@" not in request.text
        assert "theirs" not in request.text


@every_provider
def test_every_option_of_anymail_is_in_the_catalog(provider, settings, slug):
    """django-anymail looks in the project's settings for an option that it wasn't given."""
    settings.ANYMAIL = ReadSettings()
    provider.answer = PROVIDERS[slug].accepted(["to@example.com"])
    send(transport(slug))
    # Both are read in any case. What the plugin sets itself is used instead.
    assert settings.ANYMAIL.keys_read - {"SEND_DEFAULTS", "REQUESTS_TIMEOUT"} == set()


def test_every_provider_of_anymail_is_in_the_catalog():
    backends = {module.name for module in pkgutil.iter_modules(anymail.backends.__path__)}
    # Base classes, backends for development, and the former name of Brevo.
    others = {"base", "base_requests", "console", "test", "sendinblue"}
    assert backends - others == catalog.PROVIDERS.keys()


def test_the_key_is_printed_nowhere(provider, settings, capsys):
    settings.ANYMAIL_DEBUG_API_REQUESTS = True
    provider.answer = PROVIDERS["mailgun"].accepted(["to@example.com"])
    send(transport("mailgun"))
    assert capsys.readouterr().out == ""


def test_one_connection_for_many_messages(provider):
    provider.answer = PROVIDERS["postmark"].accepted(["to@example.com"])
    by = transport("postmark")
    for _ in range(3):
        send(by)
    assert (len(provider.requests), provider.connections) == (3, 1)


def test_a_connection_that_rested_is_not_trusted(provider, configure):
    provider.answer = PROVIDERS["postmark"].accepted(["to@example.com"])
    by = transport("postmark")
    configure(SESSION_CHECK_AFTER=0.000001)
    for _ in range(2):
        send(by)
    assert provider.connections == 2


def test_partly_refused(provider):
    provider.answer = Answer(
        200,
        [
            {"email": "good@example.com", "status": "queued", "_id": "1"},
            {"email": "bad@example.com", "status": "invalid", "_id": "2"},
        ],
    )
    outcome = send(transport("mandrill"), "good@example.com", "bad@example.com")
    good, bad = outcome.recipients
    assert (good.state, good.provider_id) == ("sent", "1")
    assert (bad.state, bad.reply) == ("refused", "invalid")


def test_a_recipient_nobody_speaks_of_is_unknown(provider):
    provider.answer = Answer(200, [{"email": "a@example.com", "status": "sent", "_id": "1"}])
    with pytest.raises(MessageOutcomeUnknown) as caught:
        send(transport("mandrill"), "a@example.com", "b@example.com")
    assert [item.state for item in caught.value.recipients] == ["sent", "unknown"]


def test_international_domains_are_ours(provider):
    provider.answer = _postmark_batch_free = PROVIDERS["mailgun"].accepted([])
    assert _postmark_batch_free
    outcome = send(
        transport("mailgun"), "to@xn--bcher-kva.example", message=_to("to@bücher.example")
    )
    assert [item.state for item in outcome.recipients] == ["sent"]
    assert "xn--bcher-kva.example" in provider.requests[0].text


def _to(*recipients: str) -> EmailMessage:
    return EmailMessage("Hi", "Body", "from@example.com", list(recipients))


def test_a_feature_the_provider_lacks(provider):
    with pytest.raises(MessageUnsupported, match="metadata") as caught:
        send(transport("postal"), metadata={"order": 1})
    assert caught.value.__context__ is None or "anymail" not in repr(caught.value.__context__)
    assert provider.requests == []


def test_data_that_is_no_json(provider):
    from decimal import Decimal

    with pytest.raises(MessageUnsupported):
        send(transport("postmark"), metadata={"total": Decimal("19.99")})


class TestSignals:
    @pytest.fixture
    def connected(self):
        from anymail.signals import post_send, pre_send

        connected = []

        def connect(signal: str, receiver: Any) -> None:
            found = {"pre_send": pre_send, "post_send": post_send}[signal]
            found.connect(receiver, weak=False)
            connected.append((found, receiver))

        yield connect
        for signal, receiver in connected:
            signal.disconnect(receiver)

    def test_as_their_users_know_them(self, provider, connected):
        import importlib

        heard = []
        backend = importlib.import_module("anymail.backends.mailgun").EmailBackend
        connected(
            "pre_send", lambda sender, message, esp_name, **kw: heard.append((sender, esp_name))
        )
        connected("post_send", lambda status, **kw: heard.append(status.message_id))
        provider.answer = PROVIDERS["mailgun"].accepted([])
        send(transport("mailgun"))
        assert heard == [(backend, "Mailgun"), "<1@mg.example.com>"]

    def test_changed(self, provider, connected):
        def change(message: Any, **kwargs: Any) -> None:
            message.subject = "Changed"
            message.to.append("more@example.com")

        connected("pre_send", change)
        provider.answer = PROVIDERS["mailgun"].accepted([])
        outcome = send(transport("mailgun"))
        assert [r.address for r in outcome.recipients] == ["to@example.com", "more@example.com"]
        assert "Changed" in provider.requests[0].text

    def test_cancelled(self, provider, connected):
        from anymail.exceptions import AnymailCancelSend

        def cancel(**kwargs: Any) -> None:
            raise AnymailCancelSend

        connected("pre_send", cancel)
        with pytest.raises(SendCancelled):
            send(transport("mailgun"))
        assert provider.requests == []

    def test_a_receiver_that_fails_before(self, provider, connected):
        def fail(**kwargs: Any) -> None:
            raise ZeroDivisionError("theirs")

        connected("pre_send", fail)
        with pytest.raises(MessageRefused) as caught:
            send(transport("mailgun"))
        assert isinstance(caught.value.original, ZeroDivisionError)
        assert provider.requests == []

    def test_a_receiver_that_fails_afterwards(self, provider, connected, caplog):
        def fail(**kwargs: Any) -> None:
            raise ZeroDivisionError("theirs")

        connected("post_send", fail)
        provider.answer = PROVIDERS["mailgun"].accepted([])
        assert send(transport("mailgun")).recipients[0].state == "sent"
        assert "post_send" in caplog.text
