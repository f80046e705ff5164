"""The cost of the log's queries in a log that is four times as long."""

from datetime import timedelta

import pytest
from django.db import connection
from django.http import QueryDict
from django.utils import timezone

from tests.support.log_entries import fill
from wagtail_smtp.admin.log import filters
from wagtail_smtp.admin.log.filters import LogFilterSet
from wagtail_smtp.admin.log.listing import CappedPaginator
from wagtail_smtp.models import LogEntry, LogRecipient

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="counts SQLite's steps"),
]

#: Entries of the shorter log; the longer one has four times as many, a minute apart.
MANY = 3000


def _day(minutes):
    return (timezone.now() - timedelta(minutes=minutes)).date().isoformat()


#: Filters and search of pages whose cost doesn't depend on the length of the log.
CONSTANT = {
    "all": ("", ""),
    "common state": ("state=sent", ""),
    "rare state": ("state=failed", ""),
    "category": ("category=form", ""),
    "set": ("via=Office", ""),
    "two at once": ("state=sent&category=form", ""),
    "common word": ("", "Message"),
    "rare word": ("", "nowhere"),
    "rare word and state": ("state=failed", "nowhere"),
    "common part of an address": ("recipient=exam", ""),
    "rare part of an address": ("recipient=nowhere", ""),
    "since": (f"created_at_from={_day(1000)}", ""),
    "until": (f"created_at_to={_day(1000)}", ""),
    "a period": (f"created_at_from={_day(1000)}&created_at_to={_day(1000)}", ""),
    "a period and a word": (f"created_at_from={_day(1000)}&created_at_to={_day(1000)}", "nowhere"),
}
#: Those whose cost depends on how many entries one of the filters matches.
LINEAR = {
    "address": ("recipient=one@second.example", ""),
    "two that never meet": ("state=failed&category=form", ""),
    "common domain": ("recipient=example.org", ""),
    "rare domain": ("recipient=rare.example", ""),
    "domain and state": ("recipient=example.org&state=failed", ""),
    "domain and word": ("recipient=example.org", "nowhere"),
}


@pytest.fixture
def one_day(monkeypatch):
    """Search for words in one day, which both logs have."""
    monkeypatch.setattr(filters, "DAYS", 1)


def _fill(count):
    rows = fill(count)
    for number, state in enumerate(("failed", "blocked")):
        rare = [row.pk for row in rows[number :: count // 10]]
        LogEntry.objects.filter(pk__in=rare).update(state=state, category="invoice", via="Other")
        LogRecipient.objects.filter(entry__in=rare).update(
            domain=f"{('second', 'rare')[number]}.example", address="one@second.example"
        )


def _steps(query, text):
    """Return the steps of SQLite's virtual machine for a page, in tens."""
    steps = []
    connection.connection.set_progress_handler(lambda: steps.append(1) and None, 10)
    try:
        page = CappedPaginator(LogFilterSet(QueryDict(query)).search(text), 50).page(1)
        assert len(page.object_list) == min(50, page.paginator.count)
    finally:
        connection.connection.set_progress_handler(None, 0)
    return len(steps)


@pytest.mark.usefixtures("one_day")
def test_pages_of_a_long_log():
    _fill(MANY)
    short = {name: _steps(*asked) for name, asked in (CONSTANT | LINEAR).items()}
    LogEntry.objects.all().delete()
    _fill(4 * MANY)
    long = {name: _steps(*asked) for name, asked in (CONSTANT | LINEAR).items()}
    most = {name: 1.3 * short[name] + 20 for name in CONSTANT}
    most |= {name: 4.2 * short[name] + 20 for name in LINEAR}
    assert {name: steps for name, steps in long.items() if steps > most[name]} == {}
