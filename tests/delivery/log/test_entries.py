"""Every message has its entry, whatever became of it, and logging stops nothing."""

from contextlib import suppress

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import email_category
from wagtail_smtp.delivery.log import entries, stored_message
from wagtail_smtp.exceptions import (
    EmailDeliveryError,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageUnreadable,
    RedirectError,
)
from wagtail_smtp.models import LogEntry, StoredMessage
from wagtail_smtp.transports.smtp.stream import SMTPStream


def _send(*to, subject="Hi", **values):
    return EmailMessage(
        subject, "Body", "shop@example.com", list(to) or ["real@example.org"], **values
    ).send()


@pytest.fixture
def server(make_set, reload):
    with HostileServer() as server:
        make_set(server, name="Main")
        reload()
        yield server


def _recipients(entry, role="envelope"):
    return {item.address: item.state for item in entry.recipients.filter(role=role)}


def test_a_sent_message(server):
    with email_category("invoice"):
        _send("Real@Example.ORG", cc=["b@bücher.example"], subject="Your\tinvoice")
    entry = LogEntry.objects.get()
    assert (entry.state, entry.category, entry.category_source) == ("sent", "invoice", "context")
    assert (entry.via, entry.version) == ("Main", 1)
    assert entry.set_key is not None
    assert entry.sender == "shop@example.com"
    assert entry.subject == "Your invoice"
    assert entry.size == len(server.received[0].content)
    assert entry.message_id == server.received[0].message["Message-ID"]
    assert _recipients(entry) == {
        "real@example.org": "sent",
        "b@xn--bcher-kva.example": "sent",
    }
    [attempt] = entry.attempts.all()
    assert (attempt.via, attempt.state, attempt.phase) == ("Main", "sent", "")
    assert attempt.seconds > 0
    assert not StoredMessage.objects.exists()


def test_each_recipient_has_its_state(make_set, reload):
    replies = (("no@example.org", "550 5.1.1 Nobody"), ("later@example.org", "450 4.2.1 Later"))
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=replies)]) as server:
        make_set(server)
        reload()
        _send("ok@example.org", "no@example.org", "later@example.org")
    entry = LogEntry.objects.get()
    assert entry.state == "partly_sent"
    assert _recipients(entry) == {
        "ok@example.org": "sent",
        "no@example.org": "refused",
        "later@example.org": "deferred",
    }
    assert entry.recipients.get(address="no@example.org").reply == "5.1.1 Nobody"


def test_a_redirected_message_names_whom_it_was_kept_from(make_set, reload):
    with HostileServer() as server:
        make_set(server, name="Test", redirect=True, reports=["qa@example.com"])
        reload()
        _send("a@example.org", cc=["b@example.org"], bcc=["c@example.org"])
    entry = LogEntry.objects.get()
    assert entry.redirected_by == "Test"
    assert _recipients(entry) == {"qa@example.com": "sent"}
    assert _recipients(entry, "to") == {"a@example.org": "redirected"}
    assert _recipients(entry, "cc") == {"b@example.org": "redirected"}
    assert _recipients(entry, "bcc") == {"c@example.org": "redirected"}


@pytest.mark.parametrize(
    ("fault", "state", "is_stored"),
    [
        (Fault("end", "close"), "unknown", True),
        (Fault("end", "refuse", "554 5.7.1 Spam"), "refused", False),
        (Fault("connect", "close"), "failed", True),
    ],
)
def test_a_message_that_did_not_leave(make_set, reload, fault, state, is_stored):
    with HostileServer(faults=[fault]) as server:
        make_set(server, timeout=2)
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
    entry = LogEntry.objects.get()
    assert entry.state == state
    assert entry.reason
    assert entry.attempts.get().state in ("unknown", "refused", "deferred")
    assert hasattr(entry, "stored") is is_stored
    if is_stored:
        message = stored_message.load(entry)
        assert message.to == ["real@example.org"]
        assert b"Body" in message.message().as_bytes()


def test_what_blocked_a_message(server, configure):
    configure(REDIRECT_ALL_TO=[])
    with pytest.raises(RedirectError):
        _send()
    entry = LogEntry.objects.get()
    assert (entry.state, hasattr(entry, "stored")) == ("blocked", True)
    assert "no valid report email" in entry.reason
    assert _recipients(entry) == {"real@example.org": "not_sent"}


def test_a_message_that_cannot_be_written(server):
    with pytest.raises(ValueError):
        _send(subject="a\nb")
    entry = LogEntry.objects.get()
    assert (entry.state, hasattr(entry, "stored")) == ("failed", False)
    assert entry.subject == "a b"


@pytest.mark.parametrize(
    ("policy", "sent", "failed"),
    [("undelivered", False, True), ("all", True, True), ("none", False, False)],
)
def test_what_is_stored(make_set, reload, configure, policy, sent, failed):
    configure(STORE_MESSAGES=policy)
    with HostileServer(faults=[Fault("end", "close", skip=1)]) as server:
        make_set(server)
        reload()
        _send()
        with pytest.raises(MessageOutcomeUnknown):
            _send()
    stored = {e.state: hasattr(e, "stored") for e in LogEntry.objects.all()}
    assert stored == {"sent": sent, "unknown": failed}


@pytest.mark.threat(22)
def test_a_security_message_is_not_stored(configure, make_set, reload):
    configure(STORE_MESSAGES="all", STANDARD_CATEGORIES=())
    with HostileServer(faults=[Fault("end", "close")]) as server, email_category("security"):
        make_set(server)
        reload()
        with pytest.raises(MessageOutcomeUnknown):
            _send()
    assert LogEntry.objects.get().category == "security"
    assert not StoredMessage.objects.exists()


def test_what_is_stored_can_be_read_by_its_key_alone(make_set, reload, configure):
    configure(STORE_MESSAGES="all", ENCRYPTION_KEYS=["a" * 43 + "="])
    with HostileServer() as server:
        make_set(server)
        reload()
        _send(subject="Canary")
    entry = LogEntry.objects.get()
    assert b"Canary" not in bytes(entry.stored.content)
    configure(ENCRYPTION_KEYS=["b" * 43 + "="])
    with pytest.raises(MessageUnreadable, match="key"):
        stored_message.load(entry)


@pytest.mark.parametrize("name", ["entry", "recipients", "attempts"])
def test_what_can_not_be_described_has_the_rest(server, monkeypatch, name):
    def fail(*args, **kwargs):
        raise RuntimeError("no")

    monkeypatch.setattr(entries, name, fail)
    assert _send() == 1
    entry = LogEntry.objects.get()
    assert entry.state == "sent"
    assert entry.recipients.count() == (name != "recipients")
    assert entry.attempts.count() == (name != "attempts")


class Telltale(BaseEmailBackend):
    def send_messages(self, messages):
        raise RuntimeError("https://user:hunter2@example.com said no")


def test_what_a_backend_of_the_projects_says_is_not_kept(db, configure):
    """It may be anything, a password in a URL too."""
    configure(STANDARD={"BACKEND": f"{__name__}.Telltale"})
    with pytest.raises(RuntimeError):
        _send()
    entry = LogEntry.objects.get()
    assert (entry.state, entry.reason) == ("unknown", "RuntimeError")
    assert entry.attempts.get().reply == "RuntimeError"


def test_very_many_recipients(make_set, reload):
    addresses = [f"user{number}@example.org" for number in range(250)]
    with HostileServer() as server:
        make_set(server)
        reload()
        _send(*addresses)
    entry = LogEntry.objects.get()
    assert _recipients(entry) == dict.fromkeys(addresses, "sent")
    assert entry.attempts.count() == 1


def test_a_server_that_refuses_everybody(make_set, reload):
    with HostileServer(faults=[Fault("rcpt", "refuse", "550 5.1.1 Nobody")]) as server:
        make_set(server)
        reload()
        with pytest.raises(MessageRefused):
            _send("a@example.org", "b@example.org")
    entry = LogEntry.objects.get()
    assert set(_recipients(entry).values()) == {"refused"}
    assert entry.reason.endswith("550 5.1.1 Nobody")


def test_long_and_odd_values_fit(server):
    _send(subject="ä" * 5000)
    assert len(LogEntry.objects.get().subject) == 255


def test_what_is_interrupted_on_the_wire_is_unknown(server, monkeypatch):
    class TimeIsOver(Exception):
        pass

    def interrupted(*args, **kwargs):
        raise TimeIsOver

    monkeypatch.setattr(SMTPStream, "read_reply", interrupted)
    with pytest.raises(TimeIsOver):
        _send()
    assert LogEntry.objects.get().state == "unknown"


@pytest.mark.parametrize("redirect", [True, False])
@pytest.mark.parametrize("delivery", ["immediate", "queued"])
@pytest.mark.parametrize(
    "address", ["x@müller..de", "x@exa\u202emple.example", "x@\ud800.example", "x@a..b", "x" * 999]
)
def test_an_address_that_is_none(server, configure, settings, address, delivery, redirect):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY=delivery)
    if redirect:
        configure(REDIRECT_ALL_TO=["qa@example.com"])
    sent = 0
    with suppress(ValueError):
        sent = _send(address, "ok@example.org")
    entry = LogEntry.objects.get()
    assert (entry.state in ("sent", "queued")) == (sent == 1)
    assert entry.subject == "Hi"
    kept_from = "ok@example.org" if redirect and delivery == "immediate" else ""
    assert entry.recipients.filter(address=kept_from).exists() == bool(kept_from)


@pytest.mark.parametrize("delivery", ["immediate", "queued"])
def test_an_attachment_that_can_not_be_written(server, configure, delivery):
    """As a visitor names it; the email package has an error of its own for that."""
    configure(DELIVERY=delivery)
    message = EmailMessage("Hi", "Body", "shop@example.com", ["real@example.org"])
    message.attachments.append(("a.pdf\r\nBcc: v@example.org", b"%PDF", "application/pdf"))
    with pytest.raises(Exception, match=r"(?i)header|newline|linefeed"):
        message.send()
    assert LogEntry.objects.get().state == "failed"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_in_the_midst_of_it(server, monkeypatch, error):
    monkeypatch.setattr(SMTPStream, "read_reply", _raiser(error))
    with pytest.raises(error):
        _send()
    assert LogEntry.objects.get().state == "unknown"


def _raiser(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize("delivery", ["immediate", "queued"])
def test_a_category_that_is_none(server, configure, delivery):
    configure(DELIVERY=delivery)
    message = EmailMessage("Hi", "Body", "shop@example.com", ["real@example.org"])
    message.email_category = "No Category"
    with pytest.raises(ValueError):
        message.send()
    assert (LogEntry.objects.get().state, LogEntry.objects.get().category) == ("failed", "other")
