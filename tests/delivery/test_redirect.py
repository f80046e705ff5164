"""What a redirect takes out of a message, and what it leaves."""

import pickle
from contextlib import suppress

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend

from tests.support.servers.smtp_server import SMTPServer
from wagtail_smtp.categories import email_category
from wagtail_smtp.exceptions import RedirectError

SITE = "site@example.com"
SMTP = "django.core.mail.backends.smtp.EmailBackend"


def _message(kind=EmailMessage, **values):
    defaults = {"subject": "Hi", "body": "Body", "from_email": SITE, "to": ["real@example.org"]}
    return kind(**(defaults | values))


@pytest.fixture
def redirected(smtp_server, make_set, reload):
    """A live set that redirects; its server."""
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    return smtp_server


class Asks(BaseEmailBackend):
    """A project's own backend, as one that hands messages on: pickled, and asked again."""

    def send_messages(self, messages):
        for message in messages:
            handed_on = pickle.loads(pickle.dumps(message))
            asked.extend([*message.recipients(), *handed_on.recipients()])
        return len(messages)


asked = []


class Fickle(EmailMessage):
    """After so many calls it names somebody else."""

    honest = 0

    def recipients(self):
        Fickle.honest -= 1
        return super().recipients() if Fickle.honest >= 0 else ["real@example.org"]


@pytest.mark.parametrize("honest", range(12))
def test_a_class_that_changes_its_mind(db, configure, honest):
    configure(STANDARD={"BACKEND": f"{__name__}.Asks"}, REDIRECT_ALL_TO=["qa@example.com"])
    asked.clear()
    Fickle.honest = honest
    with suppress(RedirectError):
        _message(Fickle).send()
    assert set(asked) <= {"qa@example.com"}
    assert asked or honest < 11


@pytest.mark.parametrize("spell", [str, str.upper], ids=["as is", "upper"])
@pytest.mark.parametrize(
    "name",
    [
        "X-SMTPAPI",
        "X-MSYS-API",
        "X-MC-BccAddress",
        "X-Mailgun-Recipient-Variables",
        "X-MJ-Vars",
        "X-PM-Metadata-a",
        "X-Mailin-Custom",
        "X-SES-List-Management-Options",
        "Apparently-To",
        "Delivered-To",
        "Mail-Followup-To",
        "Mail-Reply-To",
        "Return-Receipt-Requested",
        "Generate-Delivery-Report",
        "X-Confirm-Reading-To",
    ],
)
@pytest.mark.parametrize("category", ["other", "security"])
def test_headers_that_providers_and_programs_act_on_are_removed(redirected, name, spell, category):
    headers = {spell(name): "leak@example.org", "X-Mine": "kept", "X-Entity-Ref-ID": "kept"}
    with email_category(category):
        _message(headers=headers).send()
    sent = redirected.received[0].message if redirected.received else mail.outbox[0].message()
    assert sent[name] is None
    assert [sent["X-Mine"], sent["X-Entity-Ref-ID"]] == ["kept", "kept"]


@pytest.mark.parametrize("redirect", [True, False])
@pytest.mark.parametrize(
    "name", ["Bcc:", "Bcc ", "X-Foo: bar\nBcc", "X-Foo\r\nBcc", "", "X-Ünicode"]
)
def test_what_is_no_header_name_is_a_value_error(make_set, reload, smtp_server, name, redirect):
    make_set(smtp_server, redirect=redirect, reports=["qa@example.com"])
    reload()
    with pytest.raises(ValueError, match="header name"):
        _message(headers={name: "leak@example.org"}).send()
    assert smtp_server.received == []


def test_attributes_that_no_redirect_knows_do_not_reach_standard_delivery(redirected):
    message = _message()
    message.personalizations = [{"to": ["real@example.org"]}]
    message.envelope_sender = "person@example.org"
    message.of_some_other_backend = "real@example.org"
    message.tags = ["welcome"]
    message.content_subtype = "html"
    with email_category("security"):
        message.send()
    [sent] = mail.outbox
    assert not any(
        "example.org" in str(vars(sent)[name]) for name in vars(sent).keys() - {"extra_headers"}
    )
    assert (sent.tags, sent.content_subtype) == (["welcome"], "html")
    assert message.personalizations


class Letter(EmailMessage):
    """Keeps what it writes in attributes of its own."""

    def __init__(self, *args, salutation="Dear all", **kwargs):
        super().__init__(*args, **kwargs)
        self.salutation = salutation

    def message(self, **kwargs):
        message = super().message(**kwargs)
        message["X-Salutation"] = self.salutation
        return message


def test_a_class_may_keep_what_it_writes_the_message_from(redirected):
    _message(Letter).send()
    assert redirected.received[0].message["X-Salutation"] == "Dear all"
    # What standard delivery is handed may read any attribute.
    with email_category("security"), pytest.raises(RedirectError, match="salutation"):
        _message(Letter).send()
    assert mail.outbox == []


class SetsEnvelopeSender(EmailMessage):
    envelope_sender = "person@example.org"


class Personalizes(EmailMessage):
    personalizations = ({"to": ["real@example.org"]},)


@pytest.mark.parametrize("kind", [SetsEnvelopeSender, Personalizes])
def test_a_class_that_names_people_is_refused(redirected, kind):
    with email_category("security"), pytest.raises(RedirectError):
        _message(kind).send()
    assert mail.outbox == []


class AttachesLogo(EmailMultiAlternatives):
    def message(self, **kwargs):
        self.attach("logo.png", b"x", "image/png")
        return super().message(**kwargs)


@pytest.mark.parametrize("redirect", [True, False])
def test_what_a_class_attaches_while_writing_is_there_once(smtp_server, make_set, reload, redirect):
    make_set(smtp_server, redirect=redirect, reports=["qa@example.com"])
    reload()
    message = _message(AttachesLogo)
    message.attach_alternative("<p>Body</p>", "text/html")
    for _ in range(2):
        message.send()
    for received in smtp_server.received:
        names = [part.get_filename() for part in received.message.walk() if part.get_filename()]
        assert names == ["logo.png"]
    assert message.attachments == []


# Bounces of a redirected message must not tell its sender of it.


@pytest.fixture
def standard_server(settings):
    """Standard delivery by SMTP."""
    with SMTPServer(encryption="none", auth=False) as server:
        options = {"host": "127.0.0.1", "port": server.port}
        settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {
            "STANDARD": {"BACKEND": SMTP, "OPTIONS": options}
        }
        yield server


@pytest.mark.parametrize("category", ["other", "security"])
@pytest.mark.parametrize("headers", [{}, {"From": "Visitor <visitor@example.net>"}])
def test_the_envelope_sender_is_never_a_strangers(
    make_set, reload, standard_server, category, headers
):
    with SMTPServer(username="apikey") as server:
        make_set(server, redirect=True, reports=["qa@example.com"])
        reload()
        with email_category(category):
            _message(from_email="Visitor <visitor@example.net>", headers=headers).send()
        [received] = [*server.received, *standard_server.received]
    assert received.sender == SITE
    assert received.message.get_all("From") == ["Visitor <visitor@example.net>"]


def test_a_providers_api_keeps_its_own_envelope_sender(redirected, monkeypatch):
    from django.core.mail.backends import locmem

    monkeypatch.setattr(locmem.EmailBackend, "__module__", "anymail.backends.postmark")
    with email_category("security"):
        _message(from_email="shop@example.com").send()
    # Most can't be given one and would refuse the message.
    assert mail.outbox[0].from_email == "shop@example.com"


@pytest.mark.parametrize("address", ["qa@bücher.example", '"qa,x"@example.com', "qa@Example.COM"])
def test_report_emails_as_people_write_them(make_set, reload, smtp_server, address):
    make_set(smtp_server, redirect=True, reports=[address])
    reload()
    _message().send()
    with email_category("security"):
        _message().send()
    assert smtp_server.received[0].recipients == [address.replace("bücher", "xn--bcher-kva")]
    assert mail.outbox[0].to == [address]


@pytest.mark.parametrize(
    "value", [True, False, 0, [None], {"qa@example.com": 1}, b"qa@example.com", object()]
)
@pytest.mark.parametrize("category", ["other", "security", "error"])
def test_a_forced_redirect_of_a_wrong_type_blocks_all_mail(
    smtp_server, make_set, reload, settings, value, category
):
    make_set(smtp_server)
    reload()
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"REDIRECT_ALL_TO": value}
    with email_category(category), pytest.raises(RedirectError):
        _message().send()
    assert smtp_server.received == mail.outbox == []


@pytest.mark.parametrize("value", [[("REDIRECT_ALL_TO", ["qa@example.com"])], None])
def test_settings_that_cannot_be_read_stop_all_mail(smtp_server, make_set, reload, settings, value):
    make_set(smtp_server)
    reload()
    settings.WAGTAIL_SMTP = value
    with pytest.raises(ImproperlyConfigured, match="WAGTAIL_SMTP"):
        _message().send()
    assert smtp_server.received == mail.outbox == []
