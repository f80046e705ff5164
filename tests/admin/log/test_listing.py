"""The delivery log's listing: what it shows, finds and survives."""

import uuid
from datetime import timedelta
from urllib.parse import parse_qs, urlparse

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.support.log_entries import fill, make_entry
from wagtail_smtp.admin import paging
from wagtail_smtp.admin.log import filters, listing
from wagtail_smtp.models import LogEntry, LogRecipient

INDEX = "wagtail_smtp_log:index"


@pytest.fixture
def listed(admin_client):
    """The subjects on a page of the listing: ``listed(q="…")``."""

    def get(**query):
        return [entry.subject for entry in page(**query).context["object_list"]]

    def page(**query):
        response = admin_client.get(reverse(INDEX), query)
        assert response.status_code == 200
        return response

    get.page = page
    get.text = lambda **query: page(**query).content.decode()
    return get


def test_what_a_row_says(listed):
    make_entry("anna@example.org", "b@example.org", "c@example.org", state="partly_sent")
    make_entry(state="sent", via="standard delivery", subject="", redirected_by="Test")
    text = " ".join(listed.text().split())
    assert "anna@example.org</bdi> <bdi>+2</bdi>" in text
    assert "Partly sent" in text
    assert "Invoices" in text
    assert "Office" in text
    assert "real@example.org</bdi> (redirected)" in text
    assert "Standard delivery" in text
    assert "(no subject)" in text
    assert "2 log entries" in text


def test_newest_first_and_empty(listed):
    assert "No email has been sent yet." in listed.text()
    for subject in ("first", "second"):
        make_entry(subject=subject)
    assert listed() == ["second", "first"]


def test_fixed_filters(listed, make_set):
    key = make_set(name="Office").key
    make_entry(subject="one", state="failed", category="form", via="Office", set_key=key)
    make_entry(subject="two", state="sent", category="invoice", via="standard delivery")
    assert listed(state="failed") == ["one"]
    assert listed(category="invoice") == ["two"]
    assert listed(via="standard") == ["two"]
    assert listed(via=key, state="failed", category="form") == ["one"]
    assert listed(via=key, state="sent") == []
    assert "No email matches." in listed.text(state="blocked")


def test_the_date_filter(listed):
    for ago in (20, 10, 0):
        make_entry(subject=f"{ago} days ago", ago=ago)
    day = timezone.localdate(timezone.now() - timedelta(days=10))
    both = {"created_at_from": day.isoformat(), "created_at_to": day.isoformat()}
    assert listed(**both) == ["10 days ago"]
    assert listed(created_at_to=day.isoformat()) == ["10 days ago", "20 days ago"]
    assert listed(created_at_from=day.isoformat(), state="failed") == ["0 days ago", "10 days ago"]
    assert listed(recipient="example.org", **both) == ["10 days ago"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("anna@example.org", ["to Anna"]),
        ("ANNA@Example.ORG ", ["to Anna"]),
        ("nna@example.org", []),
        ("example.org", ["to Anna"]),
        ("@example.org", ["to Anna"]),
        ("bücher.example", ["to a bookshop"]),
        ("info@bücher.example", ["to a bookshop"]),
        ("info@xn--bcher-kva.example", ["to a bookshop"]),
        ("no address, really", []),
    ],
)
def test_recipients_are_found(listed, asked, found):
    make_entry("anna@example.org", "ben@example.org", subject="to Anna")
    make_entry("info@bücher.example", subject="to a bookshop")
    assert listed(recipient=asked) == found
    assert listed(q=asked) == found
    assert listed(recipient=asked, state="failed") == found
    assert listed(recipient=asked, state="sent") == []


def test_an_address_that_a_collation_takes_for_the_one_searched_is_not_found(listed):
    """MySQL's collations ignore accents."""
    for address in ("muller@example.org", "m\u00fcller@example.org"):
        make_entry(address, subject=address)
    assert listed(recipient="muller@example.org") == ["muller@example.org"]
    assert listed(q="muller@example.org") == ["muller@example.org"]


def test_whom_a_redirect_kept_a_message_from_is_found(listed):
    make_entry("anna@example.org", subject="kept from Anna", roles={"role": "to"})
    assert listed(q="anna@example.org") == ["kept from Anna"]


def test_subjects_are_searched_in_the_period(listed):
    make_entry(subject="Invoice 2 of v1.example", ago=3)
    make_entry(subject="INVOICE 1", ago=40)
    make_entry(subject="100% off")
    assert listed(q="invoice") == ["Invoice 2 of v1.example"]
    assert "Only the last 30 days are searched." in listed.text(q="invoice")
    old = (timezone.now() - timedelta(days=50)).date().isoformat()
    assert listed(q="invoice", created_at_from=old) == ["INVOICE 1", "Invoice 2 of v1.example"]
    assert "Subjects and recipients of" not in listed.text(q="invoice", created_at_from=old)
    assert listed(q="100%") == ["100% off"]
    assert listed(q="1%f") == []
    # No email went to this domain, so it is searched in subjects.
    assert listed(q="v1.example") == ["Invoice 2 of v1.example"]


@pytest.mark.parametrize(
    "query",
    [
        {"q": "x" * 10_000},
        {"q": "@" * 10_000},
        {"q": "%" * 300},
        {"q": "a@" + "b." * 4000 + "example"},
        {"q": "\x00"},
        {"q": "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")},
        {"q": "ü" * 70 + ".example"},
        {"p": str(10**12)},
        {"p": "9" * 5000},
        {"p": "-1"},
        {"p": "x"},
        {"state": "elsewhere"},
        {"category": "elsewhere", "state": "failed"},
        {"via": "x" * 10_000},
        {"recipient": "x" * 10_000},
        {"recipient": "ü" * 70 + "@" + "ü" * 70 + ".example"},
        {"recipient": "\x00"},
        {"created_at_from": "0001-01-01", "created_at_to": "9999-12-31"},
        {"created_at_to": "0001-01-01", "q": "invoice"},
        {"created_at_from": "9999-12-31", "q": "invoice"},
        {"created_at_from": "not a date"},
        {"before": str(10**30)},
        {"before": str(2**63 - 1)},
        {"before": "-5"},
        {"before": "0"},
        {"before": "²"},
        {"ordering": "elsewhere"},
        {"export": "csv"},
        {"_w_filter_fragment": "1"},
    ],
)
@pytest.mark.parametrize("name", ["index", "results", "export"])
def test_bad_input_gets_a_normal_page(admin_client, query, name):
    make_entry()
    response = admin_client.get(reverse(f"wagtail_smtp_log:{name}"), query)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/html")


def test_a_filter_from_elsewhere_leaves_the_others_in_force(listed):
    make_entry(subject="one", state="failed")
    make_entry(subject="two", state="sent")
    assert listed(state="failed", category="elsewhere") == ["one"]


def test_the_count_is_capped_and_older_entries_follow(listed, monkeypatch):
    monkeypatch.setattr(paging, "CAP", 100)
    fill(230)
    assert "More than" in listed.page().content.decode()
    seen, asked = [], {}
    while True:
        page = listed.page(**asked)
        seen += [entry.subject for entry in page.context["object_list"]]
        assert ("data-newest" in page.content.decode()) == ("before" in asked)
        if page.context["page_obj"].has_next():
            assert page.context["older"] == ""
            asked["p"] = page.context["page_obj"].next_page_number()
        elif page.context["older"]:
            asked = {"before": parse_qs(urlparse(page.context["older"]).query)["before"][0]}
        else:
            break
    assert seen == [f"Message {number}" for number in reversed(range(230))]


@pytest.mark.parametrize(
    "query",
    [
        {"q": "Message 3"},
        {"category": "form", "state": "failed"},
        {"recipient": "example.org", "state": "failed"},
        {"recipient": "4@exa", "q": "Message 3"},
    ],
)
def test_an_entry_among_many_is_found_at_once(listed, query):
    rows = fill(40)
    LogEntry.objects.filter(pk=rows[3].pk).update(state="failed")
    LogRecipient.objects.filter(entry=rows[3]).update(address="ada.4@example.org")
    LogEntry.objects.filter(subject__startswith="Message 3").exclude(pk=rows[3].pk).update(
        subject="another"
    )
    assert listed(**query) == ["Message 3"]


@pytest.mark.parametrize("part", ["ada", "ADA", "love", "ada.lovelace@", "@analyt", "ce@a"])
def test_a_part_of_an_address_is_found(listed, part):
    make_entry("ada.lovelace@analytical.example", subject="earlier", ago=40)
    make_entry("ben@example.org", subject="to Ben")
    make_entry("ada.lovelace@analytical.example", subject="to Ada")
    assert listed(recipient=part) == ["to Ada"]
    assert listed(q=part) == ["to Ada"]
    assert "Only the last 30 days are searched." in listed.text(recipient=part)
    old = (timezone.now() - timedelta(days=50)).date().isoformat()
    assert listed(recipient=part, created_at_from=old) == ["to Ada", "earlier"]


class TestALongLog:
    """Pages search in 10 of 60 entries, and *Search older entries* in 20."""

    @pytest.fixture(autouse=True)
    def _look(self, monkeypatch):
        monkeypatch.setattr(listing, "LOOK", 10)
        monkeypatch.setattr(listing, "LOOK_FURTHER", 20)
        monkeypatch.setattr(filters, "SCATTERED", 1)

    @pytest.fixture
    def old(self):
        """Three of the oldest entries."""
        rows = fill(60)[:3]
        LogEntry.objects.filter(pk=rows[0].pk).update(subject="Lost umbrella", state="failed")
        LogRecipient.objects.filter(entry=rows[0]).update(
            address="ada@analytical.example", domain="analytical.example"
        )
        return rows

    @pytest.mark.parametrize("part", ["ada", "ada@ana", "@analyt", "analytical", "ADA"])
    @pytest.mark.parametrize("field", ["q", "recipient"])
    def test_the_start_of_an_old_address_is_found(self, listed, old, field, part):
        assert listed(**{field: part}) == ["Lost umbrella"]
        assert listed(**{field: part}, state="failed") == ["Lost umbrella"]
        assert listed(**{field: part}, state="sent") == []

    def test_a_common_start_is_found_in_new_entries(self, listed, old, monkeypatch):
        monkeypatch.setattr(filters, "NAMED", 5)
        LogRecipient.objects.update(address="ada@analytical.example")
        assert listed(q="ada") == [f"Message {number}" for number in range(59, 49, -1)]

    @pytest.mark.parametrize(
        "query",
        [
            {"q": "umbrella"},
            {"q": "umbrella", "category": "form"},
            {"recipient": "a@analyt"},
            {"state": "failed", "category": "form"},
            {"state": "failed", "recipient": "example.org"},
            {"category": "form", "via": "standard"},
        ],
    )
    def test_the_search_goes_on(self, listed, old, query):
        LogEntry.objects.filter(state="failed").update(set_key=None)
        LogRecipient.objects.filter(entry__state="failed").update(domain="example.org")
        others = LogEntry.objects.exclude(state="failed")
        others.update(subject="another", set_key=uuid.uuid4())
        asked, seen, pages = dict(query), [], 0
        while True:
            page = listed.page(**asked)
            seen += [entry.subject for entry in page.context["object_list"]]
            pages += 1
            if not page.context["older"]:
                break
            assert "data-older" in page.content.decode()
            assert page.context["searched_to"]
            asked = {
                name: values[0]
                for name, values in parse_qs(urlparse(page.context["older"]).query).items()
            }
        assert seen == ["Lost umbrella"]
        assert pages <= 4

    def test_one_index_is_enough(self, listed, old):
        assert listed(state="failed") == ["Lost umbrella"]
        assert listed.page(state="sent").context["paginator"].count == 59
        assert listed.page().context["paginator"].count == 60


@pytest.mark.threat(11)
def test_text_from_outside_is_escaped(listed):
    odd = "<i>&'\""
    make_entry("<i>@example.org", subject=odd, via=odd, category=odd, redirected_by=odd)
    assert "<i>" not in listed.text()


def test_a_page_has_25_entries(listed):
    fill(30)
    assert len(listed()) == 25
    assert len(listed(p=2)) == 5


def test_the_number_of_queries_is_constant(admin_client):
    def queries(**query):
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(reverse(INDEX), query)
        return len(captured)

    make_entry()
    queries()  # warms Wagtail's caches
    few = [queries(), queries(q="a@example.org"), queries(q="invoice", state="failed")]
    for _ in range(60):
        make_entry(*(f"{number}@example.org" for number in range(5)))
    many = [queries(), queries(q="1@example.org"), queries(q="invoice", state="failed")]
    assert many[0] == few[0]
    # A few more queries if there are rows.
    assert many[1] <= few[1] + 4
    assert many[2] == few[2]
