"""What the outbox must never do: reach others, lose an outcome, send what is too old."""

import asyncio
import smtplib
import threading
import time
from datetime import timedelta
from email.message import EmailMessage as PythonMessage

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.db import IntegrityError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import email_category, live
from wagtail_smtp.exceptions import MessageOutcomeUnknown
from wagtail_smtp.live.db import autonomous
from wagtail_smtp.maintenance.resend import resend
from wagtail_smtp.models import LogEntry, OutboxMessage, SettingsSet, StoredMessage
from wagtail_smtp.outbox import outcomes
from wagtail_smtp.outbox import worker as outbox_worker
from wagtail_smtp.outbox.worker import Worker


@pytest.fixture(autouse=True)
def _queued(configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


def _send(kind=EmailMessage, **values):
    return kind("Hi", "Body", "shop@example.com", ["real@example.org"], **values).send()


def _work():
    worker = Worker()
    try:
        return worker.drain()
    finally:
        worker.close()


@pytest.mark.django_db(transaction=True)
def test_queued_on_a_running_event_loop():
    async def view():
        return _send()

    assert asyncio.run(view()) == 1
    assert LogEntry.objects.get().state == "queued"


@pytest.mark.django_db(transaction=True)
def test_a_message_costs_no_statement_of_its_own(smtp_server, make_set, reload):
    """Neither here nor in receivers of signals, such as those of the metrics."""
    make_set(smtp_server)
    reload()

    def statements(messages):
        for _number in range(messages):
            _send()
        with CaptureQueriesContext(connection) as captured:
            _work()
        return len(captured)

    statements(1)
    few, many = statements(15), statements(55)
    assert LogEntry.objects.filter(state="sent").count() == 71
    # Claims have up to ten messages.
    assert (many - few) / 40 < 1.8


class Guarded(EmailMessage):
    def recipients(self):
        return ["safe@example.com"]


def test_whom_a_class_leaves_out_gets_nothing(make_set, reload):
    with HostileServer() as server:
        make_set(server)
        reload()
        _send(Guarded)
        _work()
        assert [received.recipients for received in server.received] == [["safe@example.com"]]


class FromPython(EmailMessage):
    def message(self, **kwargs):
        written = PythonMessage()
        written["From"], written["To"] = self.from_email, ", ".join(self.to)
        written["Subject"] = self.subject
        written.set_content("one\ntwo\n")
        return written


@pytest.mark.parametrize("delivery", ["queued", "immediate"])
def test_a_class_with_line_ends_of_its_own(make_set, reload, configure, delivery):
    configure(DELIVERY=delivery)
    with HostileServer() as server:
        make_set(server, sender_address="set@example.com", always_use_sender=True)
        reload()
        _send(FromPython)
        _work()
        [received] = server.received
    assert b"\n" not in received.content.replace(b"\r\n", b"")
    assert received.message.get_content().split() == ["one", "two"]
    assert len(received.message.get_all("From")) == 1


def test_a_redirect_holds_for_standard_delivery(make_set, reload):
    with HostileServer() as server:
        make_set(server, redirect=True, reports=["qa@example.com"])
        reload()
        with email_category("security"):
            _send()
        _work()
        assert server.received == []
    assert [message.to for message in mail.outbox] == [["qa@example.com"]]
    assert LogEntry.objects.get().state == "sent"


class Garbage(BaseEmailBackend):
    def send_messages(self, messages):
        raise smtplib.SMTPConnectError(-1, b"what?")


def test_a_code_that_is_none_is_no_trouble(db, configure):
    configure(STANDARD={"BACKEND": f"{__name__}.Garbage"})
    _send()
    _work()
    entry = LogEntry.objects.get()
    assert (entry.state, entry.attempts.get().code) == ("deferred", 0)


def test_an_outcome_that_the_database_refuses_keeps_no_other_back(make_set, reload, monkeypatch):
    statements = outcomes.statements

    def fail_for_all_at_once(results):
        if len(results) > 1:
            raise IntegrityError("no")
        return statements(results)

    monkeypatch.setattr(outcomes, "statements", fail_for_all_at_once)
    with HostileServer() as server:
        make_set(server)
        reload()
        for _ in range(3):
            _send()
        assert _work() == 3
        assert len(server.received) == 3
    assert set(LogEntry.objects.values_list("state", flat=True)) == {"sent"}
    assert not OutboxMessage.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_fails_while_it_takes_them_one_by_one_is_waited_for(
    make_set, reload, monkeypatch
):
    write_and_claim, write_one, calls = outcomes.write_and_claim, outcomes.write_one, []

    def refuse(token, results, limit):
        if results:
            raise IntegrityError("no")
        write_and_claim(token, results, limit)

    def fail_twice(result):
        calls.append(result)
        if len(calls) == 1:
            raise OperationalError("Deadlock found")
        write_one(result)
        if len(calls) == 2:
            raise OperationalError("the connection was lost, with the answer")

    monkeypatch.setattr(outbox_worker, "write_and_claim", refuse)
    monkeypatch.setattr(outbox_worker, "write_one", fail_twice)
    sleep = time.sleep
    monkeypatch.setattr(outbox_worker.time, "sleep", lambda seconds: sleep(0.01))
    with HostileServer(faults=[Fault("mail", "close", times=1)]) as server:
        make_set(server)
        reload()
        for _ in range(3):
            _send()
        assert _work() == 3
        assert len(server.received) == 2
    states = LogEntry.objects.order_by("state").values_list("state", flat=True)
    assert list(states) == ["deferred", "sent", "sent"]
    assert OutboxMessage.objects.get().state == OutboxMessage.State.WAITING


def test_security_mail_that_is_too_old_is_not_sent(make_set, reload, configure):
    configure(STANDARD_CATEGORIES=())
    with HostileServer() as server:
        make_set(server)
        reload()
        with email_category("security"):
            _send()
        OutboxMessage.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        _work()
        assert server.received == []
    entry = LogEntry.objects.get()
    assert (entry.state, "in time" in entry.reason) == ("failed", True)
    assert {item.state for item in entry.recipients.all()} == {"not_sent"}
    assert not StoredMessage.objects.exists()
    assert not OutboxMessage.objects.exists()


def test_a_resent_message_is_a_new_one_on_the_wire_too(make_set, reload, configure):
    configure(DELIVERY="immediate")
    with HostileServer(faults=[Fault("end", "close", times=1)]) as server:
        make_set(server)
        reload()
        with pytest.raises(MessageOutcomeUnknown):
            _send()
        old = LogEntry.objects.get()
        configure(DELIVERY="queued")
        new = resend(old)
        _work()
        [received] = server.received
    assert received.message["Message-ID"] == new.message_id != old.message_id


def test_what_the_outbox_took_over_waits(make_set, reload, configure):
    configure(DELIVERY="immediate", RETRY_DEFERRED=True)
    with HostileServer(faults=[Fault("end", "refuse", "451 4.3.0 Later")]) as server:
        make_set(server)
        reload()
        _send()
    assert {item.state for item in LogEntry.objects.get().recipients.all()} == {"waiting"}


def test_if_all_who_are_to_get_it_have_it_already(make_set, reload):
    later = (("later@example.org", "450 4.2.1 Later"),)
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=later, times=2)]) as server:
        make_set(server, redirect=False, reports=["real@example.org"])
        reload()
        EmailMessage(
            "Hi", "Body", "shop@example.com", ["real@example.org", "later@example.org"]
        ).send()
        _work()
        SettingsSet.objects.update(redirect=True)
        live.reload()
        OutboxMessage.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        _work()
        assert len(server.received) == 1
    assert LogEntry.objects.get().state == "sent"
    assert not OutboxMessage.objects.exists()


def test_work_whose_turn_does_not_come_is_not_done_later(monkeypatch):
    monkeypatch.setattr(autonomous, "_START_TIMEOUT", 0.1)
    thread, done, release = autonomous._WriterThread(), [], threading.Event()
    blocking = threading.Thread(target=thread.call, args=(lambda: release.wait(5), "default"))
    monkeypatch.setattr(autonomous, "_do", _without_connection)
    blocking.start()
    while not thread._work.empty() or thread._thread is None:
        pass
    with pytest.raises(TimeoutError):
        thread.call(lambda: done.append(1), "default")
    release.set()
    blocking.join(10)
    thread.call(lambda: done.append(2), "default")
    assert done == [2]


def _without_connection(future, work_, connection):
    if future.set_running_or_notify_cancel():
        future.set_result(work_())
