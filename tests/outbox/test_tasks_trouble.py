"""What breaks beside a worker costs no outcome, and no message."""

import pytest
from django.core.mail import EmailMessage
from django.db import OperationalError

from tests.support import down_cache
from tests.support.outbox import claim
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp.models import LogAttempt, LogEntry, OutboxMessage
from wagtail_smtp.outbox import claims
from wagtail_smtp.outbox import worker as outbox_worker
from wagtail_smtp.outbox.worker import Worker, give_up_lost


@pytest.fixture(autouse=True)
def _queued(configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


@pytest.fixture
def server(make_set, reload):
    with HostileServer() as server:
        make_set(server, timeout=2)
        reload()
        yield server


def _queue(count):
    for number in range(count):
        EmailMessage(str(number), "Body", "shop@example.com", ["real@example.org"]).send()


def _work():
    worker = Worker()
    try:
        return worker.drain()
    finally:
        worker.close()


def _states():
    return [entry.state for entry in LogEntry.objects.order_by("id")]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("reply", ["", "450 4.2.1 Later", "550 5.1.1 Nobody"])
def test_a_commit_whose_answer_is_lost(make_set, reload, monkeypatch, reply):
    """It is not settled twice: neither deferred and then failed, nor an attempt too many."""
    lost = []
    write = outbox_worker.write_and_claim

    def write_(token, results, limit):
        write(token, results, limit)
        if results and not lost:
            lost.append(True)
            raise OperationalError("the connection was lost")

    monkeypatch.setattr(outbox_worker, "write_and_claim", write_)
    faults = [Fault("rcpt", "refuse", reply, times=1)] if reply else []
    with HostileServer(faults=faults) as server:
        make_set(server, timeout=2)
        reload()
        _queue(1)
        _work()
    assert lost
    expected = {"": "sent", "450 4.2.1 Later": "deferred", "550 5.1.1 Nobody": "refused"}[reply]
    assert _states() == [expected]
    assert OutboxMessage.objects.count() == (expected == "deferred")
    assert LogAttempt.objects.count() == 1


def test_a_lease_that_cannot_be_renewed(server, configure, monkeypatch):
    """What was sent is known all the same."""
    configure(OUTBOX_LEASE=0.4)
    server.plan = type(server.plan)([Fault("end", "slow", taken=True, delay=0.01)])
    _queue(3)

    def fail(token):
        raise OperationalError("gone")

    monkeypatch.setattr(claims, "extend", fail)
    worker = Worker()
    results = []
    worker._send(claim(), results)
    worker.close()
    assert [result.delivery.state for result in results] == ["sent"] * 3


def test_a_worker_that_was_suspended_gives_up_nothing_it_sent(server, configure, monkeypatch):
    """Its own lease has expired, but it knows what became of its message."""
    configure(OUTBOX_POLL=0.001)
    _queue(2)
    try_deliver, given_up = Worker._try_deliver, []

    def suspended(worker, row):
        OutboxMessage.objects.filter(pk=row.pk).update(lease_until="2020-01-01T00:00:00Z")
        return try_deliver(worker, row)

    monkeypatch.setattr(Worker, "_try_deliver", suspended)
    monkeypatch.setattr(outbox_worker.alerts, "given_up", lambda *args, **_: given_up.append(args))
    assert _work() == 2
    assert _states() == ["sent", "sent"]
    assert given_up == []


class Killed(BaseException):
    """What a signal's own function raises."""


def test_a_signal_between_two_messages(server, monkeypatch):
    """The one in hand is unknown at worst; what was sent is written, the rest goes later."""
    _queue(5)
    try_deliver = Worker._try_deliver

    def interrupted(worker, row):
        if row.entry.subject == "2":
            raise Killed
        return try_deliver(worker, row)

    monkeypatch.setattr(Worker, "_try_deliver", interrupted)
    with pytest.raises(Killed):
        _work()
    assert _states() == ["sent", "sent", "queued", "queued", "queued"]
    states = list(OutboxMessage.objects.order_by("id").values_list("state", flat=True))
    assert states == ["sending", "waiting", "waiting"]
    monkeypatch.undo()
    assert _work() == 2
    assert _states() == ["sent", "sent", "queued", "sent", "sent"]


def test_a_cache_that_is_down(server, admins, settings, configure):
    """It counts alerts; that is all it may cost."""
    configure(OUTBOX_MAX_AGE=0.001)
    _queue(2)
    [row] = claim(1)
    OutboxMessage.objects.filter(pk=row.pk).update(lease_until="2020-01-01T00:00:00Z")
    server.plan = type(server.plan)([Fault("end", "refuse", "451 4.3.0 Later")])

    settings.CACHES = {"default": down_cache.SETTING}
    assert give_up_lost() == 1
    # Once: an error that is logged would be mailed, and that mail would fail in its turn.
    # The message, and an alert for each kind of trouble.
    assert _work() <= 4
    entries = LogEntry.objects.order_by("pk")
    states = entries.exclude(category="alert").values_list("state", flat=True)
    assert list(states) == ["unknown", "failed"]
    # One for each kind of trouble.
    assert 1 <= entries.filter(category="alert").count() <= 3


@pytest.mark.django_db(transaction=True)  # an error closes the connection
@pytest.mark.parametrize("step", ["write_and_claim", "claimed"])
def test_what_could_not_be_given_back_is_later(server, configure, monkeypatch, step):
    _queue(3)
    worker = Worker()

    write = outbox_worker.write_and_claim

    def fail(*args, **kwargs):
        raise OperationalError("gone")

    def lose_the_answer(*args):
        write(*args)
        fail()

    with monkeypatch.context() as patch:
        if step == "claimed":
            patch.setattr(claims, "claimed", fail)
        else:
            patch.setattr(outbox_worker, "write_and_claim", lose_the_answer)
        patch.setattr(claims, "release", fail)
        configure(OUTBOX_LEASE=1e-9)  # after which it doesn't try any more
        with pytest.raises(OperationalError):
            worker.drain()
    configure(OUTBOX_LEASE=60)
    OutboxMessage.objects.update(lease_until="2100-01-01T00:00:00Z")
    states = OutboxMessage.objects.order_by("id").values_list("state", flat=True)
    assert list(states) == ["sending", "waiting", "waiting"]
    assert worker.drain() == 3
    worker.close()
    assert _states() == ["sent"] * 3
