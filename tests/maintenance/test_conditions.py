"""Conditions are reported once, by email and to all channels, for the whole site."""

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone, translation

from tests.support.log_entries import fill_outbox
from wagtail_smtp import alerts
from wagtail_smtp.channels import rows
from wagtail_smtp.diagnostics.conditions.outbox import OVERDUE, overdue_outbox
from wagtail_smtp.live.db import connections, expressions
from wagtail_smtp.maintenance import conditions, periodic
from wagtail_smtp.models import (
    Alert,
    ConfigurationVersion,
    OutboxMessage,
    PeriodicRun,
    ServerCertificate,
)


@pytest.fixture(autouse=True)
def _nothing_raised(admins):
    periodic.forget()
    alerts.forget()
    yield
    alerts.forget()


@pytest.fixture
def overdue(db):
    fill_outbox(3, "")
    OutboxMessage.objects.update(due_at=expressions.now(-OVERDUE.total_seconds() - 60))


def _look_in_another_process(*, hours=0.0):
    """Every task that is due runs in a process that has just started, some hours later."""
    alerts.forget()
    shift = timedelta(hours=hours)
    for run in PeriodicRun.objects.all():
        run.ran_at -= shift
        run.save()
    for alert in Alert.objects.all():
        alert.until -= shift
        alert.created_at -= shift
        alert.save()
    periodic.run_due_tasks()


def test_the_outbox_is_reported_once_a_day(overdue):
    periodic.run_due_tasks()
    [message] = mail.outbox
    assert message.subject == "[Django] Email problem: The outbox is not being processed"
    assert message.body.startswith("3 messages in the outbox are overdue, the oldest by 16 ")
    alert = Alert.objects.get()
    assert (alert.kind, alert.outcomes["email"]["state"]) == ("waiting", "sent")
    _look_in_another_process()
    for _ in range(5):
        _look_in_another_process(hours=4.5)
    assert len(mail.outbox) == 1
    _look_in_another_process(hours=3)
    assert len(mail.outbox) == 2


def test_it_does_not_flap(overdue):
    periodic.run_due_tasks()
    OutboxMessage.objects.update(due_at=timezone.now())
    _look_in_another_process(hours=1)
    OutboxMessage.objects.update(due_at=expressions.now(-OVERDUE.total_seconds() - 60))
    _look_in_another_process(hours=1)
    assert len(mail.outbox) == 1


def test_a_redirect_is_reported_every_week(make_set, reload):
    make_set(name="Test", redirect=True, reports=["qa@example.com"])
    reload()
    ConfigurationVersion.objects.update(created_at=timezone.now() - timedelta(days=1.1))
    periodic.run_due_tasks()
    assert Alert.objects.get().kind == "redirect"
    _look_in_another_process(hours=6 * 24)
    assert Alert.objects.count() == 1
    _look_in_another_process(hours=25)
    assert Alert.objects.count() == 2


def test_what_expires_is_reported_at_each_limit_once(make_set, reload, configure, monkeypatch):
    configure(KEEP_LOG_DAYS=1)
    make_set()
    reload()
    start = timezone.now()
    row = ServerCertificate.objects.create(
        server="127.0.0.1:587",
        starts_at=start - timedelta(days=80),
        expires_at=start + timedelta(days=8),
        seen_at=start,
    )
    numbers = []
    for days in (0, 1.1, 3, 5, 7.1, 7.9, 8.1):
        now = start + timedelta(days=days)
        monkeypatch.setattr(timezone, "now", lambda now=now: now)
        row.seen_at = now
        row.save()
        alerts.forget()
        PeriodicRun.objects.all().delete()
        rows.delete_old()
        periodic.run_due_tasks()
        numbers.append(Alert.objects.filter(kind="expiring").count())
    assert numbers == [0, 1, 1, 1, 2, 2, 2]


def test_a_kind_that_is_off(overdue, configure):
    configure(ALERTS_OFF=["waiting"])
    periodic.run_due_tasks()
    assert mail.outbox == []
    assert not Alert.objects.exists()


def test_alerts_are_in_the_sites_language(overdue):
    with translation.override("de"):
        conditions.report(overdue_outbox)
    assert mail.outbox[0].subject.startswith("[Django] Email problem: ")


def test_a_copy_reports_nothing(make_set, reload, run_in):
    run_in("production")
    make_set(name="Test", redirect=True, reports=["qa@example.com"])
    reload()
    fill_outbox(3, "production")
    OutboxMessage.objects.update(due_at=expressions.now(-OVERDUE.total_seconds() - 60))
    ConfigurationVersion.objects.update(created_at=timezone.now() - timedelta(days=9))
    run_in("staging")
    periodic.run_due_tasks()
    assert not Alert.objects.exists()


def test_certificates_are_not_stored_in_a_projects_tests(db, monkeypatch):
    stored = []
    monkeypatch.setattr(conditions.expiry, "store_certificates", lambda: stored.append(1))
    assert conditions._store_certificates() > 60
    assert stored == []
    monkeypatch.setattr(connections, "is_under_test", lambda: False)
    conditions._store_certificates()
    assert stored == [1]
