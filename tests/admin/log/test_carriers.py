"""What sent a message is identified by its key: sets can be renamed, and called anything."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.support.log_entries import make_entry
from wagtail_smtp.admin.delivery import failures
from wagtail_smtp.admin.labels import carrier_label
from wagtail_smtp.admin.log.filters import LogFilterSet
from wagtail_smtp.maintenance.resend import select
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.log import STANDARD
from wagtail_smtp.transports import standard


def _through(carrier):
    numbers = LogFilterSet({"via": str(carrier)}).search("", 100).numbers
    found = LogEntry.objects.filter(pk__in=numbers)
    since = timezone.now() - timedelta(days=1)
    assert select(since, carrier=str(carrier)) == sorted(entry.pk for entry in found)
    return {entry.subject for entry in found}


def _of_sets():
    return {*failures.of_sets(timezone.now() - timedelta(days=1))}


@pytest.fixture
def namesake(make_set):
    return make_set(name=standard.NAME)


def test_a_set_that_is_called_standard_delivery(namesake):
    make_entry(subject="by the set", via=standard.NAME, set_key=namesake.key)
    make_entry(subject="by standard delivery", via=standard.NAME)
    make_entry(subject="by nothing", state="blocked", via="")
    assert _through(namesake.key) == {"by the set"}
    assert _through(STANDARD) == {"by standard delivery"}
    labels = {entry.subject: carrier_label(entry) for entry in LogEntry.objects.all()}
    assert labels == {
        "by the set": "standard delivery",
        "by standard delivery": "Standard delivery",
        "by nothing": "",
    }


def test_standard_delivery_works_but_its_namesake_does_not(namesake):
    make_entry(via=standard.NAME, set_key=namesake.key)
    make_entry(via=standard.NAME, state="sent")
    assert _of_sets() == {str(namesake.key)}
    assert failures.latest_failure() is not None


def test_a_renamed_set_is_still_the_same(make_set):
    item = make_set(name="New name")
    make_entry(subject="before", via="Old name", set_key=item.key)
    make_entry(subject="after", via="New name", set_key=item.key)
    assert _through(item.key) == {"before", "after"}
    assert _of_sets() == {str(item.key)}
    make_entry(state="sent", via="Newest name", set_key=item.key)
    assert _of_sets() == set()
    assert failures.latest_failure() is None
