"""The chart of messages per day: correct numbers in the site's time zone, and up to date."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone, translation

import wagtail_smtp
from tests.support.log_entries import fill, make_entry, make_waiting
from wagtail_smtp.admin.delivery.chart import DAYS, HELD, SERIES, volume
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def at(*times, state="sent"):
    """Entries at these times in UTC."""
    for moment in times:
        LogEntry.objects.create(
            created_at=datetime.fromisoformat(moment).replace(tzinfo=UTC),
            state=state,
            category="form",
            category_source="default",
        )


def counts(now=NOW):
    return {day.day: day.counts for day in volume(now).days if day.total}


def test_a_day_begins_at_midnight_where_the_site_is(db):
    # Berlin is an hour ahead of UTC in November.
    at("2026-11-20 22:59:59.999999", "2026-11-20 23:00", "2026-11-21 22:59")
    at("2026-11-21 23:00", state="failed")
    assert counts() == {
        date(2026, 11, 20): {"sent": 1},
        date(2026, 11, 21): {"sent": 2},
        date(2026, 11, 22): {"failed": 1},
    }


def test_whatever_time_zone_its_reader_has(db):
    at("2026-11-20 22:30", "2026-11-20 23:30")
    expected = {date(2026, 11, 20): {"sent": 1}, date(2026, 11, 21): {"sent": 1}}
    with timezone.override("Asia/Tokyo"):
        assert counts() == expected


def test_a_site_elsewhere(db, settings):
    settings.TIME_ZONE = "America/Los_Angeles"
    at("2026-11-21 07:59", "2026-11-21 08:00")
    assert counts() == {date(2026, 11, 20): {"sent": 1}, date(2026, 11, 21): {"sent": 1}}


def test_the_day_of_25_hours(db):
    # Berlin: from 22:00 UTC on the 24th to 23:00 UTC on the 25th.
    at("2026-10-24 21:59", "2026-10-24 22:00", "2026-10-25 22:59", "2026-10-25 23:00")
    assert counts() == {
        date(2026, 10, 25): {"sent": 2},
        date(2026, 10, 26): {"sent": 1},
    }


def test_thirty_days_the_last_one_being_today(db):
    at("2026-10-24 12:00", "2026-10-25 12:00", "2026-11-23 11:00", "2026-11-23 23:30")
    days = [day.day for day in volume(NOW).days]
    assert (len(days), days[0], days[-1]) == (DAYS, date(2026, 10, 25), date(2026, 11, 23))
    assert sorted(counts()) == [date(2026, 10, 25), date(2026, 11, 23)]
    # It is already tomorrow there.
    assert volume(datetime(2026, 11, 23, 23, tzinfo=UTC)).days[-1].day == date(2026, 11, 24)


def test_today_is_counted_each_time_and_what_is_over_is_kept(db, django_assert_num_queries):
    at("2026-11-22 12:00", "2026-11-23 10:00")
    with django_assert_num_queries(DAYS):
        assert counts() == {date(2026, 11, 22): {"sent": 1}, date(2026, 11, 23): {"sent": 1}}
    at("2026-11-22 12:00", "2026-11-23 10:00")
    with django_assert_num_queries(1):
        assert counts() == {date(2026, 11, 22): {"sent": 1}, date(2026, 11, 23): {"sent": 2}}
    # A new day has its own counts.
    tomorrow = counts(NOW + timedelta(days=1))
    assert tomorrow == {date(2026, 11, 22): {"sent": 2}, date(2026, 11, 23): {"sent": 2}}


def test_held_messages_do_not_wait(admin_client, run_in, monkeypatch):
    run_in("staging")
    make_waiting("production")
    make_waiting("staging")
    make_entry(state="queued")  # being sent, or not in the outbox any more
    [day] = [day for day in volume().days if day.total]
    assert day.counts == {"queued": 2, "held": 1}
    assert [(name, number) for name, _label, number in day.parts()] == [("waiting", 2), ("held", 1)]
    page = admin_client.get(reverse("wagtail_smtp_delivery:index")).content.decode()
    assert 'fill="url(#wsmtp-held)"' in page
    assert '<pattern id="wsmtp-held"' in page
    assert ">Held</th>" in page
    monkeypatch.setenv("WAGTAIL_SMTP_ENVIRONMENT", "")
    assert volume().days[-1].counts == {"queued": 3}


def test_bars_stand_upon_each_other(db):
    at("2026-11-23 10:00", "2026-11-23 10:00", "2026-11-23 10:00")
    at("2026-11-23 10:00", state="blocked")
    found = volume(NOW)
    assert found.highest == 4
    day, parts, bars = found.columns[-1]
    assert [(name, number) for name, _label, number in parts] == [("sent", 3), ("unsent", 1)]
    assert [(bar.series, bar.y, bar.height) for bar in bars] == [
        ("sent", "25.00%", "75.00%"),
        ("unsent", "0.00%", "25.00%"),
    ]
    assert found.rows == [(day, [3, 1])]
    assert [state for state, _label in found.states] == ["sent", "blocked"]


@pytest.mark.parametrize(
    ("most", "highest"), [(1, 1), (3, 4), (9, 10), (11, 20), (70, 80), (99, 100), (100, 100)]
)
def test_the_scale(db, most, highest):
    fill(most, state="sent")
    LogEntry.objects.update(created_at=NOW)
    assert volume(NOW).highest == highest


def test_every_state_belongs_to_one_series():
    grouped = [state for _name, _label, states in SERIES for state in states]
    assert sorted(grouped) == sorted([*State, HELD])


def test_right_to_left_and_other_decimal_signs(db):
    at("2026-11-23 10:00")
    with translation.override("he"):
        found = volume(NOW)
        assert found.days[-1].x == 0
        assert found.start == "100%"
    with translation.override("de"):
        assert re.fullmatch(r"\d+\.\d\d%", volume(NOW).days[-1].middle)


def test_the_page_has_chart_and_table(admin_client):
    fill(3, state="sent")
    fill(1, state="cancelled")
    LogEntry.objects.update(created_at=timezone.now())
    text = admin_client.get(reverse("wagtail_smtp_delivery:index")).content.decode()
    chart = re.search(r'<svg class="wsmtp-chart".*?</svg>\s*<text', text, re.DOTALL).group()
    assert "4 messages in the last 30 days" in chart
    assert re.findall(r'class="wsmtp-bar wsmtp-bar--(\w+)"', chart) == ["sent", "unsent"]
    row = re.search(r"<tbody>\s*<tr>\s*<th[^>]*>[^<]*</th>\s*((?:<td>\d+</td>\s*)+)", text).group(1)
    assert re.findall(r"\d+", row) == ["3", "1", "4"]


def test_no_style_or_script_stands_in_the_page():
    folder = Path(wagtail_smtp.__file__).parent / "templates" / "wagtail_smtp"
    for path in [folder / "delivery.html", folder / "summary.html", *folder.glob("delivery/*")]:
        assert not re.search(r"\sstyle=|<style|<script|\son\w+=|javascript:", path.read_text()), (
            path
        )
