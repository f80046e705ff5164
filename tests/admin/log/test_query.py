"""The cost of the log's queries: the same in a log that is four times as long."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.support.log_entries import fill
from wagtail_smtp.admin.log import filters
from wagtail_smtp.admin.log.filters import Criteria, find
from wagtail_smtp.models import LogEntry, LogRecipient

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="counts SQLite's steps"),
]

#: Entries of the shorter log; the longer one has four times as many.
MANY = 3000
CASES = {
    "all": {},
    "common state": {"state": "sent"},
    "rare state": {"state": "failed"},
    "category": {"category": "form"},
    "set": {"via": "Office"},
    "two at once": {"state": "sent", "category": "form"},
    "two that never meet": {"state": "failed", "category": "form"},
    "common word": {"subject": "Message"},
    "rare word": {"subject": "nowhere"},
    "common domain": {"recipient": "example.org"},
    "rare domain": {"recipient": "rare.example"},
    "address": {"recipient": "one@rare.example"},
    "domain and state": {"recipient": "example.org", "state": "failed"},
    "domain and word": {"recipient": "example.org", "subject": "nowhere"},
    "since": {"since": timedelta(minutes=2500)},
    "since and rare word": {"since": timedelta(minutes=2500), "subject": "nowhere"},
    "until": {"until": timedelta(minutes=2000)},
    "a period and a word": {
        "since": timedelta(minutes=2500),
        "until": timedelta(minutes=2000),
        "subject": "nowhere",
    },
}


@pytest.fixture
def small(monkeypatch):
    """Lower the limits of a search."""
    monkeypatch.setattr(filters, "SPAN", 200)
    monkeypatch.setattr(filters, "CANDIDATES", 200)
    monkeypatch.setattr(filters, "_SLACK", 20)


def _fill(count):
    rows = fill(count)
    for number, state in enumerate(("failed", "blocked")):
        rare = [row.pk for row in rows[number :: count // 10]]
        LogEntry.objects.filter(pk__in=rare).update(state=state, category="invoice", via="Other")
        LogRecipient.objects.filter(entry__in=rare).update(
            domain="rare.example", address="one@rare.example"
        )


def _steps(values):
    """Return the steps of SQLite's virtual machine for a page, in tens."""
    now = timezone.now()
    moved = {k: now - v if isinstance(v, timedelta) else v for k, v in values.items()}
    steps = []
    connection.connection.set_progress_handler(lambda: steps.append(1) and None, 10)
    try:
        found = find(Criteria(**moved), 100)
        assert len(found[:50]) == min(50, len(found))
    finally:
        connection.connection.set_progress_handler(None, 0)
    return len(steps)


def test_no_query_grows_with_the_log(small):
    _fill(MANY)
    short = {name: _steps(values) for name, values in CASES.items()}
    LogEntry.objects.all().delete()
    _fill(4 * MANY)
    long = {name: _steps(values) for name, values in CASES.items()}
    grown = {
        name: (short[name], steps) for name, steps in long.items() if steps > 1.3 * short[name] + 20
    }
    assert grown == {}
    # Check the measurement: reading every entry once costs more than any page.
    assert max(long.values()) < 4 * MANY / 10
