"""The cost of the log's queries, and the indexes that they use."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.http import QueryDict
from django.utils import timezone

from benchmarks import long_log
from tests.support.log_entries import fill
from wagtail_smtp.admin.log import filters, listing
from wagtail_smtp.admin.log.filters import LogFilterSet
from wagtail_smtp.admin.log.listing import LogPaginator
from wagtail_smtp.admin.paging import CAP, Span
from wagtail_smtp.live.db.expressions import starts_with
from wagtail_smtp.models import LogEntry, LogRecipient

pytestmark = pytest.mark.django_db

#: Entries in which to search, unless one index is enough.
LOOK = 1000
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
        found = LogFilterSet(QueryDict(query)).search(text, CAP, LOOK)
        page = LogPaginator(found, 50).page(1)
        assert len(page.object_list) == min(50, page.paginator.count)
    finally:
        connection.connection.set_progress_handler(None, 0)
    return len(steps)


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="counts SQLite's steps")
@pytest.mark.usefixtures("one_day")
def test_pages_of_a_long_log():
    _fill(MANY)
    short = {name: _steps(*asked) for name, asked in CONSTANT.items()}
    LogEntry.objects.all().delete()
    _fill(4 * MANY)
    long = {name: _steps(*asked) for name, asked in CONSTANT.items()}
    most = {name: 1.3 * short[name] + 20 for name in CONSTANT}
    assert {name: steps for name, steps in long.items() if steps > most[name]} == {}


#: Queries on which the pages rely, and the index that each has to use.
INDEXES = {
    "wagtail_smtp_log_state": lambda: _newest(filters._Column("state", "failed")),
    "wagtail_smtp_log_category": lambda: _newest(filters._Column("category", "other")),
    "wagtail_smtp_log_reported": lambda: _newest(filters._Column("reported", "bounced")),
    "wagtail_smtp_log_set": lambda: _newest(filters._Column("set_key", KEY)),
    "wagtail_smtp_log_domain": lambda: _newest(filters._Recipient("rare.example")),
    "wagtail_smtp_log_address": lambda: (
        LogRecipient.objects.filter(starts_with("address", "ada"))
        .order_by()
        .values_list("entry_id")[:10]
    ),
    "wagtail_smtp_log_entry": lambda: (
        LogRecipient.objects.filter(entry__gte=10, entry__lt=40, address__contains="ada")
        .order_by()
        .values("entry_id")
    ),
}
KEY = uuid.UUID(int=1)
SPAN = Span()


def _newest(index):
    return index.numbers(SPAN)[:10]


@pytest.mark.django_db(transaction=True)  # MariaDB's ANALYZE commits
@pytest.mark.parametrize("index", INDEXES)
def test_queries_use_the_index(index):
    few = [row.pk for row in fill(400)[:5]]
    LogEntry.objects.filter(pk__in=few).update(
        state="failed", category="other", reported="bounced", set_key=KEY
    )
    LogRecipient.objects.filter(entry__in=few).update(
        address="ada@rare.example", domain="rare.example"
    )
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE wagtail_smtp_logentry, wagtail_smtp_logrecipient")
            # So short a table is read as a whole, and sorting a few rows is as good.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
        elif connection.vendor == "mysql":
            cursor.execute("ANALYZE TABLE wagtail_smtp_logentry, wagtail_smtp_logrecipient")
            cursor.fetchall()
        plan = INDEXES[index]().explain()
    assert index in plan
    assert "TEMP B-TREE" not in plan
    assert "filesort" not in plan


def test_a_condition_to_check_uses_no_index_of_the_filter():
    """Otherwise the database could read all entries of a common state to find a rare category."""
    fill(50)
    read, check = filters._Column("category", "form"), filters._Column("state", "sent")
    plan = check.check(read.entries(SPAN)).order_by("-pk").explain()
    assert "wagtail_smtp_log_state" not in plan


def test_the_numbers_of_a_period_include_entries_written_late():
    rows = fill(300)
    start, stop = rows[100].created_at, rows[200].created_at
    late = LogEntry.objects.create(created_at=start, state="sent", category="form")
    first, last = LogEntry.objects.numbers_between(start, stop)
    assert first <= rows[100].pk
    assert last >= rows[200].pk
    newest, oldest = LogEntry.objects.numbers_between(start - timedelta(seconds=1), None)
    assert newest <= rows[100].pk < late.pk <= oldest
    assert LogEntry.objects.numbers_between(timezone.now() + timedelta(days=1), None) is None
    assert LogEntry.objects.numbers_between(None, start - timedelta(days=1)) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'mysql'", reason="counts the rows that MariaDB reads")
def test_a_page_reads_only_the_recipients_of_its_entries():
    """For a subquery, MariaDB may read the whole table once for each entry."""

    def rows_read():
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(value) for _name, value in cursor.fetchall())

    long_log.write(MANY)
    page = LogEntry.objects.order_by("-pk")[:25]
    before = rows_read()
    listing.add_recipients(page)
    assert rows_read() - before < 2 * MANY
    assert all(entry.recipient and entry.recipient_count == 1 for entry in page)
