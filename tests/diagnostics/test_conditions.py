"""The outbox that nobody processes, and the redirect that stays on."""

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from tests.support.log_entries import fill_outbox
from wagtail_smtp.diagnostics import conditions
from wagtail_smtp.live.db import expressions
from wagtail_smtp.models import ConfigurationVersion, OutboxMessage, SettingsSet

QA = "qa@example.com"
OVERDUE = conditions.OVERDUE.total_seconds()
DAY = 24 * 3600


def _fill(count, *, overdue_by, environment="", **values):
    fill_outbox(count, environment)
    rows = OutboxMessage.objects.filter(environment=environment)
    rows.update(due_at=expressions.now(-OVERDUE - overdue_by), **values)


def _age(seconds, *numbers):
    """Make versions older."""
    versions = ConfigurationVersion.objects.all()
    for version in versions.filter(number__in=numbers) if numbers else versions:
        version.created_at -= timedelta(seconds=seconds)
        version.save()


def _outbox():
    return list(conditions.outbox())


def _redirects():
    return list(conditions.long_redirects())


@pytest.mark.parametrize("priority", [0, 1])
def test_an_outbox_is_reported_once_its_messages_are_overdue(db, priority):
    assert _outbox() == []
    _fill(3, overdue_by=-20, priority=priority)
    assert _outbox() == []
    _fill(0, overdue_by=20)
    [found] = _outbox()
    assert (found.kind, found.cause, found.interval) == ("waiting", "outbox", conditions.DAILY)
    assert found.paragraphs[0].startswith("3 messages in the outbox are overdue, the oldest by 15 ")
    assert found.subject == "Email problem: The outbox is not being processed"
    assert "smtp_status" in found.paragraphs[-1]


def test_one_message_is_not_called_several(db):
    _fill(1, overdue_by=3600)
    [found] = _outbox()
    assert found.paragraphs[0].startswith("1 message in the outbox is overdue by 75 minutes.")


def test_only_so_many_messages_are_counted(db, monkeypatch):
    monkeypatch.setattr(conditions, "_COUNTED", 5)
    _fill(7, overdue_by=60)
    first = list(OutboxMessage.objects.values_list("pk", flat=True)[:2])
    OutboxMessage.objects.filter(pk__in=first).update(priority=0)
    [found] = _outbox()
    assert found.paragraphs[0].startswith("At least 5 messages")


@pytest.mark.parametrize("state", ["sending", "held"])
def test_only_waiting_messages_are_overdue(db, state):
    _fill(3, overdue_by=60, state=state)
    assert _outbox() == []


def test_messages_that_came_with_a_copy_are_not_overdue(make_set, reload, run_in, configure):
    run_in("production")
    make_set()
    reload()
    _fill(3, overdue_by=60, environment="production")
    assert len(_outbox()) == 1
    run_in("staging")
    _fill(3, overdue_by=60, environment="staging")
    # Held: none of them can be sent, for a reason that the admin shows.
    assert _outbox() == []
    configure(REDIRECT_ALL_TO=[QA])
    [found] = _outbox()
    assert found.paragraphs[0].startswith("3 ")
    OutboxMessage.objects.filter(environment="staging").delete()
    assert _outbox() == []


@pytest.fixture
def redirecting(make_set, reload):
    """A live set that has redirected all email for a day."""
    item = make_set(name="Test", redirect=True, reports=[QA])
    reload()
    _age(DAY)
    return item


def test_a_redirect_is_reported_after_a_day(redirecting):
    _age(-60)
    assert _redirects() == []
    _age(120)
    [found] = _redirects()
    assert (found.kind, found.interval) == ("redirect", conditions.WEEKLY)
    assert found.subject == "Email: “Test” has been redirecting email for more than 1 day"
    assert f"only to {QA}, not to the real" in found.paragraphs[0]
    assert "This applies to all mail." in found.paragraphs[0]
    assert found.paragraphs[-1] == "In the admin, open “Email → SMTP settings”, “Test”."
    _age(2 * DAY)
    assert "3 days" in _redirects()[0].subject
    assert _redirects()[0].cause != found.cause  # it began at another time


def test_other_changes_do_not_make_a_redirect_younger(redirecting, reload):
    before = _redirects()[0].cause
    for name in ("Testing", "Test mail"):
        SettingsSet.objects.update(name=name)
        reload()
    [found] = _redirects()
    assert "“Test mail”" in found.subject
    assert found.cause == before


def test_a_redirect_that_was_off_in_between_begins_again(redirecting, reload):
    for redirect in (False, True):
        SettingsSet.objects.update(redirect=redirect)
        reload(end_redirect=True)
    assert _redirects() == []
    _age(DAY + 60, 3)
    assert len(_redirects()) == 1


def test_a_redirect_without_effect_is_not_reported(redirecting, make_set, reload):
    SettingsSet.objects.update(sort_order=1)
    make_set(name="Main", sort_order=0)
    reload(end_redirect=True)
    _age(9 * DAY)
    assert _redirects() == []


def test_a_redirect_of_some_email(make_set, reload):
    make_set(name="Main", categories=["invoice"])
    make_set(name="Test", redirect=True, reports=[QA], categories=["form"])
    reload()
    _age(2 * DAY)
    [found] = _redirects()
    assert found.paragraphs[0].endswith("This applies to form.")


def test_a_forced_redirect_is_not_reported(redirecting, configure):
    assert len(_redirects()) == 1
    configure(REDIRECT_ALL_TO=[QA])
    assert _redirects() == []


def test_a_redirect_that_is_saved_but_not_live_is_not_reported(make_set, reload):
    make_set()
    reload()
    SettingsSet.objects.update(redirect=True)
    _age(2 * DAY)
    assert _redirects() == []


def test_nothing_is_live(db):
    assert [*_outbox(), *_redirects(), *conditions.expiring(), *conditions.unusual_rates()] == []


def test_in_a_copy_the_redirect_begins_with_the_first_reload(make_set, reload, run_in):
    run_in("production")
    make_set(name="Test", redirect=True, reports=[QA])
    reload()
    _age(9 * DAY)
    assert len(_redirects()) == 1
    run_in("staging")
    assert _redirects() == []
    reload(end_redirect=True)
    assert _redirects() == []
    _age(DAY + 60, 2)
    [found] = _redirects()
    assert "1 day" in found.subject


def test_a_version_of_a_newer_release_ends_what_is_known(redirecting, reload):
    SettingsSet.objects.update(name="New")
    reload()
    ConfigurationVersion.objects.filter(number=1).update(format=99)
    assert _redirects() == []
    ConfigurationVersion.objects.filter(number=2).update(
        created_at=timezone.now() - timedelta(days=2)
    )
    assert len(_redirects()) == 1


def test_without_time_zones(make_set, reload, settings):
    settings.USE_TZ = False
    make_set(name="Test", redirect=True, reports=[QA])
    reload()
    assert [*_outbox(), *_redirects(), *conditions.unusual_rates()] == []
    _age(DAY + 60)
    assert len(_redirects()) == 1
    _fill(1, overdue_by=3600)
    [found] = _outbox()
    assert "by 75 minutes" in found.paragraphs[0]


def test_texts_follow_the_language(redirecting):
    with translation.override("de"):
        [found] = _redirects()
        assert found.summary
