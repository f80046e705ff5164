"""A redirect that is on but not in effect, and a set that is not used, wherever they show."""

import re

import pytest
from django.urls import reverse
from wagtail.models import ModelLogEntry

from wagtail_smtp import live
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.models import DeliverySettings, SettingsSet

URLS = "wagtailsnippets_wagtail_smtp_settingsset"
LIST = f"{URLS}:list"
RELOAD = "wagtail_smtp_reload:index"
DELIVERY = "wagtail_smtp_delivery:index"


@pytest.fixture
def below(make_set):
    """A set with a redirect, below one that takes all mail."""
    make_set(name="Main")
    return make_set(name="Test", redirect=True, reports=["qa@example.com"])


def kinds(client, url):
    return re.findall(r'data-notice="(\w+)"', client.get(url).content.decode())


def put_first_url(item):
    return reverse(f"{URLS}:put_first", args=[item.pk])


def redirect_of(item):
    return Overview.now().redirect(SettingsSet.objects.get(pk=item.pk))


@pytest.mark.threat(32)
def test_it_is_told_everywhere(admin_client, below):
    edit = reverse(f"{URLS}:edit", args=[below.pk])
    for url in (reverse(LIST), reverse(RELOAD), edit):
        assert kinds(admin_client, url) == ["first"], url
    assert kinds(admin_client, reverse(DELIVERY)) == []  # not live yet
    live.reload()
    for url in (reverse(LIST), reverse(RELOAD), edit, reverse(DELIVERY)):
        assert kinds(admin_client, url) == ["first"], url
    other = SettingsSet.objects.get(name="Main")
    assert kinds(admin_client, reverse(f"{URLS}:edit", args=[other.pk])) == []


def test_the_button_puts_it_first_and_nothing_is_live_before_the_reload(admin_client, below):
    live.reload()
    url = put_first_url(below)
    assert url in admin_client.get(reverse(LIST)).content.decode()
    response = admin_client.post(url, {"next": reverse(RELOAD)})
    assert response["Location"] == reverse(RELOAD)
    assert live.draft_configuration().sets[0].name == "Test"
    assert live.current().configuration.sets[0].name == "Main"
    assert kinds(admin_client, reverse(LIST)) == []
    # What is live is the same still, and what mends it waits.
    assert kinds(admin_client, reverse(DELIVERY)) == ["reload"]
    assert ModelLogEntry.objects.filter(action="wagtail_smtp.reorder").count() == 1
    live.reload()
    assert kinds(admin_client, reverse(DELIVERY)) == []


def test_the_button_leads_nowhere_else(admin_client, below):
    response = admin_client.post(put_first_url(below), {"next": "https://evil.example.com/"})
    assert response["Location"] == reverse(LIST)


def test_the_button_needs_a_post_and_the_permission(client, make_user, admin_client, below):
    assert admin_client.get(put_first_url(below)).status_code == 405
    client.force_login(make_user("view_settingsset", "reload_application"))
    for url in (reverse(LIST), reverse(RELOAD)):
        assert put_first_url(below) not in client.get(url).content.decode()
    assert client.post(put_first_url(below)).status_code in (302, 403)
    assert live.draft_configuration().sets[0].name == "Main"


@pytest.mark.parametrize("pk", [99, int("9" * 30)])
def test_the_button_of_no_set(admin_client, db, pk):
    assert admin_client.post(reverse(f"{URLS}:put_first", args=[pk])).status_code == 404


def test_the_column_never_says_on_where_mail_reaches_people(below):
    assert redirect_of(below).state == "none"
    assert redirect_of(below).first_would_help
    SettingsSet.objects.filter(pk=below.pk).update(sort_order=-1)
    assert redirect_of(below).state == "waiting"
    live.reload()
    assert redirect_of(below).state == "all"
    SettingsSet.objects.filter(pk=below.pk).update(redirect=False)
    assert redirect_of(below).state == "waiting"
    SettingsSet.objects.filter(pk=below.pk).update(redirect=True, enabled=False)
    assert redirect_of(below).state == "waiting"
    live.reload(end_redirect=True)
    assert redirect_of(below).state == "off"


def test_a_redirect_of_some_mail_is_no_plain_on(make_set):
    make_set(name="Forms", categories=["form"])
    test = make_set(name="Test", redirect=True, reports=["qa@example.com"])
    live.reload()
    assert redirect_of(test).state == "some"
    assert "Form pages" not in redirect_of(test).text


def test_a_redirect_behind_another(make_set):
    make_set(name="QA", redirect=True, reports=["qa@example.com"])
    test = make_set(name="Test", redirect=True, reports=["two@example.com"])
    live.reload()
    assert redirect_of(test).state == "other"
    assert "QA" in redirect_of(test).text


def test_a_redirect_that_settings_force(below, configure):
    configure(REDIRECT_ALL_TO=["all@example.com"])
    assert redirect_of(below).state == "other"


def test_the_method_standard(admin_client, make_set):
    make_set(name="Main")
    DeliverySettings(pk=1, method="standard").save()
    assert kinds(admin_client, reverse(RELOAD)) == ["method"]
    live.reload()
    assert kinds(admin_client, reverse(DELIVERY)) == ["method"]
    test = make_set(name="Test", redirect=True, reports=["qa@example.com"], sort_order=-1)
    assert redirect_of(test).state == "none"
    assert not redirect_of(test).first_would_help
    assert kinds(admin_client, reverse(LIST)) == ["method"]


def test_a_set_that_is_not_used(admin_client, make_set):
    make_set(name="Main")
    make_set(name="Mine")
    page = admin_client.get(reverse(RELOAD)).content.decode()
    assert "“Mine” is not used: “Main” already sends all email" in page
    assert kinds(admin_client, reverse(RELOAD)) == ["order"]
    live.reload()
    assert kinds(admin_client, reverse(DELIVERY)) == ["order"]


def test_an_earlier_version_has_no_button(admin_client, below):
    live.reload()
    SettingsSet.objects.filter(pk=below.pk).update(sort_order=-1)
    live.reload()
    url = reverse("wagtail_smtp_reload:make_live", args=[1])
    page = admin_client.get(url).content.decode()
    assert "not in effect" in page
    assert put_first_url(below) not in page


def test_a_hostile_name_is_text(admin_client, make_set):
    make_set(name="<script>alert(1)</script>")
    make_set(name="Test", redirect=True, reports=["qa@example.com"])
    assert "<script>alert(1)" not in admin_client.get(reverse(LIST)).content.decode()


def test_the_status_panel_and_the_page_that_deletes_say_what_is_so(admin_client, make_set):
    make_set(name="Main")
    mine = make_set(name="Mine")
    edit = reverse(f"{URLS}:edit", args=[mine.pk])
    delete = reverse(f"{URLS}:delete", args=[mine.pk])

    def panel():
        page = admin_client.get(edit).content.decode()
        assert "Used 0 times" not in page
        return re.search(r'id="status-sidebar-([\w-]+)"', page).group(1)

    assert panel() == "not-live"
    live.reload()
    assert panel() == "not-used"
    page = admin_client.get(delete).content.decode()
    assert "referenced" not in page
    assert "until you reload" not in page
    SettingsSet.objects.filter(pk=mine.pk).update(enabled=False)
    live.reload()
    assert panel() == "off"


@pytest.fixture
def copied(make_set, reload, run_in):
    """A copy of production's database, with a redirect that would not be in effect."""
    run_in("production")
    make_set(name="Main")
    make_set(name="Test", redirect=True, reports=["qa@example.com"])
    reload()
    run_in("staging")


def test_in_a_copy_no_notice_claims_that_email_is_sent(copied, admin_client):
    item = SettingsSet.objects.get(name="Test")
    edit = reverse(f"{URLS}:edit", args=[item.pk])
    for url in (reverse(LIST), reverse(RELOAD), edit):
        page = admin_client.get(url).content.decode()
        assert kinds(admin_client, url) == ["first"], url
        assert "After a reload, the redirect of “Test” would not be in effect" in page
        assert "email is sent through" not in page
        assert "reaches its real recipients" not in page
    assert kinds(admin_client, reverse(DELIVERY)) == []


def test_in_a_copy_deleting_a_set_stops_no_email(copied, admin_client):
    url = reverse(f"{URLS}:delete", args=[SettingsSet.objects.get(name="Main").pk])
    assert "email is sent through it" not in admin_client.get(url).content.decode()


def test_with_a_forced_redirect_a_copy_sends(copied, admin_client, configure):
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    page = admin_client.get(reverse(LIST)).content.decode()
    assert "“Test” is not used" in page
