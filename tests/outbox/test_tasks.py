"""The outbox's task: one for a transaction's messages, none that was rolled back, nothing in it."""

import time
from datetime import timedelta

import django
import pytest
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.utils import timezone

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.outbox import tasks
from wagtail_smtp.outbox.tasks import deliver_outbox, run_times
from wagtail_smtp.transports.pool import close_all

_NATIVE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"

pytestmark = pytest.mark.django_db(transaction=True)


class Waiting:
    """A task system that can wait; it only notes what is enqueued."""

    supports_defer = True

    def __init__(self):
        self.enqueued = []
        self.error = None

    def validate_task(self, task):
        pass

    def enqueue(self, task, args, kwargs):
        if self.error is not None:
            raise self.error
        self.enqueued.append((task.run_after, list(args), dict(kwargs)))


@pytest.fixture
def system(monkeypatch, configure):
    configure(DELIVERY="queued")
    noted = Waiting()
    monkeypatch.setattr(type(deliver_outbox), "get_backend", lambda self: noted)
    return noted


def _send(subject="Hi"):
    return EmailMessage(subject, "Body", "shop@example.com", ["real@example.org"]).send()


def test_one_task_for_all_messages_of_a_transaction(system):
    with transaction.atomic():
        for _ in range(5):
            _send()
        assert system.enqueued == []
    assert system.enqueued == [(None, [], {})]
    _send()
    assert len(system.enqueued) == 2


def test_a_rollback_takes_the_task_along_and_no_other(system):
    with transaction.atomic():
        _send()
        transaction.set_rollback(True)
    assert system.enqueued == []
    with transaction.atomic():
        _send()
    assert len(system.enqueued) == 1
    system.enqueued.clear()
    with transaction.atomic():
        with transaction.atomic():
            _send()
            transaction.set_rollback(True)
        with transaction.atomic():
            _send()
        _send()
    assert 1 <= len(system.enqueued) <= 2
    assert OutboxMessage.objects.count() == 3


def test_what_a_savepoint_takes_back_takes_no_other_message_s_task(system):
    with transaction.atomic():
        with transaction.atomic():
            _send()
        with transaction.atomic():
            _send()
            transaction.set_rollback(True)
    assert len(system.enqueued) == 1


def test_a_task_system_that_fails_is_no_error(system, caplog):
    system.error = OSError("Redis is down")
    assert _send() == 1
    with transaction.atomic():
        assert _send() == 1
    assert OutboxMessage.objects.count() == 2
    assert "could not be enqueued" in caplog.text


def _live(make_set, reload, server):
    make_set(server, timeout=2)
    reload()


def test_what_did_not_fit_into_a_task_is_the_next_one_s(system, make_set, reload, monkeypatch):
    monkeypatch.setattr(tasks, "_SECONDS", 0)
    with HostileServer() as server:
        _live(make_set, reload, server)
        with transaction.atomic():
            for number in range(12):
                _send(str(number))
        system.enqueued.clear()
        runs = 0
        while OutboxMessage.objects.exists():
            deliver_outbox.call()
            runs += 1
            assert runs <= 20
            if OutboxMessage.objects.exists():
                assert system.enqueued.pop() == (None, [], {})
    assert {entry.state for entry in LogEntry.objects.all()} == {"sent"}


def test_a_task_that_runs_at_once_does_not_go_on_for_ever(make_set, reload, configure, settings):
    """Within its own enqueueing it enqueues no other."""
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": f"{_NATIVE}.backends.immediate.ImmediateBackend"}}
    with HostileServer() as server:
        _live(make_set, reload, server)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tasks, "_SECONDS", 0)
            with transaction.atomic():
                for _ in range(12):
                    _send()
        assert OutboxMessage.objects.exists()
        assert _send() == 1
        assert len(server.received) == 13
    assert not OutboxMessage.objects.exists()


def test_what_was_put_back_is_looked_after(system, make_set, reload):
    fault = Fault("rcpt", "refuse", "450 4.2.1 Later", times=1)
    with HostileServer(faults=[fault]) as server:
        _live(make_set, reload, server)
        _send()
        system.enqueued.clear()
        deliver_outbox.call()
    [(due, args, kwargs)] = system.enqueued
    assert timedelta(seconds=40) < due - timezone.now() < timedelta(seconds=80)
    assert (args, kwargs) == ([], {})


def test_the_task_does_not_come_before_the_message_is_due(system, make_set, reload):
    """Too early it would find nothing, and nobody would look after the message."""

    def slowly(execute, sql, *arguments):
        time.sleep(0.02)
        return execute(sql, *arguments)

    fault = Fault("rcpt", "refuse", "450 4.2.1 Later", times=1)
    with HostileServer(faults=[fault]) as server:
        _live(make_set, reload, server)
        _send()
        system.enqueued.clear()
        with connection.execute_wrapper(slowly):
            deliver_outbox.call()
    [(due, _args, _kwargs)] = system.enqueued
    assert due > OutboxMessage.objects.get().due_at


def test_what_immediate_delivery_hands_over_is_looked_after(system, make_set, reload, configure):
    configure(DELIVERY="immediate", RETRY_DEFERRED=True)
    fault = Fault("banner", "refuse", "554 Down", times=1)
    with HostileServer(faults=[fault]) as server:
        _live(make_set, reload, server)
        assert _send() == 1
    [(due, _args, _kwargs)] = system.enqueued
    assert timedelta(seconds=40) < due - timezone.now() < timedelta(seconds=80)
    close_all()


def test_few_moments_and_none_too_early():
    now = timezone.now()
    due = [now + timedelta(seconds=s) for s in (48, 50, 70, 100, 140, 1000)]
    looks = list(run_times(due))
    assert looks == [due[2], due[4], due[5]]
    assert list(run_times([])) == []
