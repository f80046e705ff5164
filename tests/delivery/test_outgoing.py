"""Sender rules and redirect, seen from the server that receives the message."""

import contextlib
from io import StringIO

import pytest
from django.core import mail
from django.core.mail import EmailMessage, send_mail
from django.core.mail.backends.base import BaseEmailBackend
from django.core.management import call_command

from tests.support.servers.smtp_server import SMTPServer
from wagtail_smtp.categories import email_category
from wagtail_smtp.config.bounce_address import verified
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.models import LogEntry
from wagtail_smtp.transports import mime

SITE = "site@example.com"


def _message(**values):
    defaults = {"subject": "Hi", "body": "Body", "from_email": SITE, "to": ["real@example.org"]}
    return EmailMessage(**(defaults | values))


def test_the_sets_sender_stands_for_the_sites_default(smtp_server, make_set, reload):
    make_set(smtp_server, sender_name="Site", sender_address="hello@example.com")
    reload()
    _message().send()
    assert smtp_server.received[0].message["From"] == "Site <hello@example.com>"


def test_a_sender_of_its_own_is_kept(smtp_server, make_set, reload):
    make_set(smtp_server, sender_name="Site", sender_address="hello@example.com")
    reload()
    _message(from_email="Ann <ann@example.net>").send()
    [received] = smtp_server.received
    assert received.sender == "ann@example.net"
    assert received.message["From"] == "Ann <ann@example.net>"
    assert received.message["Reply-To"] is None


def test_always_use_sender_leaves_answers_to_the_original(smtp_server, make_set, reload):
    make_set(smtp_server, sender_address="hello@example.com", always_use_sender=True)
    reload()
    _message(from_email="Ann <ann@example.net>").send()
    [received] = smtp_server.received
    assert received.sender == "hello@example.com"
    assert received.message["From"] == "Ann <hello@example.com>"
    assert received.message["Reply-To"] == "Ann <ann@example.net>"


@pytest.mark.parametrize(
    "values",
    [{"reply_to": ["desk@example.net"]}, {"headers": {"Reply-To": "desk@example.net"}}],
    ids=["attribute", "header"],
)
def test_always_use_sender_keeps_the_callers_reply_to(smtp_server, make_set, reload, values):
    make_set(smtp_server, sender_address="hello@example.com", always_use_sender=True)
    reload()
    _message(from_email="ann@example.net", **values).send()
    assert smtp_server.received[0].message.get_all("Reply-To") == ["desk@example.net"]


def test_always_use_sender_replaces_a_from_header(smtp_server, make_set, reload):
    make_set(smtp_server, sender_address="hello@example.com", always_use_sender=True)
    reload()
    _message(headers={"FROM": "ann@example.net"}).send()
    [received] = smtp_server.received
    assert received.message.get_all("From") == ["hello@example.com"]
    assert received.message["Reply-To"] == "ann@example.net"


def test_the_username_is_the_sender_where_none_is_given(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    _message().send()
    assert smtp_server.received[0].sender == smtp_server.username


def test_bounces_go_to_the_bounce_address(smtp_server, make_set, reload):
    make_set(smtp_server, sender_address="a@example.com", bounce_address="bounce@example.com")
    reload()
    _message().send()
    [received] = smtp_server.received
    assert received.sender == "bounce@example.com"
    assert received.message["From"] == "a@example.com"


def test_the_callers_message_stays_as_it_was(smtp_server, make_set, reload):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    message = _message(cc=["c@example.org"], headers={"X-Email-Category": "invoice"})
    message.send()
    assert message.to == ["real@example.org"]
    assert message.cc == ["c@example.org"]
    assert message.subject == "Hi"
    assert message.extra_headers == {"X-Email-Category": "invoice"}
    assert smtp_server.received[0].message["X-Email-Category"] is None


# Redirect


def test_a_redirected_message_reaches_the_report_emails_alone(smtp_server, make_set, reload):
    make_set(smtp_server, redirect=True, reports=["qa@example.com", "dev@example.com"])
    reload()
    _message(
        cc=["c@example.org"],
        bcc=["b1@example.org", "b2@example.org"],
        reply_to=["answers@example.org"],
        from_email="ann@example.net",
    ).send()
    [received] = smtp_server.received
    assert received.recipients == ["qa@example.com", "dev@example.com"]
    assert received.sender == smtp_server.username
    message = received.message
    assert message["To"] == "qa@example.com, dev@example.com"
    assert message["Cc"] is message["Bcc"] is message["Reply-To"] is None
    assert message["X-Original-To"] == "real@example.org"
    assert message["X-Original-Cc"] == "c@example.org"
    assert message["X-Original-Reply-To"] == "answers@example.org"
    assert message["X-Original-Bcc"] == "2 recipients"
    assert message["Subject"] == "[Redirected] Hi"
    assert b"b1@example.org" not in received.content
    assert received.content.rstrip().endswith(b"Body")


@pytest.mark.threat(26)
@pytest.mark.parametrize("spell", [str, str.upper, str.lower], ids=["as is", "upper", "lower"])
@pytest.mark.parametrize(
    "name",
    [
        "To",
        "Cc",
        "Bcc",
        "Reply-To",
        "Resent-To",
        "Resent-Cc",
        "Resent-Bcc",
        "Resent-From",
        "Return-Path",
        "Errors-To",
        "Return-Receipt-To",
        "Disposition-Notification-To",
        "List-Unsubscribe",
        "List-Post",
        "DKIM-Signature",
        "X-Original-To",
        "X-Original-Anything",
    ],
)
def test_headers_that_name_people_are_removed(smtp_server, make_set, reload, name, spell):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    _message(headers={spell(name): "leak@example.org", "X-Mine": "kept"}).send()
    [received] = smtp_server.received
    assert received.recipients == ["qa@example.com"]
    shown = [k for k, v in received.message.items() if "leak@example.org" in v]
    # To, Cc and Reply-To are told in a header that no program acts on.
    expected = f"x-original-{name.lower()}" if name in ("To", "Cc", "Reply-To") else None
    assert [k.lower() for k in shown] == ([expected] if expected else [])
    assert received.message["X-Mine"] == "kept"


def test_long_originals_are_capped(smtp_server, make_set, reload):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    _message(to=[f"person{i}@example.org" for i in range(200)]).send()
    assert len(smtp_server.received[0].message["X-Original-To"]) < 1000


@pytest.mark.threat(20)
@pytest.mark.parametrize("how", ["settings", "environment"])
def test_a_forced_redirect_holds_over_sets(
    smtp_server, make_set, reload, settings, monkeypatch, how
):
    make_set(smtp_server)
    reload()
    if how == "settings":
        settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"REDIRECT_ALL_TO": ["qa@example.com"]}
    else:
        settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"REDIRECT_ALL_TO": ["other@example.com"]}
        monkeypatch.setenv("WAGTAIL_SMTP_REDIRECT_ALL_TO", "qa@example.com")
    _message().send()
    assert smtp_server.received[0].recipients == ["qa@example.com"]


@pytest.mark.threat(20)
@pytest.mark.parametrize("value", ["", " , ", "nobody", "two words@x"])
@pytest.mark.parametrize("how", ["settings", "environment"])
@pytest.mark.parametrize("category", ["other", "security", "error"])
def test_a_forced_redirect_to_nobody_blocks_all_mail(
    smtp_server, make_set, reload, settings, monkeypatch, how, value, category
):
    make_set(smtp_server)
    reload()
    if how == "settings":
        settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"REDIRECT_ALL_TO": value.split(",")}
    else:
        monkeypatch.setenv("WAGTAIL_SMTP_REDIRECT_ALL_TO", value)
    with email_category(category), pytest.raises(RedirectError):
        _message().send()
    assert smtp_server.received == []
    assert mail.outbox == []


def test_a_redirect_holds_over_standard_delivery(smtp_server, make_set, reload):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    with email_category("security"):
        _message(bcc=["b@example.org"]).send()
    assert smtp_server.received == []
    [sent] = mail.outbox
    assert sent.recipients() == ["qa@example.com"]
    assert sent.subject == "[Redirected] Hi"


def test_a_later_set_redirects_its_own_mail_alone(smtp_server, other_server, make_set, reload):
    make_set(smtp_server, categories=["form"])
    make_set(other_server, categories=["invoice"], redirect=True, reports=["qa@example.com"])
    reload()
    for category in ("form", "invoice", "other"):
        with email_category(category):
            _message().send()
    assert [r.recipients for r in smtp_server.received] == [["real@example.org"]]
    assert [r.recipients for r in other_server.received] == [["qa@example.com"]]
    assert [m.recipients() for m in mail.outbox] == [["real@example.org"]]


class AddsRecipients(EmailMessage):
    def recipients(self):
        return [*super().recipients(), "leak@example.org"]


class WritesCc(EmailMessage):
    def message(self, **kwargs):
        message = super().message(**kwargs)
        message["Cc"] = "leak@example.org"
        return message


class WritesAlmostBcc(EmailMessage):
    def message(self, **kwargs):
        message = super().message(**kwargs)
        message["Bcc:"] = "leak@example.org"
        return message


class WritesTo(EmailMessage):
    def message(self, **kwargs):
        message = super().message(**kwargs)
        del message["To"]
        message["To"] = "leak@example.org"
        return message


class MergesData(EmailMessage):
    merge_data = {"leak@example.org": {}}


@pytest.mark.parametrize("kind", [AddsRecipients, WritesCc, WritesAlmostBcc, WritesTo, MergesData])
@pytest.mark.parametrize("category", ["other", "security"])
def test_a_class_that_undoes_the_redirect_is_refused(smtp_server, make_set, reload, kind, category):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    with email_category(category), pytest.raises(RedirectError):
        kind("Hi", "Body", SITE, ["real@example.org"]).send()
    assert smtp_server.received == []
    assert mail.outbox == []


def test_per_recipient_data_does_not_travel_with_a_redirect(make_set, reload, smtp_server):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    message = _message()
    message.merge_data = {"real@example.org": {"name": "Ann"}}
    with email_category("security"):
        message.send()
    assert not hasattr(mail.outbox[0], "merge_data")
    assert message.merge_data


@pytest.mark.threat(15)
def test_line_breaks_in_headers_are_a_value_error(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    with pytest.raises(ValueError):
        send_mail("Hi\nBcc: leak@example.org", "Body", None, ["real@example.org"])
    assert smtp_server.received == []


def test_a_local_part_that_is_not_ascii_is_a_value_error(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    with pytest.raises(ValueError):
        send_mail("Hi", "Body", None, ["nø@example.dk"])
    send_mail("Hi", "Body", None, ["to@öäü.com"])
    assert [r.recipients for r in smtp_server.received] == [["to@xn--4ca9at.com"]]


@pytest.mark.parametrize(
    "address", ['"', '"\\', "<>", "()", "[", "@", "", ":;", ".%\r@[ ", '\t..=?>@;(\udc80"']
)
def test_what_python_cannot_parse_is_a_value_error(address):
    """Not an error of Python's parser, after which a queued message would be tried again."""
    with pytest.raises(ValueError):
        mime.bare_address(address, EmailMessage())


@pytest.mark.parametrize("where", ["set", "always", "default"])
def test_an_international_sender(make_set, reload, settings, where):
    values = {"sender_address": "hello@bücher.example", "sender_name": "Bücher"}
    if where == "default":
        settings.DEFAULT_FROM_EMAIL = "hello@bücher.example"
        values = {"sender_name": "Bücher", "authentication": "none", "username": ""}
    from_email = "Ann <ann@example.net>" if where == "always" else None
    with SMTPServer(auth=where != "default") as server:
        make_set(server, **({"always_use_sender": where == "always"} | values))
        reload()
        _message(from_email=from_email).send()
    [received] = server.received
    assert received.sender == "hello@xn--bcher-kva.example"
    assert "<hello@xn--bcher-kva.example>" in received.message["From"]


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize("given", ["Acme, Inc. <info@acme.example>", "a@b.example, c@d.example"])
@pytest.mark.parametrize("default", [SITE, "Other, Ltd. <info@other.example>"])
def test_a_sender_that_cannot_be_parsed_is_a_value_error(
    smtp_server, make_set, reload, settings, given, default, always
):
    settings.DEFAULT_FROM_EMAIL = default
    make_set(smtp_server, sender_address="s@example.com", always_use_sender=always)
    reload()
    with pytest.raises(ValueError, match="nvalid address"):
        _message(from_email=given).send()
    assert smtp_server.received == []


def test_none_for_no_reply_to(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    message = _message()
    message.reply_to = None
    message.send()
    assert smtp_server.received[0].message["Reply-To"] is None


class Notes(BaseEmailBackend):
    """Notes on each message how it went, as django-anymail does, and then may fail."""

    def send_messages(self, messages):
        for message in messages:
            message.anymail_status = f"status of {message.subject}"
            message.subject = "its own business"
            if message.body == "fail":
                raise RuntimeError
        return len(messages)


@pytest.mark.parametrize("body", ["Body", "fail"])
def test_what_a_backend_notes_reaches_the_caller(db, settings, body):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {
        "STANDARD": {"BACKEND": "tests.delivery.test_outgoing.Notes"}
    }
    message = _message(body=body)
    message.anymail_status = None
    with contextlib.suppress(RuntimeError):
        message.send()
    assert (message.anymail_status, message.subject) == ("status of Hi", "Hi")


# Signed bounce addresses

_SIGNED = {"bounce_address": "bounces@example.com", "bounce_separator": "+"}


def test_the_bounce_address_proves_the_entry(smtp_server, make_set, reload):
    make_set(smtp_server, **_SIGNED)
    reload()
    _message(cc=["other@example.org"]).send()
    [received] = smtp_server.received
    entry = LogEntry.objects.get()
    assert verified(received.sender) == entry.key
    assert received.recipients == ["real@example.org", "other@example.org"]
    # Recipients see it as Return-Path; nothing else names it.
    assert received.sender.encode() not in received.content
    assert received.sender not in entry.sender


def test_redirected_mail_has_a_signed_bounce_address_too(smtp_server, make_set, reload):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"], **_SIGNED)
    reload()
    _message().send()
    assert verified(smtp_server.received[0].sender) == LogEntry.objects.get().key


def test_each_message_of_the_outbox_keeps_its_entry(smtp_server, make_set, reload, settings):
    make_set(smtp_server, **_SIGNED)
    reload()
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"DELIVERY": "queued"}
    for _number in range(2):
        _message().send()
    call_command("smtp_outbox", "--once", "--processes", "1", "--threads", "1", stdout=StringIO())
    senders = {verified(received.sender) for received in smtp_server.received}
    assert senders == set(LogEntry.objects.values_list("key", flat=True))
