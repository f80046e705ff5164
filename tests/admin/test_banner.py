"""The banner on admin pages: its texts by role, and that it never breaks a page."""

import re
from html import unescape

import pytest
from django.core.mail import send_mail
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.timezone import template_localtime

from tests.admin.conftest import form_data
from tests.support import down_cache
from tests.support.log_entries import make_entry, make_message
from wagtail_smtp import live
from wagtail_smtp.admin.base import LOG_ENTRY
from wagtail_smtp.conf import ENVIRONMENT_VARIABLE, REDIRECT_VARIABLE
from wagtail_smtp.live import lookup
from wagtail_smtp.models import (
    ConfigurationVersion,
    LogEntry,
    OutboxMessage,
    SettingsSet,
    StoredMessage,
)

HOME = "/admin/"
ADDRESS = "qa@example.com"


def banner(client, path=HOME):
    """Return kind and text of the banner on a page, or None."""
    response = client.get(path)
    assert response.status_code == 200
    page = response.content.decode()
    assert page.count('class="wsmtp-banner') <= 1
    found = re.search(r'<section class="wsmtp-banner.*?</section>', page, re.DOTALL)
    if found is None:
        return None
    kind = re.search(r'data-kind="(\w+)"', found[0])[1]
    text = unescape(re.sub(r"<[^>]+>", " ", found[0]))
    return kind, " ".join(text.split())


@pytest.fixture
def redirecting(make_set, reload):
    """A live set that redirects all email."""
    item = make_set(name="Staging", redirect=True, reports=[ADDRESS])
    reload()
    return item


@pytest.fixture
def as_user(client, make_user):
    """Log in as a user with these permissions."""

    def log_in(*codenames):
        client.force_login(make_user(*codenames, name="+".join(codenames) or "editor"))
        return client

    return log_in


def test_nothing_to_tell(admin_client):
    assert banner(admin_client) is None


def test_a_redirect_is_on(redirecting, admin_client, as_user):
    text = f"All email is redirected to {ADDRESS} by “Staging”. Details"
    assert banner(admin_client) == ("redirect", text)
    assert banner(as_user("view_settingsset")) == ("redirect", text)
    text = "All email is redirected. Nothing reaches its real recipients."
    for role in ((), ("view_logentry",), ("access_admin",)):
        assert banner(as_user(*role)) == ("redirect", text)


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/password_reset/"])
def test_nothing_before_the_login(redirecting, client, path):
    page = client.get(path).content.decode()
    assert "wsmtp-banner" not in page
    assert ADDRESS not in page


def test_nothing_for_people_without_the_admin(redirecting, client, make_user):
    user = make_user("view_settingsset")
    user.user_permissions.remove(user.user_permissions.get(codename="access_admin"))
    client.force_login(user)
    page = client.get("/admin/login/").content.decode()
    assert ADDRESS not in page
    assert client.get(HOME).status_code == 302


def test_switched_off(redirecting, admin_client, configure):
    configure(BANNERS=False)
    assert banner(admin_client) is None


def test_forced_by_the_settings(admin_client, as_user, configure):
    many = [f"{number}@example.com" for number in range(5)]
    configure(REDIRECT_ALL_TO=many)
    text = "redirect all email to 0@example.com, 1@example.com, 2@example.com and 2 more."
    assert text in banner(admin_client)[1]
    assert "@" not in banner(as_user())[1]
    configure(REDIRECT_ALL_TO=[])
    for client in (as_user("view_logentry"), as_user("view_settingsset")):
        assert "No email is being sent" in banner(client)[1]


def test_forced_by_the_environment(admin_client, monkeypatch):
    monkeypatch.setenv(REDIRECT_VARIABLE, ADDRESS)
    text = f"The project's settings redirect all email to {ADDRESS}. Details"
    assert banner(admin_client) == ("redirect", text)


def test_some_mail_is_redirected(make_set, reload, admin_client, as_user):
    make_set(name="Shop", categories=["invoice"], redirect=True, reports=[ADDRESS], sort_order=2)
    make_set(name="Office", sort_order=1)
    reload()
    assert banner(admin_client) is None  # the office carries invoices too
    SettingsSet.objects.filter(name="Office").update(categories=["form"])
    reload()
    assert banner(admin_client)[1].startswith(f"Some email is redirected to {ADDRESS} by “Shop”.")
    assert banner(as_user())[1] == "Some email is redirected and doesn't reach its real recipients."


def test_standard_delivery_knows_no_redirect_of_sets(redirecting, admin_client, reload):
    data = {"method": "standard", "loaded_revision": "0"}
    admin_client.post(reverse("wagtail_smtp_delivery:index"), data)
    assert banner(admin_client)[0] == "redirect"
    reload(end_redirect=True)
    assert banner(admin_client) is None


def test_the_redirect_is_true_right_after_a_reload(redirecting, admin_client, reload):
    assert banner(admin_client)[0] == "redirect"
    SettingsSet.objects.update(redirect=False)
    reload(end_redirect=True)
    assert banner(admin_client) is None


def test_changes_wait(make_set, admin_client, as_user, reload):
    make_set(name="Office")
    reload()
    assert banner(admin_client) is None
    add = reverse("wagtailsnippets_wagtail_smtp_settingsset:add")
    admin_client.post(add, form_data(name="Second"))
    text = "1 change to the email settings is not live yet. Review and reload"
    assert banner(admin_client) == ("waiting", text)
    assert banner(as_user("reload_application")) == ("waiting", text)
    assert banner(as_user("view_settingsset", "change_settingsset")) is None


def test_what_was_counted_is_counted_anew_after_a_change(make_set, admin_client, reload):
    first, second = make_set(name="First"), make_set(name="Second")
    reload()
    assert banner(admin_client) is None
    url = reverse("wagtailsnippets_wagtail_smtp_settingsset:reorder", args=[second.pk])
    admin_client.post(f"{url}?position=0")
    assert banner(admin_client)[0] == "waiting"
    url = reverse("wagtailsnippets_wagtail_smtp_settingsset:reorder", args=[first.pk])
    admin_client.post(f"{url}?position=0")
    assert banner(admin_client) is None


def test_the_reload_page_says_it_at_length(make_set, admin_client):
    make_set(name="Office")
    assert banner(admin_client)[0] == "waiting"
    assert banner(admin_client, reverse("wagtail_smtp_reload:index")) is None


@pytest.mark.parametrize(
    "page", ["wagtailsnippets_wagtail_smtp_settingsset:list", "wagtail_smtp_delivery:index"]
)
def test_pages_that_say_it_themselves_say_it_once(make_set, admin_client, page):
    make_set(name="Office")
    assert banner(admin_client, reverse(page)) is None
    content = admin_client.get(reverse(page)).content.decode()
    assert content.count("is not live yet") == 1


def test_the_log_is_not_sent_to_itself(admin_client):
    make_entry(state="failed", via="Office")
    assert banner(admin_client)[0] == "failed"
    assert banner(admin_client, reverse("wagtail_smtp_log:index")) is None


def test_a_time_is_followed_by_one_full_stop_at_most(admin_client):
    make_entry(state="failed", via="Office")
    assert ".." not in banner(admin_client)[1]


def test_a_time_is_written_as_on_the_entrys_page(admin_client):
    entry = make_entry(state="failed", via="Office")
    time = date_format(template_localtime(entry.created_at), "DATETIME_FORMAT")
    assert time in banner(admin_client)[1]


def test_the_most_severe_comes_first(redirecting, make_set, admin_client, reload):
    make_entry(state="failed", via="Staging")
    make_set(name="Waits")
    assert banner(admin_client)[0] == "redirect"
    SettingsSet.objects.filter(name="Staging").update(redirect=False)
    reload(end_redirect=True)
    assert banner(admin_client)[0] == "failed"


def test_recent_messages_failed(admin_client, as_user):
    make_entry(state="failed", via="Office")
    kind, text = banner(admin_client)
    assert kind == "failed"
    assert "could not be sent through “Office”" in text
    page = as_user("view_logentry").get(HOME).content.decode()
    assert f'href="{reverse("wagtail_smtp_log:index")}?state=failed"' in page
    page = as_user("view_settingsset").get(HOME).content.decode()
    assert "could not be sent" in page
    assert reverse("wagtail_smtp_log:index") not in page
    assert banner(as_user()) is None
    assert banner(as_user("redirect_mail")) is None


@pytest.mark.parametrize(
    ("entries", "is_shown"),
    [
        ([{"state": "failed"}], True),
        ([{"state": "unknown"}], True),
        ([{"state": "blocked", "via": ""}], True),
        # Not shown: they affect one recipient only, or have their own notification.
        ([{"state": "refused"}], False),
        ([{"state": "deferred"}], False),
        ([{"state": "too_large"}], False),
        ([{"state": "failed", "ago": 2}], False),
        # A server works again once it has accepted a message.
        ([{"state": "failed"}, {"state": "sent"}], False),
        ([{"state": "sent"}, {"state": "failed"}], True),
        ([{"state": "failed"}, {"state": "queued"}], True),
        ([{"state": "failed"}, {"state": "sent", "via": "Other"}], True),
        ([{"state": "blocked", "via": ""}, {"state": "sent"}], False),
        # The newest may have been sent while another set still fails.
        ([{"state": "failed"}, {"state": "failed", "via": "B"}, {"state": "sent", "via": "B"}],
         True),
    ],
)  # fmt: skip
def test_which_failures_count(entries, is_shown, admin_client):
    for entry in entries:
        make_entry(**({"via": "Office"} | entry))
    assert (banner(admin_client) is not None) is is_shown


@pytest.mark.parametrize(("used", "status"), [(0.5, ""), (0.85, "warning"), (1, "critical")])
def test_a_store_that_is_full_or_nearly(admin_client, as_user, configure, used, status):
    make_entry(state="sent", message=make_message())
    configure(MAX_STORED=int(StoredMessage.objects.get().size / used))
    page = admin_client.get(HOME).content.decode()
    assert (f'wsmtp-banner--{status}" data-kind="store"' in page) is bool(status)
    kinds = [
        banner(as_user(role)) for role in ("view_logentry", "view_settingsset", "access_admin")
    ]
    assert [found and found[0] for found in kinds] == ["store" if status else None] * 2 + [None]
    assert banner(as_user("view_settingsset", "view_logentry"), "/admin/email/delivery/") is None


@pytest.mark.parametrize(("used", "kind"), [(0.85, "failed"), (1, "store")])
def test_a_full_store_is_worse_than_a_failure(admin_client, configure, used, kind):
    make_entry(state="failed", message=make_message())
    configure(MAX_STORED=int(StoredMessage.objects.get().size / used))
    assert banner(admin_client)[0] == kind


@pytest.mark.parametrize("kind", ["waiting", "failed"])
def test_a_cache_that_is_down(kind, make_set, admin_client, settings, caplog):
    """The banner caches query results; without a cache it queries each time."""
    settings.CACHES = {"default": down_cache.SETTING}
    if kind == "waiting":
        make_set(name="Office")
    else:
        make_entry(state="failed", via="Office")
    assert banner(admin_client, reverse("wagtail_smtp_versions:index"))[0] == kind
    assert "cache is not available" in caplog.text


def test_a_version_nobody_can_read(redirecting, admin_client, as_user):
    ConfigurationVersion.objects.update(format=99)
    lookup.forget()
    kind, text = banner(admin_client)
    assert kind == "unavailable"
    assert "can't be read" in text
    assert banner(as_user()) is None


@pytest.mark.parametrize(
    "table", ["configurationversion", "settingsset", "deliverysettings", "log"]
)
def test_a_database_error_breaks_no_page(make_set, reload, admin_client, table):
    make_set(name="Office")

    def refuse(execute, sql, params, many, context):
        if f"wagtail_smtp_{table}" in sql:
            raise DatabaseError("no such table")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        response = admin_client.get(reverse("wagtailimages:index"))
        assert response.status_code == 200
    assert banner(admin_client)[0] == "waiting"


def test_settings_that_are_no_dictionary_break_no_page(admin_client, settings):
    settings.WAGTAIL_SMTP = ["BANNERS"]
    assert banner(admin_client) is None


def test_it_costs_a_query_or_two(make_set, reload, admin_client, as_user):
    make_set(name="Office")
    reload()
    make_entry(state="failed", via="Office")
    make_entry(state="sent", via="Office")

    def queries(client, name):
        page = reverse(name)  # has nothing else of the plugin
        client.get(page)  # fills the cache
        with CaptureQueriesContext(connection) as captured:
            client.get(page)
        return sum(bool(re.search('FROM ["`]wagtail_smtp_', query["sql"])) for query in captured)

    assert queries(admin_client, "wagtailimages:index") == 2
    assert queries(as_user(), "wagtailadmin_account") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/admin/images/chooser/",
        "/admin/images/chooser/results/",
        "/admin/images/results/",
        "/admin/email/versions/results/",
        "/admin/jsi18n/",
        "/admin/sprite/",
    ],
)
def test_parts_of_pages_have_none(redirecting, admin_client, path):
    response = admin_client.get(path)
    assert response.status_code == 200
    assert b"wsmtp-banner" not in response.content


@pytest.mark.parametrize(
    "path", [HOME, "/admin/images/", "/admin/email/delivery/", "/admin/users/"]
)
def test_every_page_has_it_and_nothing_inline(redirecting, admin_client, path):
    page = admin_client.get(path).content.decode()
    part = re.search(r'<section class="wsmtp-banner.*?</section>', page, re.DOTALL)[0]
    assert "<script" not in part
    assert "style=" not in part
    assert 'wagtail_smtp/pages.css"' in page
    assert page.index('class="skiplink') < page.index("wsmtp-banner") < page.index("<main")


def test_a_hostile_name_is_text(make_set, reload, admin_client):
    make_set(name="<b>x</b>", redirect=True, reports=[ADDRESS])
    reload()
    assert "<b>x</b>" not in admin_client.get(HOME).content.decode()
    assert live.live_version() is not None


@pytest.fixture
def copied(make_set, reload, run_in):
    """A process of staging with a copy of production's database, where much is wrong."""
    run_in("production")
    make_set(name="Office", redirect=True, reports=[ADDRESS])
    reload()
    make_set(name="Waits")
    make_entry(state="failed", via="Office")
    run_in("staging")


def test_a_copy_is_held(copied, admin_client, as_user):
    text = (
        "These email settings come from “production”. No email is sent from “staging” until "
        "someone reloads the application here."
    )
    page = admin_client.get(HOME).content.decode()
    assert f'href="{reverse("wagtail_smtp_reload:index")}">Reload application' in page
    assert "wsmtp-banner--critical" in page
    assert banner(admin_client) == ("held", f"{text} Reload application")
    assert banner(as_user("reload_application")) == ("held", f"{text} Reload application")
    assert banner(as_user("view_settingsset")) == ("held", f"{text} Details")
    for role in ((), ("view_logentry",)):
        assert banner(as_user(*role)) == ("held", text)


@pytest.mark.parametrize(
    "path",
    [
        HOME,
        "/admin/images/",
        "/admin/users/",
        "/admin/email/delivery/",
        "/admin/email/log/",
        "/admin/email/log/held/",
        "/admin/email/versions/",
        "/admin/email/troubleshooting/",
        "/admin/snippets/wagtail_smtp/settingsset/",
        "/admin/snippets/wagtail_smtp/settingsset/add/",
        "/admin/account/",
    ],
)
def test_a_copy_says_so_on_every_page(copied, admin_client, path):
    assert banner(admin_client, path)[0] == "held"


def test_a_page_does_not_link_to_itself(copied, admin_client, as_user):
    assert banner(admin_client, reverse("wagtail_smtp_reload:index"))[1].endswith("here.")
    url = reverse("wagtail_smtp_delivery:index")
    assert banner(as_user("view_settingsset"), url)[1].endswith("here.")


def test_a_process_without_a_name_is_held(copied, admin_client, run_in):
    run_in("")
    text = banner(admin_client)[1]
    assert "The environment of this process has no name." in text
    assert "“staging”" not in text


def test_a_copy_with_a_forced_redirect_sends(copied, admin_client, as_user, configure):
    configure(REDIRECT_ALL_TO=["forced@example.com"])
    kind, text = banner(admin_client)
    assert kind == "held"
    assert text == (
        "These email settings come from “production”. The project's settings redirect all email "
        "to forced@example.com. Reload application"
    )
    assert "@" not in banner(as_user())[1]
    assert "No email is sent" not in text
    configure(REDIRECT_ALL_TO=[])
    assert "No email is being sent" in banner(admin_client)[1]


def test_a_copy_that_exempts_categories(copied, admin_client, configure):
    configure(STANDARD_CATEGORIES_IN_COPY=["security", "error"])
    assert "no other email is sent: error, security." in banner(admin_client)[1]


def test_after_the_reload_the_banner_is_gone(copied, admin_client, reload):
    reload(end_redirect=True)
    assert banner(admin_client)[0] == "redirect"


@pytest.mark.parametrize("name", ["", "My Site"])
def test_an_environment_with_an_invalid_name(copied, admin_client, monkeypatch, name):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, name)
    kind, text = banner(admin_client)
    assert kind == "unavailable"
    assert "No email is being sent: WAGTAIL_SMTP_ENVIRONMENT must be a name" in text
    for path in ("delivery", "reload", "versions", "log"):
        assert banner(admin_client, f"/admin/email/{path}/")[0] == "unavailable"


def test_pages_about_waiting_messages_with_an_invalid_name(
    copied, admin_client, monkeypatch, configure
):
    configure(DELIVERY="queued")
    send_mail("Hi", "Body", None, ["real@example.org"])
    entry = LogEntry.objects.get(subject="Hi")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    page = reverse(LOG_ENTRY, args=[entry.pk])
    assert banner(admin_client, page)[0] == "unavailable"
    actions = ("release", "delete", "try_now", "cancel")
    urls = [reverse(f"wagtail_smtp_log:{name}", args=[entry.pk]) for name in actions]
    urls += [reverse(f"wagtail_smtp_log:{name}") for name in ("held", "release_all", "delete_all")]
    for url in urls:
        for response in (admin_client.get(url), admin_client.post(url)):
            assert response.status_code == 302, url
    assert OutboxMessage.objects.filter(entry=entry, state="waiting").exists()
    item = SettingsSet.objects.first()
    test = reverse("wagtailsnippets_wagtail_smtp_settingsset:send_test_email", args=[item.pk])
    response = admin_client.post(test, {"test_address": "qa@example.com"})
    assert response.status_code == 409
    assert "WAGTAIL_SMTP_ENVIRONMENT must be a name" in response.content.decode()
