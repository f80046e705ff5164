"""Sets that send through a provider, the whole way: redirect, failover, templates, outbox, log."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils import translation
from django.utils.translation import gettext_lazy

from tests.support.servers.provider_server import CANARY, HANG_UP, PROVIDERS, Answer, ProviderServer
from tests.support.servers.smtp_server import CA_PEM
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.delivery.outgoing import prepare
from wagtail_smtp.diagnostics.check_set import try_set
from wagtail_smtp.exceptions import (
    MessageOutcomeUnknown,
    MessageRefused,
    MessageUnsupported,
    RedirectError,
)
from wagtail_smtp.models import LogAttempt, LogEntry, LogRecipient, OutboxMessage, Secret
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.pool import close_all

pytestmark = pytest.mark.filterwarnings("ignore:django-anymail has dropped official support")

every_provider = pytest.mark.parametrize("slug", PROVIDERS)
#: Addresses of people who must not get redirected mail, and a word of their own data.
PEOPLE = re.compile(r"real|hidden|copied|answers|bounces", re.IGNORECASE)


@pytest.fixture
def provider(monkeypatch):
    """A server that every provider's name leads to; other names lead where they do."""
    import socket

    resolve = guard.resolve
    hosts = {known.host for known in PROVIDERS.values()}
    with ProviderServer(Answer()) as server:

        def resolved(host: str, port: int, **kwargs: Any) -> Any:
            if host not in hosts:
                return resolve(host, port, **kwargs)
            return socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)

        monkeypatch.setattr(guard, "resolve", resolved)
        yield server
        close_all()


@pytest.fixture
def provider_set(make_set):
    """A stored set of a provider: ``provider_set("mailgun", …)``."""

    def make(slug: str, **values: Any):
        known = PROVIDERS[slug]
        defaults = {
            "transport": slug,
            "provider": known.options,
            "authentication": "none",
            "username": "",
            "host": "",
            # As if the provider's certificate were signed by an authority of our own.
            "ca_certificates": CA_PEM,
        }
        item = make_set(**(defaults | values))
        item.secret = Secret.store(json.dumps(known.keys), item.frozen(()).binding(), item.key)
        item.save()
        return item

    return make


def message(**values: Any) -> EmailMultiAlternatives:
    fields = {"subject": "Hi", "body": "Body", "from_email": "shop@example.com"}
    names = ("subject", "body", "from_email", "to", "cc", "bcc", "reply_to", "headers")
    fields |= {"to": ["to@example.com"]} | {k: v for k, v in values.items() if k in names}
    made = EmailMultiAlternatives(**fields)
    for name, value in values.items():
        if name not in names:
            setattr(made, name, value)
    return made


@every_provider
def test_the_log_knows_what_the_provider_calls_it(provider, provider_set, reload, slug):
    provider_set(slug)
    reload()
    provider.answer = PROVIDERS[slug].accepted(["to@example.com"])
    sent = message()
    assert sent.send() == 1
    row = LogRecipient.objects.get()
    assert (row.address, row.state) == ("to@example.com", "sent")
    identity = PROVIDERS[slug].identity
    assert row.provider_id == identity if identity else row.provider_id
    assert LogEntry.objects.get().via == "Set 1"
    assert sent.anymail_status.recipients["to@example.com"].message_id
    [request] = provider.requests
    # Ours are for the log; a provider makes its own.
    if slug != "amazon_ses":
        assert "Message-ID" not in request.body.decode()
        assert "Body" in request.text


class TestRedirect:
    @every_provider
    def test_nothing_names_its_real_recipients(self, provider, provider_set, reload, slug):
        provider_set(slug, redirect=True, reports=["qa@example.com", "dev@example.com"])
        reload()
        provider.answer = PROVIDERS[slug].accepted(["qa@example.com", "dev@example.com"])
        message(
            to=["Real One <real.one@example.org>", "real.two@example.org"],
            cc=["copied@example.org"],
            bcc=["hidden@example.org"],
            reply_to=["answers@example.org"],
            headers={"List-Unsubscribe": "<mailto:real@example.org>", "Cc": "copied@example.org"},
            merge_data={"real.one@example.org": {"name": "Real One"}},
            merge_metadata={"real.one@example.org": {"order": "hidden-1"}},
            merge_headers={"real.one@example.org": {"X-Who": "hidden"}},
            envelope_sender="bounces@example.org",
            esp_extra={
                # Each is some provider's way to name recipients.
                "to": "real@example.org",
                "To": "real@example.org",
                "recipients": [{"address": "real@example.org"}],
                "personalizations": [{"to": [{"email": "real@example.org"}]}],
                "Destination": {"ToAddresses": ["real@example.org"]},
                "Globals": {"To": [{"Email": "real@example.org"}]},
                "message": {"bcc_address": "real@example.org"},
                "messageVersions": [{"to": [{"email": "real@example.org"}]}],
                "server_token": "hidden",
                "sender_domain": "hidden.example.org",
            },
        ).send()
        [request] = provider.requests
        seen = _without_originals(slug, request.body)
        assert not PEOPLE.findall(seen)
        assert "qa@example.com" in seen
        assert "[Redirected] Hi" in seen or "=5BRedirected=5D" in seen
        states = dict(LogRecipient.objects.values_list("address", "state"))
        assert states["real.one@example.org"] == states["hidden@example.org"] == "redirected"
        assert states["qa@example.com"] == "sent"

    def test_nothing_unknown_is_handed_over(self, provider, provider_set, reload):
        from anymail.signals import pre_send

        provider_set("mailgun", redirect=True, reports=["qa@example.com"])
        reload()
        provider.answer = PROVIDERS["mailgun"].accepted([])
        seen = []

        def look(message: Any, **kwargs: Any) -> None:
            seen.append(set(vars(message)))

        pre_send.connect(look)
        try:
            message(more_recipients=["real@example.org"], tags=["known"]).send()
        finally:
            pre_send.disconnect(look)
        assert "tags" in seen[0]
        assert "more_recipients" not in seen[0]

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m.to.append("real@example.org"),
            lambda m: m.cc.append("real@example.org"),
            lambda m: m.bcc.append("real@example.org"),
            lambda m: setattr(m, "to", ["real@example.org"]),
            lambda m: setattr(m, "merge_data", {"real@example.org": {}}),
            lambda m: setattr(m, "merge_headers", {"qa@example.com": {"To": "real@example.org"}}),
            lambda m: setattr(m, "esp_extra", {"to": "real@example.org"}),
            lambda m: setattr(m, "envelope_sender", "real@example.org"),
            lambda m: m.extra_headers.update({"Reply-To": "real@example.org"}),
            lambda m: m.extra_headers.update({"bcc": "real@example.org"}),
            lambda m: m.reply_to.append("real@example.org"),
        ],
    )
    @pytest.mark.parametrize("by", ["a set", "standard delivery"])
    def test_receivers_dont_get_round_it(
        self, provider, provider_set, reload, configure, settings, change, by
    ):
        from anymail.signals import pre_send

        if by == "a set":
            provider_set("mailgun", redirect=True, reports=["qa@example.com"])
            reload()
        else:
            _standard_by_anymail(configure, settings)
            configure(REDIRECT_ALL_TO=["qa@example.com"])
        provider.answer = PROVIDERS["mailgun"].accepted([])

        def receiver(message: Any, **kwargs: Any) -> None:
            change(message)

        pre_send.connect(receiver)
        try:
            with pytest.raises(RedirectError):
                message().send()
        finally:
            pre_send.disconnect(receiver)
        assert provider.requests == []
        assert LogEntry.objects.get().state == "blocked"

    def test_defaults_of_the_project_dont_get_round_it(self, configure, settings, monkeypatch, db):
        """Standard delivery may be anymail, whose settings may add recipients."""
        from anymail.backends import test as recording
        from anymail.message import AnymailRecipientStatus

        sent = []
        monkeypatch.setattr(
            recording.EmailBackend,
            "post_to_esp",
            lambda self, payload, message: sent.append(payload.get_params()) or {"all": None},
        )
        status = AnymailRecipientStatus("1", "sent")
        monkeypatch.setattr(
            recording.EmailBackend,
            "parse_recipient_status",
            lambda *args: {"qa@example.com": status},
        )
        configure(
            STANDARD={"BACKEND": "anymail.backends.test.EmailBackend"},
            REDIRECT_ALL_TO=["qa@example.com"],
        )
        settings.ANYMAIL = {"SEND_DEFAULTS": {"bcc": ["real@example.org"], "tags": ["theirs"]}}
        message().send()
        assert "real@" not in repr(sent)
        configure(REDIRECT_ALL_TO=None)
        message().send()
        assert "real@" in repr(sent)

    def test_a_harmless_option_stays(self, provider, provider_set, reload):
        provider_set("mailgun", redirect=True, reports=["qa@example.com"])
        reload()
        provider.answer = PROVIDERS["mailgun"].accepted([])
        message(tags=["welcome"], track_opens=False, template_id="invoice").send()
        assert "welcome" in provider.requests[0].text
        assert "invoice" in provider.requests[0].text


def _without_originals(slug: str, body: bytes) -> str:
    """The request without the headers that are to name the original recipients."""
    import base64
    import quopri
    from urllib.parse import unquote_plus

    text = body.decode()
    if slug == "amazon_ses":
        content = json.loads(text)
        raw = quopri.decodestring(base64.b64decode(content["Content"].pop("Raw")["Data"])).decode()
        raw = re.sub(r"X-Original-[\w-]+:[^\r\n]*(\r?\n[ \t][^\r\n]*)*", "", raw)
        return json.dumps(content) + raw
    if slug == "mailgun":
        text = unquote_plus(text)
        return re.sub(r"h:X-Original-[\w-]+=[^&]*", "", text)

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            if str(value.get("name", value.get("Name", ""))).startswith("X-Original-"):
                return None
            return {k: strip(v) for k, v in value.items() if not k.startswith("X-Original-")}
        if isinstance(value, list):
            return [strip(item) for item in value]
        return value

    content = strip(json.loads(text))
    for name in ("additional_headers", "headers"):
        if isinstance(content.get(name), list):
            content[name] = [
                item
                for item in content[name]
                if not str((item or {}).get("key", "")).startswith("X-Original-")
            ]
    return json.dumps(content)


def _standard_by_anymail(configure: Any, settings: Any) -> None:
    import ssl

    options = {"api_key": "key", "api_url": "https://api.mailgun.net/v3"}
    configure(STANDARD={"BACKEND": "anymail.backends.mailgun.EmailBackend", "OPTIONS": options})
    assert ssl


class TestFailover:
    def test_from_a_provider_to_smtp(self, provider, provider_set, make_set, smtp_server, reload):
        provider_set("mailgun", name="First")
        make_set(smtp_server, name="Second", backup=True)
        reload()
        provider.answer = Answer(429, {"message": "slow down"})
        sent = message()
        sent.send()
        [received] = smtp_server.received
        assert received.recipients == ["to@example.com"]
        assert LogEntry.objects.get().via == "Second"
        first, _second = LogAttempt.objects.all()
        assert (first.via, first.code, first.state) == ("First", 429, "deferred")
        assert "slow down" in first.reply
        # Message-ID and Date are those of the log, whatever the provider was not told.
        assert received.message["Message-ID"] == LogEntry.objects.get().message_id

    def test_from_smtp_to_a_provider(self, provider, provider_set, make_set, reload):
        from tests.support.servers.smtp_server import free_port

        make_set(name="First", port=free_port())
        provider_set("postmark", name="Second", backup=True)
        reload()
        provider.answer = PROVIDERS["postmark"].accepted(["to@example.com"])
        sent = message()
        sent.send()
        assert LogEntry.objects.get().via == "Second"
        assert sent.anymail_status.message_id == "1-postmark"

    def test_not_where_it_may_have_been_taken(
        self, provider, provider_set, make_set, smtp_server, reload
    ):
        provider_set("mailgun")
        make_set(smtp_server, backup=True)
        reload()
        provider.answer = HANG_UP
        with pytest.raises(MessageOutcomeUnknown):
            message().send()
        assert smtp_server.received == []
        assert LogEntry.objects.get().state == "unknown"

    def test_not_for_a_refused_message(self, provider, provider_set, make_set, smtp_server, reload):
        provider_set("mailgun")
        make_set(smtp_server, backup=True)
        reload()
        provider.answer = PROVIDERS["mailgun"].refused
        with pytest.raises(MessageRefused):
            message().send()
        assert smtp_server.received == []

    def test_a_provider_is_not_asked_where_some_have_it_already(
        self, provider, provider_set, make_set, smtp_server, reload, configure
    ):
        """It takes all recipients from the message: those would get it twice."""
        configure(MAX_RECIPIENTS=1)
        make_set(smtp_server, name="First")
        provider_set("mailgun", name="Second", backup=True)
        reload()
        smtp_server.refuse = {"b@example.com": "421 4.3.2 closing"}
        message(to=["a@example.com", "b@example.com"]).send()
        assert provider.requests == []
        states = dict(LogRecipient.objects.values_list("address", "state"))
        assert states == {"a@example.com": "sent", "b@example.com": "deferred"}


NEEDS_PROVIDER = {
    "template_id": "welcome",
    "merge_data": {"to@example.com": {"name": "To"}},
    "merge_global_data": {"site": "Here"},
    "merge_headers": {"to@example.com": {"X-A": "b"}},
    "merge_metadata": {"to@example.com": {"id": "1"}},
}


class TestTemplates:
    @pytest.mark.parametrize("name", NEEDS_PROVIDER)
    @pytest.mark.parametrize("redirected", [False, True])
    def test_smtp_doesnt_send_half(self, make_set, smtp_server, reload, name, redirected):
        make_set(smtp_server, redirect=redirected, reports=["qa@example.com"])
        reload()
        with pytest.raises(MessageUnsupported, match=name):
            message(**{name: NEEDS_PROVIDER[name]}).send()
        assert smtp_server.received == []
        entry = LogEntry.objects.get()
        assert entry.state == "failed"
        assert name in entry.reason
        assert entry.cause == "not-supported"

    def test_the_reason_is_in_the_sites_language(self, make_set, smtp_server, reload):
        make_set(smtp_server)
        reload()
        with translation.override("de"), pytest.raises(MessageUnsupported):
            message(template_id="welcome").send()
        assert "email provider templates" in LogEntry.objects.get().reason

    @pytest.mark.parametrize("name", ["tags", "metadata", "track_opens", "esp_extra"])
    def test_smtp_leaves_out_what_doesnt_matter(self, make_set, smtp_server, reload, name):
        make_set(smtp_server)
        reload()
        values = {"tags": ["a"], "metadata": {"a": 1}, "track_opens": True, "esp_extra": {"a": 1}}
        message(**{name: values[name]}).send()
        assert len(smtp_server.received) == 1

    def test_smtp_backups_are_passed_over(
        self, provider, provider_set, make_set, smtp_server, reload
    ):
        from wagtail_smtp.exceptions import MessageDeferred

        provider_set("mailgun", name="First")
        make_set(smtp_server, name="Second", backup=True)
        provider_set("postmark", name="Third", backup=True)
        reload()

        def answer(request: Any) -> Answer:
            if "mailgun" in request.host:
                return Answer(503, b"busy")
            return PROVIDERS["postmark"].accepted(["to@example.com"])

        provider.answer = answer
        message(template_id=7).send()
        assert LogEntry.objects.get().via == "Third"
        assert smtp_server.received == []
        # With nothing else left it is the provider's failure that counts: it may pass.
        provider.answer = Answer(503, b"busy")
        with pytest.raises(MessageDeferred):
            message(template_id=7).send()

    def test_nor_is_standard_delivery_a_last_resort(
        self, provider, provider_set, reload, configure, smtp_server
    ):
        from wagtail_smtp.exceptions import MessageDeferred

        # Any server: it isn't even connected to.
        options = {"host": "127.0.0.1", "port": smtp_server.port}
        standard = {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": options}
        configure(FALLBACK_TO_STANDARD=True, STANDARD=standard)
        provider_set("mailgun")
        reload()
        provider.answer = Answer(503, b"busy")
        with pytest.raises(MessageDeferred):
            message(template_id="welcome").send()
        assert smtp_server.received == []

    def test_a_batch_is_told_recipient_by_recipient(self, provider, provider_set, reload):
        provider_set("postmark")
        reload()
        people = ["a@example.com", "b@example.com"]
        provider.answer = Answer(
            200,
            [
                {
                    "To": each,
                    "MessageID": f"id-of-{each}",
                    "ErrorCode": code,
                    "Message": f"Invalid 'To' address: '{each}'." if code else "OK",
                }
                for each, code in zip(people, (0, 300), strict=True)
            ],
        )
        message(
            to=people,
            template_id="welcome",
            merge_data={each: {"name": each} for each in people},
        ).send()
        rows = LogRecipient.objects.order_by("address").values_list(
            "address", "state", "provider_id"
        )
        assert list(rows) == [
            ("a@example.com", "sent", "id-of-a@example.com"),
            ("b@example.com", "refused", ""),
        ]
        assert LogEntry.objects.get().state == "partly_sent"


def test_cancelled_by_the_project(provider, provider_set, make_set, smtp_server, reload):
    """Nobody else may send it either, and there is no error: as with django-anymail alone."""
    from anymail.exceptions import AnymailCancelSend
    from anymail.signals import pre_send

    provider_set("mailgun")
    make_set(smtp_server, backup=True)
    reload()

    def cancel(**kwargs: Any) -> None:
        raise AnymailCancelSend

    pre_send.connect(cancel)
    try:
        assert message().send() == 0
    finally:
        pre_send.disconnect(cancel)
    assert (provider.requests, smtp_server.received) == ([], [])
    assert LogEntry.objects.get().state == "cancelled"


ATTRIBUTES: dict[str, Any] = {
    "tags": ["welcome", "new"],
    "metadata": {"order": "12"},
    "merge_data": {"to@example.com": {"name": "Ütwo"}},
    "merge_global_data": {"site": "Here"},
    "merge_headers": {"to@example.com": {"X-A": "b"}},
    "merge_metadata": {"to@example.com": {"id": "1"}},
    "template_id": "welcome",
    "track_opens": True,
    "track_clicks": False,
    "esp_extra": {"o:deliverytime-optimize-period": "24H"},
    "send_at": datetime(2030, 1, 2, 3, 4, tzinfo=UTC),
    "envelope_sender": "bounces@example.com",
}


class TestOutbox:
    def test_every_attribute_comes_back(self):
        from wagtail_smtp.delivery.log.stored_message import ATTRIBUTES as KEPT

        assert set(KEPT) == {*ATTRIBUTES, "wagtail_smtp_fixed"}
        again = stored_message.thaw(stored_message.freeze(prepare(message(**ATTRIBUTES))).content)
        assert {name: getattr(again, name) for name in ATTRIBUTES} == ATTRIBUTES
        # And once more, as a message that waits several times.
        twice = stored_message.thaw(stored_message.freeze(prepare(again)).content)
        assert {name: getattr(twice, name) for name in ATTRIBUTES} == ATTRIBUTES

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (("a", "b"), ["a", "b"]),
            ([gettext_lazy("Yes")], ["Yes"]),
            ({"b", "a"}, ["a", "b"]),
        ],
    )
    def test_what_is_nearly_json(self, value, kept):
        assert (
            stored_message.thaw(stored_message.freeze(prepare(message(tags=value))).content).tags
            == kept
        )

    @pytest.mark.parametrize("value", [object(), {"a": object()}, [float("nan")], b"x"])
    def test_what_is_no_json_is_refused(self, value):
        with pytest.raises(ValueError, match="metadata"):
            stored_message.freeze(prepare(message(metadata=value)))

    def test_it_leaves_with_all_of_it(
        self, provider, provider_set, reload, configure, django_capture_on_commit_callbacks
    ):
        from django.core.management import call_command

        configure(DELIVERY="queued")
        provider_set("mailgun")
        reload()
        provider.answer = PROVIDERS["mailgun"].accepted([])
        queued = message(
            tags=["welcome"],
            metadata={"order": "12"},
            template_id="tpl-1",
            send_at=ATTRIBUTES["send_at"],
            headers={"X-Own": "yes"},
        )
        queued.attach_alternative("<p>Böf</p>", "text/html")
        queued.attach("a.txt", "attached", "text/plain")
        queued.send()
        call_command("smtp_outbox", "--once", "--threads", "1")
        assert not OutboxMessage.objects.exists()
        [request] = provider.requests
        for part in ("welcome", "order", "tpl-1", "Wed, 02 Jan 2030", "X-Own", "Böf", "attached"):
            assert part in request.text
        row = LogRecipient.objects.get()
        assert (row.state, row.provider_id) == ("sent", "<1@mg.example.com>")
        assert "Message-ID" not in request.text


class TestTry:
    def test_a_provider_that_is_there(self, provider, provider_set):
        reports = list(try_set(provider_set("mailgun")))
        assert [report.stage.name for report in reports] == ["resolve", "connect", "tls"]
        assert all(report.cause is None for report in reports)
        assert reports[2].stage.details["issuer"]
        assert provider.requests == []

    def test_a_test_email(self, provider, provider_set):
        provider.answer = PROVIDERS["mailgun"].accepted([])
        reports = list(try_set(provider_set("mailgun"), "me@example.org"))
        assert [r.stage.name for r in reports][3:] == ["recipient", "message"]
        assert reports[3].stage.details["accepted"] == ("me@example.org",)
        assert not LogEntry.objects.exists()

    def test_a_test_email_is_redirected(self, provider, provider_set):
        provider.answer = PROVIDERS["mailgun"].accepted([])
        item = provider_set("mailgun", redirect=True, reports=["qa@example.com"])
        list(try_set(item, "me@example.org"))
        assert "me@example.org" not in _without_originals("mailgun", provider.requests[0].body)

    @pytest.mark.parametrize(
        ("answer", "slug"),
        [
            (PROVIDERS["mailgun"].wrong_key, "key-refused"),
            (
                Answer(
                    403,
                    {
                        "message": "Domain sandbox123.mailgun.org is not allowed to send: Free"
                        " accounts are for test purposes only."
                    },
                ),
                "provider-sandbox",
            ),
            (
                Answer(403, {"message": "The from address is not a verified sender"}),
                "sender-not-verified",
            ),
            (Answer(404, {"message": "Domain not found: example.com"}), "sender-not-verified"),
            (Answer(429, {"message": "slow down"}), "provider-limit"),
            (Answer(402, {"message": "not enough credits"}), "provider-account"),
            (Answer(500, b"oops"), "provider-error"),
        ],
    )
    def test_what_fails_has_a_remedy(self, provider, provider_set, answer, slug):
        provider.answer = answer
        *_before, last = try_set(provider_set("mailgun"), "me@example.org")
        assert last.stage.error is not None
        assert last.cause.slug == slug
        assert last.stage.response or slug == "key-refused"
        assert CANARY not in repr(last)

    def test_an_address_that_may_not_be_connected_to(self, provider_set, configure):
        configure(ALLOWED_NETWORKS=())
        item = provider_set("postal", provider={"api_url": "https://127.0.0.1:8443"})
        [report] = try_set(item)
        assert report.cause.slug == "not-allowed"


def test_the_binding_says_where_a_key_goes():
    one = SettingsSetConfig("1", "One", transport="mailgun", provider={"api_url": "a"})
    assert one.binding()["transport"] == "mailgun"
    other = SettingsSetConfig("1", "One", transport="mailgun", provider={"api_url": "b"})
    assert one.binding() != other.binding()
    unbound = {"api_url": "a", "sender_domain": "mg.example.com"}
    assert (
        one.binding()
        == SettingsSetConfig("1", "One", transport="mailgun", provider=unbound).binding()
    )


def test_an_unreadable_key(provider, provider_set, reload, settings):
    from wagtail_smtp.exceptions import SecretError

    provider_set("mailgun")
    reload()
    settings.SECRET_KEY = "another"
    with pytest.raises(SecretError, match="Set 1"):
        message().send()
    assert provider.requests == []


def test_a_plain_message_is_as_it_was(provider, provider_set, reload):
    """Nothing of ours stays on the caller's message but what django-anymail notes."""
    provider_set("mailgun")
    reload()
    provider.answer = PROVIDERS["mailgun"].accepted([])
    sent = EmailMessage("Hi", "Body", None, ["to@example.com"])
    before = set(vars(sent))
    sent.send()
    assert set(vars(sent)) - before <= {"anymail_status"}
    assert sent.extra_headers == {}
    assert mail.get_connection is not None
