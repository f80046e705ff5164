"""A message of the log is sent again, tried now, or taken out of the outbox."""

from datetime import timedelta

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone

from tests.support.outbox import claim
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import email_category
from wagtail_smtp.exceptions import MessageOutcomeUnknown, MessageUnreadable, ResendRefused
from wagtail_smtp.maintenance.resend import can_resend, resend
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage
from wagtail_smtp.outbox import outcomes


def _send(*to):
    return EmailMessage(
        "Hi", "Body", "shop@example.com", list(to) or ["real@example.org"], bcc=["b@example.org"]
    ).send()


@pytest.fixture
def unknown(make_set, reload):
    """A server, and the entry of a message whose outcome is unknown there."""
    with HostileServer(faults=[Fault("end", "close", times=1)]) as server:
        make_set(server)
        reload()
        with email_category("invoice"), pytest.raises(MessageOutcomeUnknown):
            _send()
        yield server, LogEntry.objects.get()


def test_it_goes_to_its_original_recipients_as_a_new_message(unknown):
    server, old = unknown
    assert can_resend(old)
    new = resend(old)
    [received] = server.received
    assert received.recipients == ["real@example.org", "b@example.org"]
    assert received.content.endswith(b"\r\n\r\nBody\r\n")
    assert received.message["Message-ID"] == new.message_id != old.message_id
    assert (new.state, new.category, new.category_source) == ("sent", "invoice", "resent")
    assert new.resend_of == old
    old.refresh_from_db()
    assert old.state == "unknown"


def test_queued_it_waits_in_the_outbox(unknown, configure, settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY="queued")
    server, old = unknown
    new = resend(old)
    assert (new.state, new.outbox.category, new.resend_of) == ("queued", "invoice", old)
    assert server.received == []


def test_it_fails_with_an_entry_of_its_own(make_set, reload):
    with HostileServer(faults=[Fault("end", "close", times=2)]) as server:
        make_set(server)
        reload()
        with pytest.raises(MessageOutcomeUnknown):
            _send()
        old = LogEntry.objects.get()
        with pytest.raises(MessageOutcomeUnknown):
            resend(old)
    assert [e.resend_of for e in LogEntry.objects.order_by("id")] == [None, old]


def test_without_the_message_it_is_refused(unknown):
    _server, old = unknown
    StoredMessage.objects.all().delete()
    old.refresh_from_db()
    assert not can_resend(old)
    with pytest.raises(MessageUnreadable):
        resend(old)


@pytest.mark.threat(22)
def test_security_mail_is_never_sent_again(unknown):
    server, old = unknown
    old.category = "security"
    assert not can_resend(old)
    with pytest.raises(ResendRefused):
        resend(old)
    assert server.received == []


@pytest.fixture
def waiting(db, configure, settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY="queued")
    _send()
    OutboxMessage.objects.update(due_at=timezone.now() + timedelta(hours=1))
    return LogEntry.objects.get()


def test_a_waiting_message_is_not_sent_again(waiting):
    assert not can_resend(waiting)
    with pytest.raises(ResendRefused):
        resend(waiting)


def test_a_waiting_message_is_tried_now(waiting):
    assert claim() == []
    assert outcomes.try_now(waiting)
    assert len(claim()) == 1
    assert not outcomes.try_now(waiting)


def test_a_waiting_message_is_cancelled(waiting):
    assert outcomes.cancel(waiting)
    assert waiting.state == "cancelled"
    assert {r.state for r in waiting.recipients.all()} == {"not_sent"}
    assert not OutboxMessage.objects.exists()
    assert not StoredMessage.objects.exists()
    assert not outcomes.cancel(waiting)


def test_what_is_on_its_way_is_not_cancelled(waiting):
    outcomes.try_now(waiting)
    claim()
    assert not outcomes.cancel(waiting)
    assert OutboxMessage.objects.count() == 1
