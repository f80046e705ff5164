"""Which days a summary is about, and who gets one."""

from datetime import date, datetime

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from tests.summary.conftest import moment, wait
from wagtail_smtp.admin import permissions
from wagtail_smtp.diagnostics.figures import Period
from wagtail_smtp.models import SummarySubscription
from wagtail_smtp.summary import subscriptions
from wagtail_smtp.summary.subscriptions import latest_period

WEEK = Period(date(2026, 10, 19), date(2026, 10, 25))
BEFORE = Period(date(2026, 10, 12), date(2026, 10, 18))


@pytest.mark.parametrize(
    ("now", "week"),
    [
        # On Sunday, 25 October, the clocks of Berlin go back by an hour.
        ("2026-10-25T23:59:59", BEFORE),
        ("2026-10-26T06:59:59", BEFORE),
        ("2026-10-26T07:00:00", WEEK),
        ("2026-10-29T12:00:00", WEEK),
        ("2026-11-02T06:59:59", WEEK),
    ],
)
def test_a_week_is_due_on_monday_at_seven(now, week):
    assert latest_period("weekly", moment(now)) == week


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-03-01T06:59:59", date(2026, 2, 27)),
        ("2026-03-01T07:00:00", date(2026, 2, 28)),
        ("2026-03-01T23:59:59", date(2026, 2, 28)),
        ("2026-03-29T03:30:00", date(2026, 3, 27)),
    ],
)
def test_a_day_is_due_on_the_next_one_at_seven(now, day):
    assert latest_period("daily", moment(now)) == Period(day, day)


def test_the_site_decides_about_the_time(settings):
    settings.TIME_ZONE = "America/Los_Angeles"
    now = moment("2026-10-26T06:59:59")
    assert latest_period("weekly", now) == BEFORE
    settings.TIME_ZONE = "Europe/Berlin"
    assert latest_period("weekly", now) == WEEK


def test_without_time_zones(settings):
    settings.USE_TZ = False
    yesterday = date(2026, 2, 28)
    assert latest_period("daily", datetime(2026, 3, 1, 7)) == Period(yesterday, yesterday)
    assert latest_period("daily").first < timezone.now().date()


def test_the_first_summary_is_about_a_period_that_is_not_over(db):
    user = User.objects.create_user("ada", "ada@example.com")
    for frequency in ("weekly", "daily"):
        subscriptions.choose(user, frequency)
        assert subscriptions.frequency_of(user) == frequency
        assert not subscriptions.is_any_due()
    wait(user, 1)
    [(_row, period)] = subscriptions.due()
    assert period == latest_period("daily")
    subscriptions.choose(user, "")
    assert not SummarySubscription.objects.exists()
    assert subscriptions.frequency_of(user) == ""


def test_only_one_claim_succeeds(subscribe):
    user = subscribe()
    [(row, period)] = subscriptions.due()
    assert subscriptions.claim(row, period)
    assert not subscriptions.claim(row, period)
    assert [*subscriptions.due()] == []
    assert SummarySubscription.objects.get(user=user).sent_until == period.last


def test_missed_periods_are_left_out(subscribe):
    wait(subscribe(frequency="daily"), 30)
    [(row, period)] = subscriptions.due()
    assert period == latest_period("daily")
    subscriptions.claim(row, period)
    assert not subscriptions.is_any_due()


def test_a_choice_belongs_to_its_environment(subscribe, run_in):
    run_in("production")
    user = subscribe()
    run_in("staging")
    assert not subscriptions.is_any_due()
    assert subscriptions.frequency_of(user) == ""
    assert subscriptions.chosen_by(user) == ("", "production")
    subscriptions.choose(user, "daily")
    assert subscriptions.frequency_of(user) == "daily"
    assert subscriptions.chosen_by(user) == ("daily", "")
    run_in("production")
    assert subscriptions.frequency_of(user) == ""


def test_a_site_may_get_the_name_production_later(subscribe, run_in):
    subscribe()
    run_in("production")
    assert subscriptions.is_any_due()


def test_the_permissions_are_those_of_the_page():
    assert {*subscriptions.PERMISSIONS} == {*permissions.SEE, permissions.VIEW_LOG}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, True),
        ({"permissions": ["view_settingsset"]}, True),
        ({"permissions": ["send_test_email"]}, False),
        ({"permissions": []}, False),
        ({"is_active": False}, False),
        ({"email": ""}, False),
        ({"permissions": [], "is_superuser": True}, True),
    ],
)
def test_who_may_receive_it(subscribe, values, expected):
    assert subscriptions.may_receive(subscribe(**values)) is expected


def test_a_deleted_user_gets_none(subscribe):
    subscribe().delete()
    assert not SummarySubscription.objects.exists()
