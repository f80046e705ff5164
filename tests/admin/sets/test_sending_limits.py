"""Sending limits in the admin: the form, overflow, and how much is used."""

import re

import pytest
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from tests.admin.conftest import form_data
from tests.diagnostics.test_usage import use
from tests.support.log_entries import make_entry
from wagtail_smtp import live
from wagtail_smtp.admin.delivery import failures
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.models import LogEntry, SettingsSet

URLS = "wagtailsnippets_wagtail_smtp_settingsset"
FIELDS = ("max_per_second", "max_per_minute", "max_per_hour", "max_per_day")


def test_they_are_in_the_form_and_are_saved(admin_client):
    page = admin_client.get(reverse(f"{URLS}:add")).content.decode()
    assert all(f'id="id_{field}"' in page for field in FIELDS)
    values = dict(zip(FIELDS, ("14", "30", "", "2000"), strict=True))
    admin_client.post(reverse(f"{URLS}:add"), form_data(**values))
    item = SettingsSet.objects.get()
    assert [getattr(item, field) for field in FIELDS] == [14, 30, None, 2000]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", "10000000000"])
def test_bad_values(admin_client, field, value):
    response = admin_client.post(reverse(f"{URLS}:add"), form_data(**{field: value}))
    assert list(response.context["form"].errors.get_json_data()) == [field]


def test_a_copy_has_them(admin_client, make_set):
    item = make_set(max_per_day=500)
    page = admin_client.get(reverse(f"{URLS}:copy", args=[item.pk])).content.decode()
    assert re.search(r'id="id_max_per_day"[^>]*', page)
    assert 'value="500"' in page


def test_the_reload_shows_them_and_where_email_overflows_to(admin_client, make_set):
    item = make_set(name="Office")
    make_set(name="Second")
    live.reload()
    SettingsSet.objects.filter(pk=item.pk).update(max_per_day=2000)
    page = admin_client.get(reverse("wagtail_smtp_reload:index")).content.decode()
    for text in ("Recipients per day", "no limit", "2,000", "at its limit"):
        assert text in page


def test_the_listing_says_overflow_and_how_much_is_used(admin_client, make_set):
    item = make_set(name="Office", max_per_day=500)
    other = make_set(name="Second")
    live.reload()
    assert Overview.now().in_use(other) == "Overflow"
    use(item, 412)
    assert "412 of 500 per day" in admin_client.get(reverse(f"{URLS}:list")).content.decode()
    page = admin_client.get(reverse(f"{URLS}:edit", args=[item.pk])).content.decode()
    assert 'id="usage"' in page
    assert "412 of 500 per day" in page
    page = admin_client.get(reverse("wagtail_smtp_delivery:index")).content.decode()
    assert "nearly reached its sending limit: 412 of 500 per day" in page


def test_without_limits_the_listing_has_no_column_for_them(admin_client, make_set):
    make_set(name="Office")
    live.reload()
    assert not Overview.now().usage
    assert "<th" in (page := admin_client.get(reverse(f"{URLS}:list")).content.decode())
    assert "Limits" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_a_limit_is_no_failing_server(make_set):
    item = make_set(name="Office")
    entry = make_entry(set_key=item.key, cause="limit-reached")
    since = timezone.now() - failures.LAST_DAY
    assert failures.latest_failure() is None
    assert failures.of_sets(since) == {}
    LogEntry.objects.filter(pk=entry.pk).update(cause="other")
    cache.clear()
    assert failures.latest_failure() is not None
    assert list(failures.of_sets(since)) == [str(item.key)]
