"""What the log keeps, for how long, and that pruning is in nobody's way."""

import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.core.signals import request_finished
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.servers.hostile import HostileServer
from wagtail_smtp import signals
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.maintenance import periodic, retention
from wagtail_smtp.management.commands import smtp_prune
from wagtail_smtp.models import LogAttempt, LogEntry, LogRecipient, OutboxMessage, StoredMessage
from wagtail_smtp.outbox.worker import Worker


@pytest.fixture(autouse=True)
def _new_schedule():
    periodic.forget()
    yield
    periodic.forget()


@pytest.fixture
def clock(monkeypatch):
    """The clock by which steps are due; tests move it on."""
    clock = SimpleNamespace(now=time.monotonic())
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(periodic, "time", clock)
    return clock


def _entries(count, *, days, recipients=1, stored=False, waiting=False, size=3):
    """Entries of so many days ago."""
    then = timezone.now() - timedelta(days=days)
    made = LogEntry.objects.bulk_create(
        LogEntry(state="failed", category="other", created_at=then + timedelta(microseconds=i))
        for i in range(count)
    )
    LogRecipient.objects.bulk_create(
        LogRecipient(entry=entry, address="a@example.org", domain="example.org", state="not_sent")
        for entry in made
        for _ in range(recipients)
    )
    LogAttempt.objects.bulk_create(
        LogAttempt(entry=entry, via="Main", began_at=then, seconds=1, state="deferred")
        for entry in made
    )
    if stored:
        StoredMessage.objects.bulk_create(
            StoredMessage(entry=entry, content=b"...", size=size, created_at=entry.created_at)
            for entry in made
        )
    if waiting:
        OutboxMessage.objects.bulk_create(
            OutboxMessage(entry=entry, category="other", expires_at=timezone.now())
            for entry in made
        )
    return made


def _prune(capsys):
    call_command("smtp_prune")
    return capsys.readouterr().out


def test_what_is_old_enough_goes_with_all_that_belongs_to_it(db, capsys):
    [gone] = _entries(1, days=91, stored=True)
    [kept] = _entries(1, days=89)
    LogEntry.objects.filter(pk=kept.pk).update(resend_of=gone)
    assert "removed: 1. Stored messages removed: 1." in _prune(capsys)
    kept.refresh_from_db()
    assert list(LogEntry.objects.all()) == [kept]
    assert kept.resend_of_id == gone.pk  # by it, copies of the same message know each other
    assert LogRecipient.objects.get().entry == LogAttempt.objects.get().entry == kept


def test_whole_messages_go_first(db, capsys):
    _entries(1, days=15, stored=True)
    [kept] = _entries(1, days=13, stored=True)
    assert "removed: 0. Stored messages removed: 1." in _prune(capsys)
    assert StoredMessage.objects.get().entry == kept
    assert LogEntry.objects.count() == 2


def test_the_project_says_for_how_long(db, capsys, configure):
    configure(KEEP_LOG_DAYS=0.5, KEEP_MESSAGES_DAYS=10**12)
    _entries(1, days=0.4, stored=True)
    _entries(1, days=0.6, stored=True)
    assert "removed: 1. Stored messages removed: 1." in _prune(capsys)
    configure(KEEP_LOG_DAYS=10**12)
    assert "removed: 0. Stored messages removed: 0." in _prune(capsys)


def test_what_the_outbox_holds_stays(db, capsys, monkeypatch):
    monkeypatch.setattr(retention, "STEP", 2)
    held = _entries(5, days=200, stored=True, waiting=True)
    _entries(3, days=199, stored=True)
    assert "removed: 3. Stored messages removed: 3." in _prune(capsys)
    assert set(LogEntry.objects.all()) == set(held)
    assert StoredMessage.objects.count() == 5
    # Of the same moment, and more than a step looks at.
    LogEntry.objects.update(created_at=held[0].created_at)
    StoredMessage.objects.update(created_at=held[0].created_at)
    assert "removed: 0. Stored messages removed: 0." in _prune(capsys)
    OutboxMessage.objects.all().delete()
    assert "removed: 5. Stored messages removed: 5." in _prune(capsys)


def test_steps_are_small(db, monkeypatch, capsys):
    monkeypatch.setattr(retention, "STEP", 4)
    monkeypatch.setattr(retention, "_ROWS", 10)
    monkeypatch.setattr(retention, "_BYTES", 5)
    _entries(10, days=100, recipients=6, stored=True)
    before = (10, 10, 60)
    while True:
        with CaptureQueriesContext(connection) as queries:
            step = retention.prune_step()
        assert len(queries) < 20
        after = (
            StoredMessage.objects.count(),
            LogEntry.objects.count(),
            LogRecipient.objects.count(),
        )
        removed = [old - new for old, new in zip(before, after, strict=True)]
        assert removed[1] <= 4
        assert removed[2] <= 10
        before = after
        if not step.more:
            break
    assert after == (0, 0, 0)


def test_a_transaction_only_deletes(db):
    """On SQLite no message can be logged meanwhile."""
    _entries(3, days=100, recipients=2, stored=True)
    with CaptureQueriesContext(connection) as queries:
        retention._delete_entries([entry.pk for entry in LogEntry.objects.all()])
    verbs = [query["sql"].split()[0] for query in queries]
    deletes = [number for number, verb in enumerate(verbs) if verb == "DELETE"]
    assert len(deletes) == 5
    assert deletes == list(range(deletes[0], deletes[0] + 5))
    assert not LogEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_step_leaves_no_checkpoint_to_the_next_message():
    def checkpoints():
        with CaptureQueriesContext(connection) as queries:
            retention.prune_step()
        return sum("wal_checkpoint" in query["sql"] for query in queries)

    assert checkpoints() == 0  # nothing was deleted
    _entries(1, days=100)
    assert checkpoints() == (1 if connection.vendor == "sqlite" else 0)


def test_octets_bound_a_step_too(db, monkeypatch):
    monkeypatch.setattr(retention, "_BYTES", 10)
    _entries(5, days=20, stored=True, size=4)
    step = retention.prune_step()
    assert (step.messages, step.more) == (2, True)


def test_room_in_the_quota_is_known_at_once(db, configure, capsys):
    configure(MAX_STORED=400)
    [old, new] = _entries(2, days=20)
    stored_message.keep(old, b"x" * 100)
    with pytest.raises(stored_message.StorageFull):
        stored_message.keep(new, b"x" * 200)
    StoredMessage.objects.update(created_at=old.created_at)
    stored_message._usage._known_until = float("inf")  # however lately it was asked
    _prune(capsys)
    stored_message.keep(new, b"x" * 100)


@pytest.fixture
def server(make_set, reload):
    with HostileServer() as server:
        make_set(server)
        reload()
        yield server


def _send():
    EmailMessage("Hi", "Body", "shop@example.com", ["real@example.org"]).send()


@pytest.mark.django_db(transaction=True)
class TestByItself:
    def test_after_a_message_now_and_then(self, server, clock):
        _entries(1, days=100)
        _send()
        assert LogEntry.objects.count() == 1
        _entries(1, days=100)
        _send()
        assert LogEntry.objects.count() == 3
        clock.now += 500
        _send()
        assert LogEntry.objects.count() == 4
        clock.now += 101
        _send()
        assert LogEntry.objects.count() == 4

    def test_sooner_while_there_is_more(self, server, clock, monkeypatch):
        monkeypatch.setattr(retention, "STEP", 2)
        _entries(3, days=100)
        _send()
        assert LogEntry.objects.count() == 2
        clock.now += 20
        _send()
        assert LogEntry.objects.count() == 3
        clock.now += 11
        _send()
        assert LogEntry.objects.count() == 3

    def test_not_in_the_callers_transaction_but_after_the_request(self, server):
        _entries(1, days=100)
        with transaction.atomic():
            _send()
            assert LogEntry.objects.count() == 2
        request_finished.send(sender=None)
        assert LogEntry.objects.count() == 1

    def test_not_where_transactions_are_the_callers_own(self, server):
        _entries(1, days=100)
        transaction.set_autocommit(False)
        try:
            _send()
            assert LogEntry.objects.count() == 2
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)

    def test_messages_are_sent_while_the_command_prunes(self, server, monkeypatch, capsys):
        monkeypatch.setattr(retention, "STEP", 2)
        _send()  # the next automatic step is due in ten minutes
        _entries(6, days=100)
        left = []

        def send(seconds):
            assert seconds >= retention.PAUSE
            _send()
            left.append(LogEntry.objects.filter(state="failed").count())

        clock = SimpleNamespace(monotonic=time.monotonic, sleep=send)
        monkeypatch.setattr(smtp_prune, "time", clock)
        assert "removed: 6." in _prune(capsys)
        assert left == [4, 2, 0]
        assert len(server.received) == LogEntry.objects.count() == 4

    def test_a_failure_stops_nothing(self, server, clock, monkeypatch, caplog):
        def fail():
            raise DatabaseError("no")

        _entries(1, days=100)
        with monkeypatch.context() as patch:
            patch.setattr(retention, "prune_step", fail)
            _send()
        assert len(server.received) == 1
        assert "could not be pruned" in caplog.text
        clock.now += 601
        _send()
        assert LogEntry.objects.count() == 2

    def test_an_idle_worker(self, configure):
        configure(OUTBOX_POLL=0.001)
        _entries(1, days=100)
        worker = Worker()
        signals.outbox_idle.connect(lambda **kw: worker.stop(), dispatch_uid="test", weak=False)
        try:
            worker.work()
        finally:
            signals.outbox_idle.disconnect(dispatch_uid="test")
        assert not LogEntry.objects.exists()
