"""The reload pages, and who may see and do what."""

import pytest
from django.contrib.auth.models import AbstractUser, UserManager
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.conftest import form_data
from wagtail_smtp import live
from wagtail_smtp.models import ConfigurationVersion, DeliverySettings, Secret, SettingsSet

RELOAD = "wagtail_smtp_reload:index"
ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"


def confirm(client, **values):
    url = reverse(RELOAD)
    token = client.get(url).context["plan"].token
    return client.post(url, {"token": token, **values}, follow=True)


def test_a_reload_makes_a_version_live_and_is_in_the_audit_log(admin_client, make_set):
    make_set(name="Office")
    response = confirm(admin_client)
    assert "Version 1 is live" in response.content.decode()
    assert live.live_version().created_by == admin_client.user
    entry = ModelLogEntry.objects.get(action="wagtail_smtp.reload")
    assert entry.user == admin_client.user


def test_what_was_confirmed_is_what_is_applied(admin_client, make_set):
    make_set(name="Office")
    url = reverse(RELOAD)
    token = admin_client.get(url).context["plan"].token
    SettingsSet.objects.update(host="changed.example.com", authentication="none")
    response = admin_client.post(url, {"token": token}, follow=True)
    assert "changed since this page was shown" in response.content.decode()
    assert "changed.example.com" in response.content.decode()
    assert not ConfigurationVersion.objects.exists()


def test_ending_a_redirect_needs_the_tick(admin_client, make_set):
    item = make_set(name="Office", redirect=True, reports=["qa@example.com"])
    confirm(admin_client)
    item.redirect = False
    item.save()
    page = admin_client.get(reverse(RELOAD)).content.decode()
    assert "would reach its real recipients again" in page
    confirm(admin_client)
    assert live.live_version().number == 1
    confirm(admin_client, end_redirect="1")
    assert live.live_version().number == 2


def test_a_redirect_needs_its_permission(client, make_user, make_set):
    make_set(name="Office", redirect=True, reports=["qa@example.com"])
    client.force_login(make_user("reload_application"))
    assert "needs the permission to redirect mail" in client.get(reverse(RELOAD)).content.decode()
    confirm(client)
    assert live.live_version() is None


def test_an_unreadable_secret_refuses_the_reload(admin_client, make_set):
    make_set(name="Office")
    Secret.objects.update(ciphertext="broken")
    page = admin_client.get(reverse(RELOAD)).content.decode()
    assert "“Office” can&#x27;t be used" in page or "Office" in page
    confirm(admin_client)
    assert live.live_version() is None


def test_an_earlier_version_is_made_live_again(admin_client, make_set):
    item = make_set(name="Office")
    confirm(admin_client)
    item.name = "Renamed"
    item.save()
    confirm(admin_client)
    url = reverse("wagtail_smtp_reload:make_live", args=[1])
    token = admin_client.get(url).context["plan"].token
    admin_client.post(url, {"token": token})
    item.refresh_from_db()
    assert item.name == "Office"
    assert live.live_version().number == 3
    page = admin_client.get(reverse("wagtail_smtp_versions:index")).content.decode()
    assert "Version 1 made live again" in page


def test_the_method_is_staged_like_the_sets(admin_client, make_set):
    make_set(name="Office")
    confirm(admin_client)
    url = reverse("wagtail_smtp_delivery:index")
    response = admin_client.post(url, {"method": "standard", "loaded_revision": "0"}, follow=True)
    assert "Not in use yet" in response.content.decode()
    assert live.current().configuration.method == "custom"
    stale = admin_client.post(url, {"method": "custom", "loaded_revision": "0"})
    assert "Nothing was saved" in stale.content.decode()
    assert DeliverySettings.load().method == "standard"
    confirm(admin_client)
    assert live.current().configuration.method == "standard"


PAGES = [
    "wagtail_smtp_reload:index",
    "wagtail_smtp_delivery:index",
    "wagtail_smtp_versions:index",
    "wagtail_smtp_versions:results",
    ADD,
    "wagtailsnippets_wagtail_smtp_settingsset:list",
]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_editor_without_permission_sees_and_does_nothing(client, make_user, page, method):
    client.force_login(make_user())
    response = getattr(client, method)(reverse(page), form_data())
    assert response.status_code in (302, 403, 405)
    if response.status_code == 302:
        assert response.url == "/admin/"
    assert not SettingsSet.objects.exists()
    assert "Reload application" not in client.get("/admin/").content.decode()


def test_a_viewer_may_not_reload_or_change(client, make_user, make_set):
    make_set(name="Office")
    client.force_login(make_user("view_settingsset"))
    assert client.get(reverse("wagtail_smtp_delivery:index")).status_code == 200
    assert client.post(reverse("wagtail_smtp_delivery:index"), {}).status_code == 302
    assert client.post(reverse(RELOAD), {}).status_code == 302
    assert live.live_version() is None


def test_pages_that_wagtail_adds_show_no_sets(client, make_user, make_set):
    item = make_set(name="Office")
    client.force_login(make_user())
    choosers = SettingsSet.snippet_viewset.get_chooser_admin_base_path()
    for path in (
        f"/admin/bulk/wagtail_smtp/settingsset/delete/?id={item.pk}",
        f"/admin/{choosers}/",
        f"/admin/{choosers}/results/",
        f"/admin/{choosers}/chosen/{item.pk}/",
    ):
        for method in (client.get, client.post):
            response = method(path)
            assert response.status_code == 404
            assert "Office" not in response.content.decode()
    assert SettingsSet.objects.exists()


def test_a_user_model_without_djangos_extras(client, make_user, admin_client, monkeypatch):
    monkeypatch.delattr(UserManager, "with_perm")
    monkeypatch.delattr(AbstractUser, "get_full_name")
    client.force_login(make_user("add_settingsset", "view_settingsset"))
    response = client.post(reverse(ADD), form_data(), follow=True)
    assert "To put it in use, ask boss." in response.content.decode()


def test_after_save_those_who_may_not_reload_learn_whom_to_ask(client, make_user, admin_client):
    client.force_login(make_user("add_settingsset", "view_settingsset"))
    response = client.post(reverse(ADD), form_data(), follow=True)
    page = response.content.decode()
    assert "To put it in use, ask Bo." in page
    assert "Review and reload" not in page
