"""Periodic tasks run once for the whole site, however many processes look."""

import threading
from datetime import timedelta

import pytest
from django.core.signals import request_finished
from django.db import DatabaseError, OperationalError, connection, transaction

from wagtail_smtp.live.db import connections, expressions
from wagtail_smtp.maintenance import periodic
from wagtail_smtp.models import PeriodicRun


@pytest.fixture(autouse=True)
def _new_schedule():
    periodic.forget()
    yield
    periodic.forget()


def _age(name, seconds):
    PeriodicRun.objects.filter(name=name).update(ran_at=expressions.now(-seconds))


def test_a_claim_holds_for_its_time(db):
    assert periodic.claim("here", 60)
    assert not periodic.claim("here", 60)
    assert periodic.claim("there", 60)
    _age("here", 59)
    assert not periodic.claim("here", 60)
    _age("here", 61)
    assert periodic.claim("here", 60)
    assert not periodic.claim("here", 60)


def test_each_environment_has_its_own_runs(db, run_in):
    """A console without the name would otherwise take what the site has to do."""
    run_in("production")
    assert periodic.claim("here", 60)
    run_in("")
    assert periodic.claim("here", 60)
    run_in("production")
    assert not periodic.claim("here", 60)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_known", [False, True])
def test_only_one_of_many_gets_the_claim(is_known):
    if is_known:
        periodic.claim("here", 60)
        _age("here", 61)
    results = []
    start = threading.Barrier(8)

    def claim():
        try:
            start.wait(10)
            results.append(periodic.claim("here", 60))
        except OperationalError:  # SQLite in memory doesn't wait for locks
            assert connection.vendor == "sqlite"
        finally:
            connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1
    assert len(results) == 8 or connection.vendor == "sqlite"


def test_a_task_that_fails_stops_no_other(db, monkeypatch, caplog):
    ran = []

    def fail():
        raise DatabaseError("no")

    tasks = [periodic.Task("fails", 60, fail), periodic.Task("works", 60, lambda: ran.append(1))]
    monkeypatch.setattr(periodic, "_tasks", tasks)
    periodic.run_due_tasks()
    periodic.run_due_tasks()
    assert ran == [1]
    assert caplog.text.count("The task “fails” failed.") == 1


def test_a_database_that_is_down_is_waited_for_once(monkeypatch):
    claimed = []

    def fail(name, seconds):
        claimed.append(name)
        raise OperationalError("no")

    tasks = [periodic.Task("one", 60, list), periodic.Task("two", 60, list)]
    monkeypatch.setattr(periodic, "_tasks", tasks)
    monkeypatch.setattr(periodic, "claim", fail)
    with pytest.raises(OperationalError):
        periodic.run_due_tasks()
    assert claimed == ["one"]


def test_nothing_runs_before_the_tables_exist(db, monkeypatch, caplog):
    monkeypatch.setattr(connections, "is_under_test", lambda: False)
    monkeypatch.setattr(connections, "is_migrated", lambda: False)
    periodic._look()
    assert not PeriodicRun.objects.exists()
    assert caplog.text == ""


@pytest.fixture
def ran(monkeypatch):
    """How often a step ran that may run after every request; not as under test."""
    ran = []
    step = periodic.Step(lambda: ran.append(1) or 60, failure="No.", after_requests=True)
    monkeypatch.setattr(periodic, "_steps", [step])
    monkeypatch.setattr(connections, "is_under_test", lambda: False)
    return ran


@pytest.mark.django_db(transaction=True)
def test_a_request_is_enough(ran):
    with transaction.atomic():
        request_finished.send(sender=None)
        assert ran == []
    request_finished.send(sender=None)
    request_finished.send(sender=None)
    assert ran == [1]
    assert not connection.in_atomic_block


@pytest.mark.django_db(transaction=True)
def test_a_projects_tests_count_only_their_own_queries(ran, monkeypatch):
    monkeypatch.setattr(connections, "is_under_test", lambda: True)
    request_finished.send(sender=None)
    assert ran == []


def test_the_clock_of_the_database_decides(db, monkeypatch):
    assert periodic.claim("here", 60)
    monkeypatch.setattr(periodic.time, "time", lambda: 0)
    assert not periodic.claim("here", 60)
    ran_at = PeriodicRun.objects.get().ran_at
    assert abs(ran_at - PeriodicRun.objects.values_list(expressions.now()).get()[0]) < timedelta(
        seconds=30
    )
