"""Queued messages: accepted with the caller's transaction, delivered once, kept until then."""

import threading
import time
from datetime import timedelta

import pytest
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.db import connections, transaction
from django.utils import timezone

from tests.support.outbox import claim
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import email_category, live
from wagtail_smtp.exceptions import MessageDeferred, StorageFull
from wagtail_smtp.management.commands import smtp_outbox
from wagtail_smtp.models import LogEntry, OutboxMessage, SettingsSet, StoredMessage
from wagtail_smtp.outbox import processes as worker_processes
from wagtail_smtp.outbox.worker import Worker, give_up_lost
from wagtail_smtp.transports.pool import close_all


@pytest.fixture(autouse=True)
def _queued(configure, settings):
    configure(DELIVERY="queued")
    # Nothing is delivered unless a test's worker does it.
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


def _send(*to, subject="Hi", **values):
    return EmailMessage(
        subject, "Body", "shop@example.com", list(to) or ["real@example.org"], **values
    ).send()


def _live(make_set, reload, server, **values):
    item = make_set(server, timeout=2, **values)
    reload()
    return item


def _work():
    worker = Worker()
    try:
        return worker.drain()
    finally:
        worker.close()


def _due_now():
    OutboxMessage.objects.update(due_at=timezone.now() - timedelta(seconds=1))


def _recipients(entry):
    return {item.address: item.state for item in entry.recipients.filter(role="envelope")}


def test_accepted_and_delivered(make_set, reload):
    with HostileServer() as server:
        _live(make_set, reload, server)
        with email_category("invoice"):
            assert _send(bcc=["hidden@example.org"]) == 1
        entry = LogEntry.objects.get()
        assert (entry.state, entry.category, server.received) == ("queued", "invoice", [])
        assert set(_recipients(entry).values()) == {"waiting"}
        assert _work() == 1
        [received] = server.received
    entry.refresh_from_db()
    assert received.recipients == ["real@example.org", "hidden@example.org"]
    assert received.message["Message-ID"] == entry.message_id
    assert (entry.state, entry.via, entry.version) == ("sent", "Set 1", 1)
    assert set(_recipients(entry).values()) == {"sent"}
    assert entry.attempts.count() == 1
    assert not OutboxMessage.objects.exists()
    assert not StoredMessage.objects.exists()


def test_a_rollback_takes_it_back(db):
    with transaction.atomic():
        _send()
        assert OutboxMessage.objects.count() == 1
        transaction.set_rollback(True)
    assert not LogEntry.objects.exists()


@pytest.mark.threat(1)
def test_security_goes_first_and_is_forgotten(make_set, reload, configure):
    configure(STANDARD_CATEGORIES=(), STORE_MESSAGES="all")
    with HostileServer() as server:
        _live(make_set, reload, server)
        _send(subject="one")
        with email_category("security"):
            _send(subject="reset")
        assert _work() == 2
        assert [r.message["Subject"] for r in server.received] == ["reset", "one"]
    assert [m.entry.category for m in StoredMessage.objects.all()] == ["other"]


def test_redirect_and_sender_are_those_of_the_moment_it_leaves(make_set, reload):
    with HostileServer() as server:
        item = _live(make_set, reload, server, reports=["qa@example.com"])
        _send("a@example.org", "b@example.org")
        SettingsSet.objects.filter(pk=item.pk).update(redirect=True)
        live.reload()
        _work()
        assert [r.recipients for r in server.received] == [["qa@example.com"]]
    entry = LogEntry.objects.get()
    assert entry.redirected_by == item.name
    states = {(r.address, r.role): r.state for r in entry.recipients.all()}
    assert states == {
        ("a@example.org", "to"): "redirected",
        ("b@example.org", "to"): "redirected",
        ("qa@example.com", "envelope"): "sent",
    }


def test_what_is_deferred_is_tried_again(make_set, reload):
    with HostileServer(faults=[Fault("end", "refuse", "451 4.3.0 Later", times=2)]) as server:
        _live(make_set, reload, server)
        _send()
        for attempts in (1, 2):
            _work()
            row = OutboxMessage.objects.get()
            assert (row.attempts, row.state, row.entry.state) == (attempts, "waiting", "deferred")
            assert "451" in row.entry.reason
            assert row.entry.cause == "try-later"
            _due_now()
        _work()
        assert len(server.received) == 1
    entry = LogEntry.objects.get()
    assert (entry.state, entry.cause, entry.attempts.count()) == ("sent", "", 3)


def test_only_those_who_wait_get_it_again(make_set, reload):
    later = (("Later@example.org", "450 4.2.1 Later"),)
    fault = Fault("rcpt", "recipients", replies=later, times=2)
    with HostileServer(faults=[fault]) as server:
        _live(make_set, reload, server)
        _send("now@example.org", "Later@example.org")
        _work()
        assert _recipients(LogEntry.objects.get()) == {
            "now@example.org": "sent",
            "later@example.org": "waiting",
        }
        assert LogEntry.objects.get().cause == "recipient-disabled"
        _due_now()
        _work()
        recipients = [received.recipients for received in server.received]
    assert recipients == [["now@example.org"], ["Later@example.org"]]
    entry = LogEntry.objects.get()
    assert (entry.state, entry.cause) == ("sent", "")
    assert set(_recipients(entry).values()) == {"sent"}


def test_two_spellings_of_an_address_have_a_state_each(make_set, reload):
    """To the server they are two; the outbox takes them for one rather than send twice."""
    later = (("Ann@example.org", "450 4.2.1 Later"),)
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=later, times=2)]) as server:
        _live(make_set, reload, server)
        _send("ann@example.org", "Ann@example.org")
        _work()
        rows = LogEntry.objects.get().recipients.order_by("id")
        assert [row.state for row in rows] == ["sent", "waiting"]
        _due_now()
        _work()
        assert [received.recipients for received in server.received] == [["ann@example.org"]]
    entry = LogEntry.objects.get()
    assert (entry.state, entry.cause) == ("partly_sent", "recipient-disabled")
    assert [row.state for row in entry.recipients.order_by("id")] == ["sent", "not_sent"]
    assert not OutboxMessage.objects.exists()


def test_in_the_end_it_is_given_up_and_told(make_set, reload, configure, admins):
    configure(OUTBOX_MAX_AGE=0.001, COOL_DOWN=0.001)
    fault = Fault("end", "refuse", "451 4.3.0 Later", times=1)
    with HostileServer(faults=[fault]) as server:
        _live(make_set, reload, server)
        _send()
        time.sleep(0.01)  # longer than its maximum age
        configure(DELIVERY="immediate")
        _work()
        subjects = [str(received.message["Subject"]) for received in server.received]
    entry = LogEntry.objects.get(category="other")
    assert (entry.state, hasattr(entry, "stored")) == ("failed", True)
    assert set(_recipients(entry).values()) == {"not_sent"}
    assert not OutboxMessage.objects.exists()
    assert any("could not be delivered" in subject for subject in subjects)


def test_unknown_is_never_tried_again(make_set, reload):
    with HostileServer(faults=[Fault("end", "close", taken=True, times=1)]) as server:
        _live(make_set, reload, server)
        _send()
        _work()
        _work()
        assert len(server.received) == 1
    entry = LogEntry.objects.get()
    assert (entry.state, hasattr(entry, "stored")) == ("unknown", True)
    assert not OutboxMessage.objects.exists()


def test_what_a_dead_worker_was_sending_is_unknown(make_set, reload, configure):
    with HostileServer() as server:
        _live(make_set, reload, server)
        _send()
        assert len(claim()) == 1
        assert _work() == 0
        OutboxMessage.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert give_up_lost() == 1
        assert _work() == 0
        assert server.received == []
    entry = LogEntry.objects.get()
    assert (entry.state, entry.cause) == ("unknown", "outcome-unknown")
    assert set(_recipients(entry).values()) == {"unknown"}


def test_two_claims_never_share_a_message(make_set, reload):
    for _ in range(5):
        _send()
    first, second = claim(3), claim(3)
    assert len({row.pk for row in (*first, *second)}) == 5


@pytest.mark.threat(27)
def test_a_full_store_accepts_nothing(db, configure):
    configure(MAX_STORED=10)
    with pytest.raises(StorageFull):
        _send()
    assert not OutboxMessage.objects.exists()
    assert LogEntry.objects.get().state == "failed"


def test_immediate_delivery_can_hand_over_what_is_deferred(make_set, reload, configure):
    configure(DELIVERY="immediate", RETRY_DEFERRED=True, COOL_DOWN=0.001)
    with HostileServer(faults=[Fault("banner", "refuse", "554 Down", times=1)]) as server:
        _live(make_set, reload, server)
        assert _send() == 1
        entry = LogEntry.objects.get()
        assert (entry.state, entry.outbox.attempts) == ("deferred", 1)
        _due_now()
        close_all()
        assert _work() == 1
        assert len(server.received) == 1
    entry.refresh_from_db()
    assert (entry.state, entry.attempts.count()) == ("sent", 2)


def test_without_that_it_is_an_error(make_set, reload, configure):
    configure(DELIVERY="immediate")
    with HostileServer(faults=[Fault("connect", "close")]) as server:
        _live(make_set, reload, server)
        with pytest.raises(MessageDeferred):
            _send()
    assert not OutboxMessage.objects.exists()


def test_many_in_windows(make_set, reload):
    with HostileServer() as server:
        _live(make_set, reload, server)
        for number in range(35):
            _send(subject=str(number))
        assert _work() == 35
        assert [r.message["Subject"] for r in server.received] == [str(n) for n in range(35)]
    assert set(LogEntry.objects.values_list("state", flat=True)) == {"sent"}


def test_the_command(make_set, reload, capsys):
    with HostileServer() as server:
        _live(make_set, reload, server)
        call_command("smtp_outbox")
        _send()
        call_command("smtp_outbox")
        call_command("smtp_outbox", "--once", "--threads", "1")
        assert len(server.received) == 1
    told = capsys.readouterr().out
    assert "empty" in told
    assert "Waiting: 1" in told
    assert "processed: 1" in told


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("cores", "options", "expected"),
    [
        (4, [], (1, 1)),  # a test's transaction or database
        (1, [], (1, 4)),
        (2, [], (2, 2)),
        (6, [], (6, 1)),
        (64, [], (8, 1)),
        (3, [], (1, 4)),  # a fork isn't safe
        (2, ["--processes", "3", "--threads", "5"], (3, 5)),
        (2, ["--processes", "1"], (1, 4)),
    ],
)
def test_processes_and_threads_of_the_command(monkeypatch, cores, options, expected):
    started = []

    class Noted:
        def __init__(self, *numbers):
            started.append(numbers)

        def drain(self):
            return 0

    monkeypatch.setattr(smtp_outbox, "_cores", lambda: cores)
    monkeypatch.setattr(smtp_outbox.worker_processes, "are_possible", lambda: cores != 4)
    monkeypatch.setattr(smtp_outbox.worker_processes, "are_safe", lambda: cores != 3)
    monkeypatch.setattr(smtp_outbox, "Supervisor", Noted)
    monkeypatch.setattr(smtp_outbox, "WorkerPool", lambda threads: Noted(1, threads))
    monkeypatch.setattr(smtp_outbox.signal, "signal", lambda *_: None)
    call_command("smtp_outbox", "--once", *options)
    assert started == [expected]


@pytest.mark.django_db(transaction=True)
def test_the_command_in_a_thread(make_set, reload, capsys):
    """As a task calls it: one process, which handles no signals."""
    assert worker_processes.are_safe() is (threading.active_count() == 1)
    with HostileServer() as server:
        _live(make_set, reload, server)
        _send()
        # The database is shared: SQLite's, in memory, has one connection for all threads.
        connections["default"].inc_thread_sharing()
        errors = []

        def run():
            connections["default"] = shared
            try:
                call_command("smtp_outbox", "--once", "--threads", "1")
            except Exception as error:
                errors.append(error)

        shared = connections["default"]
        thread = threading.Thread(target=run)
        thread.start()
        assert not worker_processes.are_safe()
        thread.join()
        shared.dec_thread_sharing()
    assert not errors
    assert "processed: 1" in capsys.readouterr().out
