"""Unusual rates of refusals and complaints."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.support.log_entries import make_entry
from wagtail_smtp import suppression
from wagtail_smtp.diagnostics import refusals
from wagtail_smtp.diagnostics.conditions.base import DAILY
from wagtail_smtp.diagnostics.conditions.rates import unusual_rates
from wagtail_smtp.models import (
    ConfigurationVersion,
    DeliveryEvent,
    LogEntry,
    LogRecipient,
    SettingsSet,
    SuppressedAddress,
)


@pytest.fixture
def office(make_set, reload):
    """A live set; its key."""
    item = make_set(name="Office")
    reload()
    return item.key


def _fill(number, key, *, state="sent", ago=0.1, reported="", version=0, **recipient):
    """Messages with a recipient each, some days old."""
    entries = LogEntry.objects.bulk_create(
        LogEntry(
            state=state,
            category="form",
            category_source="default",
            via="Office" if key else "standard delivery",
            set_key=key,
            created_at=timezone.now() - timedelta(days=ago),
            reported=reported,
            version=version,
        )
        for _ in range(number)
    )
    values = {"state": "refused" if state == "refused" else "sent", "reported": reported}
    LogRecipient.objects.bulk_create(
        LogRecipient(
            entry=entry,
            address=f"{entry.pk}@example.org",
            domain="example.org",
            **(values | recipient),
        )
        for entry in entries
    )
    return entries


def _complain(entries, key, *, ago=0.1):
    at = timezone.now() - timedelta(days=ago)
    for entry in entries:
        DeliveryEvent.objects.create(
            entry=entry,
            recipient=entry.recipients.get(),
            set_key=key,
            digest=uuid.uuid4().hex,
            type="complained",
            happened_at=at,
        )
        LogEntry.objects.filter(pk=entry.pk).update(reported="complained")


def _found():
    return [
        (each.name, each.recipients, each.refused, each.complaints) for each in refusals.unusual()
    ]


@pytest.mark.parametrize(
    ("sent", "refused", "is_unusual"),
    [(180, 20, True), (181, 20, False), (0, 19, False), (0, 20, True), (1000, 100, False)],
)
@pytest.mark.parametrize("how", ["refused", "bounced", "rejected", "failed"])
def test_refusals(office, sent, refused, is_unusual, how):
    _fill(sent, office)
    if how == "refused":
        _fill(refused, office, state="refused")
    else:
        _fill(refused, office, reported=how)
    expected = [("Office", sent + refused, refused, 0)] if is_unusual else []
    assert _found() == expected


def test_recipients_of_one_message_count(office):
    entry = make_entry(
        *(f"{number}@example.org" for number in range(40)),
        state="partly_sent",
        set_key=office,
    )
    rows = entry.recipients.all()
    rows.update(state="sent")
    first = list(rows.values_list("pk", flat=True)[:20])
    rows.filter(pk__in=first).update(state="refused", reported="bounced")
    rows.create(entry=entry, role="to", address="x@example.org", state="redirected")
    assert _found() == [("Office", 40, 20, 0)]


def test_sets_and_standard_delivery_count_separately(office, make_set, reload):
    other = make_set(name="Other").key
    reload()
    _fill(15, office, state="refused")
    _fill(15, other, state="refused")
    assert _found() == []
    _fill(30, None, state="refused")
    assert _found() == [("standard delivery", 30, 30, 0)]
    _fill(10, other, state="refused")
    assert _found() == [("Other", 25, 25, 0), ("standard delivery", 30, 30, 0)]


def test_messages_without_an_attempt_do_not_count(office):
    _fill(30, None, state="refused")
    LogEntry.objects.update(via="")
    assert _found() == []


def test_a_set_that_is_no_longer_live_does_not_count(office):
    _fill(30, uuid.uuid4(), state="refused")
    assert _found() == []


def test_older_messages_do_not_count(office):
    _fill(30, office, state="refused", ago=1.01)
    assert _found() == []
    _fill(30, office, state="refused", ago=0.99)
    assert _found() == [("Office", 30, 30, 0)]


@pytest.mark.parametrize(
    ("sent", "complaints", "is_unusual"), [(997, 3, True), (998, 3, False), (0, 2, False)]
)
def test_complaints(office, sent, complaints, is_unusual):
    _fill(sent, office)
    _complain(_fill(complaints, office), office)
    total = 1000 if complaints == 3 else 2
    expected = [("Office", total, 0, complaints)] if is_unusual and total == 1000 else []
    assert _found() == expected


def test_complaints_are_usually_about_older_messages(office):
    _complain(_fill(5, office, ago=9), office)
    assert _found() == [("Office", 0, 0, 5)]
    DeliveryEvent.objects.update(happened_at=timezone.now() - timedelta(days=1.01))
    assert _found() == []


def test_a_complaint_reported_twice_counts_once(office):
    entries = _fill(2, office)
    _complain(entries, office)
    _complain(entries, office)
    assert _found() == []


def test_the_alerts(office):
    _fill(1, office)
    _fill(60, office, state="refused")
    _complain(_fill(4, office), office)
    first, second = unusual_rates()
    assert first.subject == "Email problem: 92% of recipients refuse email from “Office”"
    assert first.paragraphs[0].endswith(
        ", “Office” has sent email to 65 recipients. 60 of them were refused, or the email bounced."
    )
    assert second.subject == "Email problem: Recipients report email from “Office” as spam"
    assert ", 4 recipients have reported email from “Office” as spam." in second.paragraphs[0]
    assert {each.kind for each in (first, second)} == {"refusals"}
    assert {each.interval for each in (first, second)} == {DAILY}
    assert first.cause != second.cause
    assert "%%" not in " ".join(first.paragraphs + second.paragraphs)


def _suppress(number, domain, reason="bounced", ago=0.1):
    for each in range(number):
        suppression.suppress(f"{reason}{each}@{domain}", reason)
    at = timezone.now() - timedelta(days=ago)
    SuppressedAddress.objects.filter(reason=reason, domain=domain).update(created_at=at)


def test_an_outage_that_suppresses_a_domain_is_reported(office, run_in, admin_user):
    """Its server says of everyone that there is no such mailbox."""
    _fill(90, office)  # at example.org
    _suppress(10, "example.org")
    _suppress(9, "example.com")
    _suppress(30, "example.com", "complained")
    _suppress(30, "example.com", "imported")
    _suppress(30, "example.net", ago=1.1)
    addresses = [f"{each}@example.net" for each in range(30)]
    suppression.suppress_all(addresses, "bounced", user=admin_user)
    [found] = unusual_rates()
    assert (
        found.subject == "Email problem: 10 addresses at example.org were suppressed after bounces"
    )
    assert (found.kind, found.interval) == ("refusals", DAILY)
    assert "search for “example.org”" in found.paragraphs[1]
    _fill(11, office)
    assert [*unusual_rates()] == []
    _suppress(10, "example.com")
    [found] = unusual_rates()
    assert "example.com" in found.summary
    run_in("another")
    assert [*unusual_rates()] == []


def test_a_renamed_set_keeps_its_causes(office, reload):
    _fill(60, office, state="refused")
    [before] = unusual_rates()
    SettingsSet.objects.update(name="Office 365")
    reload()
    [after] = unusual_rates()
    assert "“Office 365”" in after.summary
    assert after.cause == before.cause


def test_the_log_of_a_copy_does_not_count(make_set, reload, run_in):
    run_in("production")
    key = make_set(name="Office").key
    reload()
    _fill(30, key, state="refused", ago=0.2)
    assert len(_found()) == 1
    run_in("staging")
    assert _found() == []
    reload(end_redirect=True)
    assert _found() == []
    version = ConfigurationVersion.objects.get(number=2)
    version.created_at -= timedelta(hours=1)
    version.save()
    _fill(30, key, state="refused", ago=0.001)
    assert _found() == [("Office", 30, 30, 0)]


def test_only_the_newest_messages_are_looked_at(office, monkeypatch):
    early = _fill(1200, office, state="refused", ago=0.5)
    _complain(early[-10:], office, ago=0.4)
    _fill(50, office, ago=0.01)
    assert _found() == [("Office", 1250, 1200, 10)]
    # More than the limit, because concurrent transactions may number entries out of order.
    monkeypatch.setattr(refusals, "LIMIT", 1100)
    [rates] = refusals.unusual()
    assert (rates.recipients, rates.refused, rates.complaints) == (101, 51, 10)
    monkeypatch.setattr(refusals, "LIMIT", 1040)
    # The period is as short for complaints.
    assert _found() == []
