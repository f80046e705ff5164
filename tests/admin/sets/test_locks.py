"""What the project decides in the form of a set."""

import re

import pytest
from django.urls import reverse

from tests.admin.conftest import form_data
from tests.admin.connection_check.test_views import TYPED, lines, stored_data
from tests.support.servers.hostile import HostileServer
from wagtail_smtp.diagnostics.decisions import decisions
from wagtail_smtp.models import SettingsSet

PREFIX = "wagtailsnippets_wagtail_smtp_settingsset"
ADD, EDIT, DELETE = f"{PREFIX}:add", f"{PREFIX}:edit", f"{PREFIX}:delete"
FILE = "deploy/email.yaml"


@pytest.fixture(autouse=True)
def _settings_file(configure):
    configure(SETS_FILE=FILE)


@pytest.fixture
def managed(make_set):
    item = make_set(name="Office", ca_certificates="", reports=["qa@example.com"])
    SettingsSet.objects.filter(pk=item.pk).update(managed_by=FILE)
    item.refresh_from_db()
    return item


def test_a_managed_set_is_shown_locked_with_its_file(admin_client, managed):
    response = admin_client.get(reverse(EDIT, args=[managed.pk]))
    form = response.context["form"]
    for each in (form, *form.formsets["report_emails"].forms):
        assert {name for name, field in each.fields.items() if not field.disabled} <= {
            name for name, field in each.fields.items() if field.widget.is_hidden
        }
    assert f"managed by the file {FILE}" in response.text
    assert "SETS_FILE" in response.text
    assert not re.search(r'<button[^>]*type="submit"[^>]*w-progress', response.text)
    assert 'data-action="wsmtp-test#testAndSave"' not in response.text
    assert 'data-action="wsmtp-test#testOnly"' in response.text


def test_a_managed_set_is_not_saved_and_not_deleted(admin_client, managed):
    data = form_data(name="Mine", host="evil.example.net", loaded_revision="0")
    for name in (EDIT, DELETE):
        response = admin_client.post(reverse(name, args=[managed.pk]), data, follow=True)
        assert f"managed by the file {FILE}" in response.text
    stored = SettingsSet.objects.get()
    assert (stored.name, stored.host, stored.revision) == ("Office", "127.0.0.1", 0)


def test_a_managed_set_can_be_tested_as_it_is_saved(admin_client, make_set):
    with HostileServer() as server, HostileServer() as evil:
        item = make_set(server)
        SettingsSet.objects.filter(pk=item.pk).update(managed_by=FILE)
        data = stored_data(item, host=evil.host, port=str(evil.port), password="x")
        *_stages, end = lines(admin_client.post(reverse(TYPED, args=[item.pk]), data))
        assert server.logins == [(server.username, server.password)]
        assert evil.connections == 0
    assert end["ok"]


def test_the_listing_names_the_file_if_there_is_one(admin_client, make_set):
    item = make_set()
    assert "Managed by" not in admin_client.get(reverse(f"{PREFIX}:list")).text
    SettingsSet.objects.filter(pk=item.pk).update(managed_by=FILE)
    page = admin_client.get(reverse(f"{PREFIX}:list")).text
    assert "Managed by" in page
    assert FILE in page


def test_other_sets_are_not_locked(admin_client, managed, make_set):
    other = make_set(name="Other")
    response = admin_client.get(reverse(EDIT, args=[other.pk]))
    assert not response.context["form"].fields["host"].disabled
    assert "managed by" not in response.text


def test_a_forced_redirect_is_named_at_the_field(admin_client, monkeypatch, configure):
    assert "REDIRECT_ALL_TO" not in admin_client.get(reverse(ADD)).text
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    text = "WAGTAIL_SMTP[&quot;REDIRECT_ALL_TO&quot;] redirects all email to qa@example.com"
    assert text in admin_client.get(reverse(ADD)).text
    monkeypatch.setenv("WAGTAIL_SMTP_REDIRECT_ALL_TO", "me@example.com")
    text = "WAGTAIL_SMTP_REDIRECT_ALL_TO redirects all email to me@example.com"
    assert text in admin_client.get(reverse(ADD)).text
    assert (
        "WAGTAIL_SMTP_REDIRECT_ALL_TO"
        in admin_client.get(reverse("wagtail_smtp_delivery:index")).text
    )


def test_a_category_of_standard_delivery_can_not_be_chosen(admin_client, make_set):
    page = admin_client.get(reverse(ADD)).text
    [box] = re.findall(r'<input[^>]*name="categories"[^>]*value="security"[^>]*>', page)
    assert "disabled" in box
    assert "STANDARD_CATEGORIES" in page
    [box] = re.findall(r'<input[^>]*name="categories"[^>]*value="form"[^>]*>', page)
    assert "disabled" not in box
    # What is chosen already can be taken away.
    item = make_set(categories=["security"])
    page = admin_client.get(reverse(EDIT, args=[item.pk])).text
    [box] = re.findall(r'<input[^>]*name="categories"[^>]*value="security"[^>]*>', page)
    assert "checked" in box
    assert "disabled" not in box


def test_the_page_shows_them_to_those_who_may_see_the_settings(admin_client, client, make_user):
    page = admin_client.get(reverse("wagtail_smtp_delivery:index")).text
    for each in decisions():
        assert f'data-decision="{each.source.replace(chr(34), "&quot;")}"' in page
    client.force_login(make_user("view_logentry"))
    assert "data-decision" not in client.get(reverse("wagtail_smtp_delivery:index")).text
