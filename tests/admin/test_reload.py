"""The reload pages, by role."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse, reverse_lazy
from wagtail.models import ModelLogEntry

from tests.admin.conftest import form_data
from tests.support.log_entries import make_waiting
from wagtail_smtp import live
from wagtail_smtp.models import ConfigurationVersion, DeliverySettings, Secret, SettingsSet

RELOAD = "wagtail_smtp_reload:index"
ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"
LIST = "wagtailsnippets_wagtail_smtp_settingsset:list"


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
    assert "changed since you opened this page" in response.content.decode()
    assert "changed.example.com" in response.content.decode()
    assert not ConfigurationVersion.objects.exists()


def test_ending_a_redirect_needs_the_tick(admin_client, make_set):
    item = make_set(name="Office", redirect=True, reports=["qa@example.com"])
    confirm(admin_client)
    item.redirect = False
    item.save()
    page = admin_client.get(reverse(RELOAD)).content.decode()
    assert "will go to its real recipients" in page
    confirm(admin_client)
    assert live.live_version().number == 1
    confirm(admin_client, end_redirect="1")
    assert live.live_version().number == 2


@pytest.mark.threat(22)
def test_a_redirect_needs_its_permission(client, make_user, make_set):
    make_set(name="Office", redirect=True, reports=["qa@example.com"])
    client.force_login(make_user("reload_application"))
    assert "have the permission to redirect email" in client.get(reverse(RELOAD)).content.decode()
    confirm(client)
    assert live.live_version() is None


def test_an_unreadable_secret_refuses_the_reload(admin_client, make_set):
    make_set(name="Office")
    Secret.objects.update(ciphertext="broken")
    page = _text(admin_client.get(reverse(RELOAD)))
    assert "Office , Password: The stored password can't be decrypted" in page
    assert "enter the password again, save and reload. Edit the set" in page
    confirm(admin_client)
    assert live.live_version() is None


def test_what_is_wrong_beside_the_models_fields_is_named_too(admin_client, make_set):
    oauth = {
        "provider": "other",
        "flow": "consent",
        "client_id": "site",
        "authorize_url": "https://login.example.com/authorize",
        "token_url": "https://login.example.com/token",
        "scope": "smtp",
    }
    make_set(name="Consent", host="smtp.example.com", authentication="oauth2", oauth=oauth)
    make_set(name="Mailgun", transport="mailgun", provider={"api_url": "http://example.com"})

    shown = _text(admin_client.get(reverse(RELOAD)))

    assert "Consent , OAuth 2: No one has allowed this site to send email yet" in shown
    assert "Mailgun , Region:" in shown


def test_only_those_who_may_mend_it_are_sent_to_the_form(client, make_user, make_set):
    item = make_set(name="Office")
    Secret.objects.update(ciphertext="broken")
    edit = reverse("wagtailsnippets_wagtail_smtp_settingsset:edit", args=[item.pk])
    client.force_login(make_user("reload_application", name="reloads"))
    assert edit not in client.get(reverse(RELOAD)).content.decode()
    client.force_login(make_user("reload_application", "change_settingsset", name="fixes"))
    assert edit in client.get(reverse(RELOAD)).content.decode()


def _text(response):
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def test_line_ends_of_a_browser_are_no_change(admin_client, make_set):
    item = make_set(name="Office")
    confirm(admin_client)
    item.ca_certificates = item.ca_certificates.strip().replace("\n", "\r\n")
    item.save()
    assert live.preview().changes == ()
    item.ca_certificates = ""
    item.save()
    assert [field.label for field in live.preview().changes[0].fields] == [
        "Certificates of a private authority"
    ]


def test_where_mail_then_goes(admin_client, make_set):
    make_set(name="Office")
    confirm(admin_client)
    make_set(name="Shop", categories=["invoice"], sort_order=-1)
    page = _text(admin_client.get(reverse(RELOAD)))
    assert "Invoices Office Shop changes" in page
    assert "Form pages Office no change" in page
    make_set(name="Tests", redirect=True, reports=["qa@example.com"], sort_order=-2)
    page = _text(admin_client.get(reverse(RELOAD)))
    assert "Form pages Office Tests , redirected to qa@example.com changes" in page


def test_nothing_at_all_was_ever_set_up(admin_client):
    page = admin_client.get(reverse(RELOAD)).content.decode()
    assert "data-way-on" in page
    assert 'name="token"' not in page  # an empty Version 1 would be useless


def test_without_versions_the_list_says_what_happens_to_email(admin_client):
    page = admin_client.get(reverse("wagtail_smtp_versions:index")).content.decode()
    assert re.search(rf'href="{reverse("wagtail_smtp_delivery:index")}" data-way-on', page)


def test_where_there_is_nothing_to_apply_there_is_a_way_back(admin_client, make_set):
    make_set(name="Office")
    confirm(admin_client)
    page = admin_client.get(reverse(RELOAD)).content.decode()
    assert f'href="{reverse(LIST)}"' in page.partition("data-nothing-to-apply")[2]


def test_foreign_text_has_a_direction_of_its_own(admin_client, make_set):
    make_set(name="[Office]", sender_name="[Shop]")
    page = admin_client.get(reverse(RELOAD)).content.decode()
    changes = page.partition("<tbody>")[2].partition("</tbody>")[0]
    for text in ("[Office]", "[Shop]"):
        assert changes.count(text) == changes.count(f"<bdi>{text}</bdi>") > 0


def test_edits_that_making_live_again_would_undo(admin_client, make_set):
    make_set(name="Office", authentication="none")
    confirm(admin_client)
    SettingsSet.objects.update(port=2525)
    confirm(admin_client)
    assert live.live_version().number == 2
    SettingsSet.objects.update(timeout=77)
    page = admin_client.get(reverse("wagtail_smtp_reload:make_live", args=[1])).content.decode()
    assert page.index("data-lost") < page.index("2525")
    lost = page.partition("data-lost")[2].partition("</section>")[0]
    assert "77" in lost
    assert "2525" not in lost  # is live
    # Each table has a column of live values; only one of the two says that the rest would be lost.
    headings = [
        re.findall('<th scope="col">(.*?)</th>', part) for part in page.split("<thead>")[1:]
    ]
    assert headings[0][2] == headings[1][2]
    assert headings[0][3] != headings[1][3]


def test_each_version_says_what_it_changed_in_one_line(admin_client, make_set):
    item = make_set(name="Office", host="a.example.com", authentication="none")
    confirm(admin_client)
    item.host, item.port = "b.example.com", 2525
    item.save()
    confirm(admin_client)
    for number in range(4):
        make_set(name=f"Set {number}")
    confirm(admin_client)
    page = _text(admin_client.get(reverse("wagtail_smtp_versions:index")))
    assert "Set 0: Added; Set 1: Added; Set 2: Added and 1 more" in page
    assert "Office: Changed (Network host, Port) Office: Changed (Network host: a.e" in page
    assert "Office: Added" in page
    ConfigurationVersion.objects.filter(number=1).delete()
    page = _text(admin_client.get(reverse("wagtail_smtp_versions:index")))
    assert "The previous version is no longer stored" in page


def test_a_version_of_a_newer_release_is_listed_but_not_made_live(admin_client, make_set):
    make_set(name="Office", authentication="none")
    confirm(admin_client)
    version = ConfigurationVersion.objects.get()
    version.content |= {"invented": True}
    version.save()
    page = _text(admin_client.get(reverse("wagtail_smtp_versions:index")))
    assert "Saved by a newer release of wagtail-smtp" in page
    url = reverse("wagtail_smtp_reload:make_live", args=[version.number])
    assert "newer release" in admin_client.get(url).context["refusal"]


def test_a_version_that_switches_a_set_off_does_not_remove_it(admin_client, make_set):
    item, other = make_set(name="Office"), make_set(name="Shop")
    confirm(admin_client)
    for enabled in (False, True):
        SettingsSet.objects.filter(pk=item.pk).update(enabled=enabled)
        confirm(admin_client)
    other.delete()
    confirm(admin_client)
    page = _text(admin_client.get(reverse("wagtail_smtp_versions:index")))
    lines = re.findall(r"(?:Office|Shop): [A-Z]\w+(?: o\w+)?", page)
    assert lines == [
        "Shop: Removed",
        "Office: Switched on",
        "Office: Switched off",
        "Office: Added",
        "Shop: Added",
    ]


def test_the_list_of_versions_asks_no_more_for_more_of_them(admin_client, make_set):
    item = make_set(name="Office", authentication="none")
    url = reverse("wagtail_smtp_versions:results")

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert admin_client.get(url).status_code == 200
        return len(captured)

    confirm(admin_client)
    few = queries()
    for port in range(5):
        item.port = 1000 + port
        item.save()
        confirm(admin_client)
    assert live.live_version().number == 6
    assert queries() == few


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
    assert "Saved, but not live yet" in response.content.decode()
    assert live.current().configuration.method == "custom"
    stale = admin_client.post(url, {"method": "custom", "loaded_revision": "0"})
    assert "Your change was not saved" in stale.content.decode()
    assert DeliverySettings.load().method == "standard"
    confirm(admin_client)
    assert live.current().configuration.method == "standard"


@pytest.fixture
def copied(make_set, reload, run_in):
    """A process of staging with a copy of production's database."""
    run_in("production")
    make_set(name="Office", authentication="none", reports=["qa@example.com"])
    reload()
    make_waiting("production")
    run_in("staging")


MAKE_LIVE = reverse_lazy("wagtail_smtp_reload:make_live", args=[1])


@pytest.mark.parametrize("path", [reverse_lazy(RELOAD), MAKE_LIVE])
def test_a_copy_is_reloaded_without_other_changes(copied, admin_client, path):
    page = _text(admin_client.get(path))
    assert "These email settings come from “production”." in page
    assert "This page makes a version for “staging”, even if you changed nothing." in page
    assert "Form pages held: nothing is sent Office changes" in page
    assert "Yes, send email from here to real people" in page
    token = admin_client.get(path).context["plan"].token
    response = admin_client.post(path, {"token": token}, follow=True)
    assert "no email is sent here now" in _text(response)
    assert live.live_version().number == 1
    response = admin_client.post(path, {"token": token, "end_redirect": "1"}, follow=True)
    page = _text(response)
    assert "Version 2 is live. Email is no longer held." in page
    assert "1 message that came with a copied database is still held." in page
    assert reverse("wagtail_smtp_log:held") in response.content.decode()
    assert live.live_version().environment == "staging"
    page = _text(admin_client.get(reverse(RELOAD)))
    assert "Everything is already live" in page
    assert "production" not in page


def test_a_copy_offers_the_way_to_a_redirect(copied, admin_client, client, make_user):
    assert "data-way-on" in admin_client.get(reverse(RELOAD)).content.decode()
    client.force_login(make_user("reload_application"))
    assert "data-way-on" not in client.get(reverse(RELOAD)).content.decode()


def test_problems_do_not_claim_that_a_copy_sends(copied, admin_client):
    SettingsSet.objects.update(authentication="password", username="me")
    page = _text(admin_client.get(reverse(RELOAD)))
    assert "The application can't be reloaded yet." in page
    assert "email is sent" not in page.replace("No email is sent", "")


def test_problems_of_live_settings_are_not_called_changes(admin_client, make_set, reload):
    make_set(name="Office")
    reload()
    Secret.objects.update(ciphertext="broken")
    page = _text(admin_client.get(reverse(RELOAD)))
    assert "Some of the live settings can't be used." in page
    assert "These changes" not in page


def test_a_reload_that_redirects_everything_asks_for_no_tick(copied, admin_client):
    SettingsSet.objects.update(redirect=True)
    page = admin_client.get(reverse(RELOAD)).content.decode()
    assert "data-held" in page
    assert "end_redirect" not in page
    assert "Version 2 is live" in _text(confirm(admin_client))


def test_a_redirect_that_came_along_asks_once(copied, admin_client, run_in):
    """Email that goes to the report emails in production goes nowhere here."""
    run_in("production")
    SettingsSet.objects.update(redirect=True)
    live.reload()
    run_in("staging")
    SettingsSet.objects.update(redirect=False)
    page = admin_client.get(reverse(RELOAD)).content.decode()
    assert page.count('name="end_redirect"') == 1
    assert "Yes, send email from here to real people" in page


def test_a_forced_redirect_in_a_copy(copied, admin_client, configure):
    configure(REDIRECT_ALL_TO=["forced@example.com"])
    page = _text(admin_client.get(reverse(RELOAD)))
    assert "This page makes a version for “staging”" in page
    assert "No email is sent" not in page
    assert "end_redirect" not in page
    page = _text(confirm(admin_client))
    assert "Version 2 is live. All email now uses it." in page


def test_a_copy_without_a_name(copied, admin_client, run_in):
    run_in("")
    page = _text(admin_client.get(reverse(RELOAD)))
    assert "This page makes a version for this environment" in page


def test_those_who_may_not_decide_get_no_link_to_held_messages(copied, client, make_user):
    client.force_login(make_user("reload_application"))
    response = confirm(client, end_redirect="1")
    assert "still held" in _text(response)
    assert reverse("wagtail_smtp_log:held") not in response.content.decode()


def test_versions_name_their_environment_if_any_has_one(admin_client, make_set, run_in):
    url = reverse("wagtail_smtp_versions:index")
    make_set(name="Office", authentication="none")
    confirm(admin_client)
    assert "Environment" not in _text(admin_client.get(url))
    run_in("staging")
    assert "Live in “production”" in _text(admin_client.get(url))
    confirm(admin_client, end_redirect="1")
    page = _text(admin_client.get(url))
    assert "Environment" in page
    assert "staging" in page
    assert "“production”" not in page


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
    assert "To make it live, ask boss." in response.content.decode()


def test_after_save_those_who_may_not_reload_learn_whom_to_ask(client, make_user, admin_client):
    client.force_login(make_user("add_settingsset", "view_settingsset"))
    response = client.post(reverse(ADD), form_data(), follow=True)
    page = response.content.decode()
    assert "To make it live, ask Bo." in page
    assert "Review and reload" not in page
