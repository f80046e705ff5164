"""Sending limits: what counts, who takes over, and quotas that servers report."""

import time
from datetime import timedelta

import pytest
from django.core.mail import EmailMessage, send_mail
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.usage import age
from wagtail_smtp.backend import EmailBackend
from wagtail_smtp.delivery.explain.routes import explain
from wagtail_smtp.exceptions import LimitReached, MessageDeferred, MessageUnsupported
from wagtail_smtp.live import lookup, usage
from wagtail_smtp.maintenance.usage import pause_live_sets
from wagtail_smtp.models import LogEntry, OutboxMessage, SettingsSet, SetUsage
from wagtail_smtp.outbox.worker import Worker

#: Longer than an hour, and a multiple of a part of a day.
HOUR = 3 * 1440
DAILY = "550 5.4.5 Daily user sending limit exceeded. - gsmtp"


@pytest.fixture
def second():
    with HostileServer() as server:
        yield server


def _send(*recipients, category="other", **values):
    to = list(recipients) or ["ada@example.org"]
    message = EmailMessage("Hi", "Body", "site@example.com", to, **values)
    message.email_category = category
    return message.send()


def _used(period="hour"):
    key = str(SettingsSet.objects.order_by("sort_order").first().key)
    ledgers, now = usage.ledgers([key])
    return ledgers[key].used(period, now) if ledgers else None


def _queue(number=1, category="other"):
    backend = EmailBackend(delivery="queued")
    for count in range(number):
        message = EmailMessage(f"Hi {count}", "Body", "site@example.com", ["ada@example.org"])
        message.email_category = category
        backend.send_messages([message])


def test_at_the_limit_the_caller_is_told(smtp_server, make_set, reload):
    make_set(smtp_server, name="Small", max_per_hour=2)
    reload()
    assert [_send(), _send()] == [1, 1]
    with pytest.raises(LimitReached, match="Small: the limit of 2 recipients per hour") as caught:
        _send()
    assert len(smtp_server.received) == 2
    assert caught.value.period == "hour"
    assert 3600 < caught.value.retry_after <= 3660
    assert caught.value.retry_is_safe
    entry = LogEntry.objects.latest("pk")
    assert (entry.state, entry.cause) == ("failed", "limit-reached")


def test_recipients_count_and_not_messages(smtp_server, make_set, reload):
    make_set(smtp_server, max_per_day=5)
    reload()
    _send("a@example.org", "b@example.org", cc=["c@example.org"], bcc=["d@example.org"])
    assert _used("day") == 4
    with pytest.raises(LimitReached):
        _send("a@example.org", "b@example.org")
    assert _send() == 1
    assert _used("day") == 5


def test_there_is_room_again_after_the_period(smtp_server, make_set, reload):
    make_set(smtp_server, max_per_hour=1)
    reload()
    _send()
    with pytest.raises(LimitReached):
        _send()
    age(HOUR)
    assert _used() == 0
    assert _send() == 1


def test_what_was_not_accepted_is_given_back(make_set, reload):
    faults = [
        Fault("rcpt", "refuse", "550 5.1.1 No such user"),
        Fault("mail", "refuse", "451 4.3.0 Later"),
        Fault("end", "refuse", "554 5.7.1 Spam", taken=True),
        Fault("connect", "close"),
    ]
    for fault in faults:
        with HostileServer(faults=[fault]) as server:
            make_set(server, max_per_hour=5, timeout=2)
            reload()
            with pytest.raises(OSError):
                _send("a@example.org")
            assert _used() == 0, fault
        SettingsSet.objects.all().delete()


def test_an_unknown_outcome_counts(make_set, reload):
    with HostileServer(faults=[Fault("end", "close", taken=True)]) as server:
        make_set(server, max_per_hour=5, timeout=2)
        reload()
        with pytest.raises(OSError):
            _send("a@example.org", "b@example.org")
    assert _used() == 2


def test_only_accepted_recipients_count(make_set, reload):
    replies = (("bad@example.org", "550 5.1.1 No such user"),)
    refused = Fault("rcpt", "recipients", replies=replies)
    with HostileServer(faults=[refused]) as server:
        make_set(server, max_per_hour=5)
        reload()
        _send("good@example.org", "bad@example.org")
    assert _used() == 1


def test_a_rollback_gives_nothing_back(transactional_db, smtp_server, make_set, reload):
    make_set(smtp_server, max_per_hour=5)
    reload()
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer, the caller")
    with transaction.atomic():
        _send()
        transaction.set_rollback(True)
    assert _used() == 1


def test_inside_a_transaction(transactional_db, smtp_server, make_set, reload):
    make_set(smtp_server, max_per_hour=2)
    reload()
    with transaction.atomic():
        _send()
        _send()
        with pytest.raises(LimitReached):
            _send()
    assert _used() == 2


def test_without_a_limit_nothing_is_counted(smtp_server, make_set, reload):
    make_set(smtp_server)
    reload()
    with CaptureQueriesContext(connection) as queries:
        _send()
    assert len(smtp_server.received) == 1
    assert not [query for query in queries if SetUsage._meta.db_table in query["sql"]]


def test_more_recipients_than_the_limit(smtp_server, second, make_set, reload):
    make_set(smtp_server, name="Small", max_per_hour=2)
    reload()
    with pytest.raises(MessageUnsupported, match="has 3 recipients"):
        _send("a@example.org", "b@example.org", "c@example.org")
    assert LogEntry.objects.latest("pk").cause == "too-many-recipients"
    make_set(second, name="Large")
    reload()
    assert _send("a@example.org", "b@example.org", "c@example.org") == 1
    assert len(second.received) == 1


def test_overflow(smtp_server, second, make_set, reload):
    make_set(smtp_server, name="First", max_per_hour=1)
    make_set(second, name="Second")
    reload()
    for _number in range(3):
        _send()
    assert (len(smtp_server.received), len(second.received)) == (1, 2)
    entry = LogEntry.objects.latest("pk")
    assert (entry.state, entry.via) == ("sent", "Second")
    assert [a.via for a in entry.attempts.order_by("pk")] == ["First", "Second"]


def test_overflow_is_not_a_backup(second, make_set, reload):
    """Without a limit reached, a set that isn't a backup doesn't replace a failing one."""
    with HostileServer(faults=[Fault("connect", "close")]) as first:
        make_set(first, name="First", max_per_hour=5, timeout=2)
        make_set(second, name="Second")
        reload()
        for _number in range(2):  # the second time, the first set is tried last
            with pytest.raises(MessageDeferred, match="First"):
                _send()
    assert not second.received


def test_overflow_ends_with_the_first_set_without_limits(make_set, reload):
    make_set(name="One", max_per_day=5)
    make_set(name="Two", max_per_second=5)
    make_set(name="Three")
    make_set(name="Four")
    make_set(name="Five", backup=True)
    reload()
    found = explain("other")
    assert found.carriers == ("One", "Two", "Three", "Five")
    roles = {step.name: step.role for step in found.steps}
    assert "overflow" in roles["Two"]
    assert roles["Five"] == "backup"
    assert "not a backup" in roles["Four"]


def test_a_redirect_is_decided_before_overflow(smtp_server, second, make_set, reload):
    make_set(smtp_server, max_per_hour=1, redirect=True, reports=["qa@example.com"])
    make_set(second)
    reload()
    _send()
    _send()
    for server in (smtp_server, second):
        assert [item.recipients for item in server.received] == [["qa@example.com"]]


def test_the_reserve_for_security(smtp_server, make_set, reload, configure):
    configure(STANDARD_CATEGORIES=())
    make_set(smtp_server, max_per_hour=3)
    reload()
    _send()
    _send()
    with pytest.raises(LimitReached, match="kept for security"):
        _send()
    assert _send(category="security") == 1
    with pytest.raises(LimitReached):
        _send(category="security")


def test_nothing_is_kept_where_security_email_is_not_sent(smtp_server, make_set, reload):
    make_set(smtp_server, max_per_hour=3)
    reload()
    assert [_send() for _number in range(3)] == [1, 1, 1]


def test_waiting_leaves_no_attempts(smtp_server, make_set, reload):
    """A message may be looked at often while it waits."""
    make_set(smtp_server, name="Office", max_per_hour=1)
    reload()
    _queue(2)
    Worker().drain()
    waiting = OutboxMessage.objects.get().entry
    assert waiting.attempts.count() == 0
    assert "the limit of 1 recipient per hour" in waiting.reason


def test_a_worker_waits_for_the_end_of_a_short_pause(make_set, reload):
    too_fast = "454 Throttling failure: Maximum sending rate exceeded."
    with HostileServer(faults=[Fault("end", "refuse", too_fast, times=1)]) as server:
        make_set(server, name="Amazon")
        reload()
        _queue(2)
        began = time.monotonic()
        Worker().drain()
        assert time.monotonic() - began > 3  # the second message waited
        OutboxMessage.objects.update(due_at=F("due_at") - timedelta(seconds=HOUR))
        Worker().drain()
        assert len(server.received) == 2
    first, later = LogEntry.objects.order_by("pk")
    assert [each.attempts.count() for each in (first, later)] == [2, 1]


def test_queued_email_waits_for_its_turn(smtp_server, make_set, reload):
    make_set(smtp_server, max_per_hour=2)
    reload()
    _queue(5)
    worker = Worker()
    worker.drain()
    assert len(smtp_server.received) == 2
    rows = list(OutboxMessage.objects.order_by("due_at"))
    assert [row.attempts for row in rows] == [0, 0, 0]
    waits = [(row.due_at - row.entry.created_at).total_seconds() for row in rows]
    assert all(3500 < wait < 3700 for wait in waits)
    assert {row.entry.cause for row in rows} == {"limit-reached"}
    age(HOUR)
    OutboxMessage.objects.update(due_at=F("due_at") - timedelta(seconds=HOUR))
    worker.drain()
    assert len(smtp_server.received) == 4
    assert OutboxMessage.objects.count() == 1


def test_immediate_email_waits_in_the_outbox_where_it_is_retried(
    smtp_server, make_set, reload, configure
):
    configure(RETRY_DEFERRED=True)
    make_set(smtp_server, max_per_hour=1)
    reload()
    _send()
    assert _send() == 1
    row = OutboxMessage.objects.get()
    assert row.entry.state == "deferred"
    assert 3500 < (row.due_at - row.entry.created_at).total_seconds() < 3700


def test_the_rate_delays_and_does_not_overflow_in_a_worker(smtp_server, second, make_set, reload):
    make_set(smtp_server, max_per_second=1, max_per_hour=100)
    make_set(second)
    reload()
    _send(*[f"a{number}@example.org" for number in range(20)])
    _queue(2)
    Worker().drain()
    assert (len(smtp_server.received), len(second.received)) == (1, 0)
    assert OutboxMessage.objects.count() == 2
    # Someone waits for this one.
    began = time.monotonic()
    _send()
    assert time.monotonic() - began < 5
    assert len(second.received) == 1


def test_the_rate_makes_a_message_wait(smtp_server, make_set, reload):
    make_set(smtp_server, max_per_second=4)
    reload()
    _send()
    began = time.monotonic()
    _send()
    _send()
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("phase", ["mail", "rcpt", "end"])
def test_a_reported_quota_pauses_the_set(phase, second, make_set, reload, mailoutbox, admins):
    with HostileServer(faults=[Fault(phase, "refuse", DAILY)]) as first:
        make_set(first, name="First")
        make_set(second, name="Second", backup=True)
        reload()
        _send()
        asked = len(first.transcript)
        _send()
        assert len(first.transcript) == asked
    assert len(second.received) == 2
    entry = LogEntry.objects.earliest("pk")
    assert (entry.state, entry.via) == ("sent", "Second")
    # It isn't reported as failing.
    assert not [item for item in second.received if "failing" in str(item.message["Subject"])]


def test_a_reported_quota_is_temporary(make_set, reload):
    with HostileServer(faults=[Fault("end", "refuse", DAILY, taken=True)]) as first:
        make_set(first, name="First")
        reload()
        with pytest.raises(LimitReached, match=r"5\.4\.5 Daily") as caught:
            _send()
        assert caught.value.period == "quota"
        assert caught.value.code == 550
        assert caught.value.recipients[0].state == "deferred"
        entry = LogEntry.objects.latest("pk")
        assert entry.cause == "rate-limited"


def test_other_processes_know_of_a_quota_before_they_send(second, make_set, reload):
    with HostileServer(faults=[Fault("mail", "refuse", DAILY, times=1)]) as first:
        make_set(first, name="First", max_per_day=100)
        make_set(second, name="Second", backup=True)
        reload()
        _send()
        lookup.forget()  # as another process
        _send()
        assert not first.received
        assert len(second.received) == 2
        age(HOUR)
        lookup.forget()
        _send()
        assert len(first.received) == 1


def test_other_processes_learn_of_a_quota_of_a_set_without_limits(second, make_set, reload):
    with HostileServer(faults=[Fault("mail", "refuse", DAILY, times=1)]) as first:
        make_set(first, name="First")
        make_set(second, name="Second", backup=True)
        reload()
        _send()
        lookup.forget()  # as another process
        pause_live_sets()
        _send()
        assert not first.received
        age(HOUR)
        lookup.forget()
        pause_live_sets()
        _send()
        assert len(first.received) == 1


def test_a_reload_ends_a_pause(make_set, reload):
    with HostileServer(faults=[Fault("mail", "refuse", DAILY, times=1)]) as first:
        item = make_set(first, name="First", max_per_day=100)
        reload()
        with pytest.raises(LimitReached):
            _send()
        item.max_per_day = 200
        item.save()
        reload()
        assert _send() == 1


def test_security_email_is_tried_despite_a_quota(make_set, reload, configure):
    configure(STANDARD_CATEGORIES=())
    with HostileServer(faults=[Fault("mail", "refuse", DAILY, times=1)]) as first:
        make_set(first, name="First")
        reload()
        with pytest.raises(LimitReached):
            _send()
        assert _send(category="security") == 1


def test_recipients_refused_for_a_quota_are_sent_to_later(make_set, reload, configure):
    configure(RETRY_DEFERRED=True)
    fault = Fault("rcpt", "recipients", replies=(("late@example.org", DAILY),))
    with HostileServer(faults=[fault]) as first:
        make_set(first, name="First")
        reload()
        _send("early@example.org", "late@example.org")
        entry = LogEntry.objects.get()
        assert entry.state == "deferred"
        states = dict(entry.recipients.filter(role="envelope").values_list("address", "state"))
        assert states == {"early@example.org": "sent", "late@example.org": "waiting"}


def test_email_that_cannot_be_counted(
    smtp_server, second, make_set, reload, configure, monkeypatch
):
    configure(STANDARD_CATEGORIES=())
    make_set(smtp_server, name="First", max_per_hour=100)
    reload()

    def fail(*args, **kwargs):
        raise TimeoutError("no database")

    monkeypatch.setattr(usage, "reserve", fail)
    with pytest.raises(LimitReached, match="can't be counted"):
        _send()
    assert _send(category="security") == 1
    make_set(second, name="Second")
    reload()
    assert _send() == 1
    assert len(second.received) == 1


def test_a_copy_counts_anew(smtp_server, make_set, reload, run_in):
    run_in("production")
    make_set(smtp_server, max_per_hour=1)
    reload()
    _send()
    run_in("staging")
    assert _used() is None
    reload(end_redirect=True)
    assert _send() == 1
    run_in("")
    assert _used() == 1  # no name means production


def test_a_plain_message_is_counted_by_mail_functions_too(smtp_server, make_set, reload):
    make_set(smtp_server, max_per_minute=3)
    reload()
    send_mail("Hi", "Body", "site@example.com", ["a@example.org", "b@example.org"])
    assert _used("minute") == 2
