"""Max size and notify user: the form, the chooser and the reload page."""

import json

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from tests.admin.conftest import form_data
from wagtail_smtp import live
from wagtail_smtp.models import SettingsSet

ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"
EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"
CHOOSE = "wagtail_smtp_notify_user:choose"
RESULTS = "wagtail_smtp_notify_user:choose_results"
CHOSEN = "wagtail_smtp_notify_user:chosen"


@pytest.fixture
def office(db):
    return User.objects.create_user(
        "office", "office@example.com", first_name="Olga", last_name="Office"
    )


def test_they_stand_in_the_form_and_are_saved(admin_client, office):
    page = admin_client.get(reverse(ADD)).content.decode()
    assert 'id="id_max_size"' in page
    assert 'id="id_notify_user"' in page
    admin_client.post(reverse(ADD), form_data(max_size="10", notify_user=str(office.pk)))
    item = SettingsSet.objects.get()
    assert (item.max_size, item.notify_user) == (10, office)
    page = admin_client.get(reverse(EDIT, args=[item.pk])).content.decode()
    assert reverse(CHOOSE) in page
    assert "Olga Office" in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_size", "0"),
        ("max_size", "-1"),
        ("max_size", "1.5"),
        ("max_size", "1000000000000"),
        ("notify_user", "4711"),
        ("notify_user", "x"),
    ],
)
def test_bad_values(admin_client, field, value):
    response = admin_client.post(reverse(ADD), form_data(**{field: value}))
    assert list(response.context["form"].errors.get_json_data()) == [field]


def test_the_reload_says_them_in_words(admin_client, make_set, office):
    item = make_set(name="Main")
    live.reload()
    SettingsSet.objects.update(max_size=10, notify_user=office)
    page = admin_client.get(reverse("wagtail_smtp_reload:index")).content.decode()
    for text in ("Max size", "no limit", "10 MB", "Notify user", "ADMINS", "Olga Office"):
        assert text in page
    live.reload()
    office.delete()
    [change] = live.preview().changes
    [field] = change.fields
    assert (field.before, field.after) == ("a deleted user", "the site's ADMINS")
    item.refresh_from_db()
    assert item.notify_user is None


def test_a_user_without_a_name_is_called_by_the_username(make_set):
    make_set(name="Main")
    live.reload()
    SettingsSet.objects.update(notify_user=User.objects.create_user("nameless"))
    assert "nameless" in str(live.preview().changes[0])


def test_the_chooser_lists_active_users_with_their_addresses(admin_client, office):
    User.objects.create_user("gone", "gone@example.com", is_active=False)
    html = json.loads(admin_client.get(reverse(CHOOSE)).content)["html"]
    assert "Olga Office" in html
    assert "office@example.com" in html
    assert "gone@example.com" not in html
    for term, is_found in (("OFFICE", True), ("lga", True), ("boss", False), ("x" * 101, True)):
        found = admin_client.get(reverse(RESULTS), {"q": term}).content.decode()
        assert ("office@example.com" in found) is is_found, term
    answer = json.loads(admin_client.get(reverse(CHOSEN, args=[office.pk])).content)
    assert answer["result"]["title"] == "Olga Office"


@pytest.mark.parametrize("name", ["choose", "choose_results", "chosen", "chosen_multiple"])
def test_the_chooser_shows_users_to_those_who_edit_sets_alone(client, make_user, office, name):
    args = [office.pk] if name == "chosen" else []
    url = reverse(f"wagtail_smtp_notify_user:{name}", args=args)
    client.force_login(make_user("view_settingsset", "reload_application", name="viewer"))
    assert b"office@example.com" not in client.get(url, {"id": office.pk}).content
    assert client.get(url).status_code == 302
    client.force_login(make_user("add_settingsset", name="editor"))
    assert client.get(url, {"id": office.pk}).status_code == 200


def test_a_copy_keeps_them(admin_client, make_set, office):
    item = make_set(name="Main", max_size=10, notify_user=office)
    url = reverse("wagtailsnippets_wagtail_smtp_settingsset:copy", args=[item.pk])
    form = admin_client.get(url).context["form"]
    assert (form["max_size"].value(), form["notify_user"].value()) == (10, office.pk)
