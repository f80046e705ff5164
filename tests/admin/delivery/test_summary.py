"""Users choose the summary in their account settings."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from wagtail_smtp.live.db import connections
from wagtail_smtp.models import SummarySubscription
from wagtail_smtp.summary import subscriptions

ACCOUNT = "/admin/account/"
FIELD = "email_summary-frequency"


def _post(client, user, **values):
    data = {
        "name_email-first_name": "Ada",
        "name_email-last_name": "L",
        "name_email-email": user.email,
        "notifications-submitted_notifications": "on",
        "locale-preferred_language": "",
        "locale-current_time_zone": "",
        "theme-theme": "system",
        "theme-contrast": "system",
        "theme-density": "default",
        "theme-keyboard_shortcuts": "on",
    }
    response = client.post(ACCOUNT, data | values)
    assert response.status_code == 302, response.context["panels_by_tab"]
    return response


@pytest.fixture
def log_in(make_user):
    def enter(*codenames):
        client = Client()
        client.user = make_user(*codenames)
        client.force_login(client.user)
        return client

    return enter


def _field(client):
    return f'name="{FIELD}"' in client.get(ACCOUNT).content.decode()


@pytest.mark.parametrize("frequency", ["weekly", "daily"])
def test_choose_and_turn_off(log_in, frequency):
    client = log_in("view_logentry")
    assert _field(client)
    _post(client, client.user, **{FIELD: frequency})
    assert subscriptions.frequency_of(client.user) == frequency
    page = client.get(ACCOUNT).content.decode()
    assert page.count("checked") >= 1
    before = SummarySubscription.objects.get()
    # Saved for another reason, or by a page without the panel.
    _post(client, client.user, **{FIELD: frequency})
    _post(client, client.user)
    assert SummarySubscription.objects.get().pk == before.pk
    _post(client, client.user, **{FIELD: "never"})
    assert not SummarySubscription.objects.exists()


def test_an_invented_choice_is_refused(log_in):
    client = log_in("view_logentry")
    response = client.post(ACCOUNT, {FIELD: "hourly", "name_email-email": "ada@example.com"})
    assert response.status_code == 200
    assert not SummarySubscription.objects.exists()


@pytest.mark.parametrize("codenames", [(), ("send_test_email",)])
def test_who_may_not_see_the_numbers_has_no_choice(log_in, codenames):
    client = log_in(*codenames)
    assert not _field(client)
    _post(client, client.user, **{FIELD: "weekly"})
    assert not SummarySubscription.objects.exists()


def test_who_may_see_the_settings_has_the_choice(log_in):
    assert _field(log_in("view_settingsset"))


def test_the_choice_costs_one_query(log_in):
    client = log_in("view_logentry")
    client.get(ACCOUNT)
    with CaptureQueriesContext(connection) as captured:
        client.get(ACCOUNT)
    assert sum("summarysubscription" in query["sql"] for query in captured) == 1


def test_the_page_links_to_the_choice(log_in):
    link = f'href="{ACCOUNT}#tab-notifications" id="get-summary"'
    page = "/admin/email/delivery/"
    assert link in log_in("view_logentry").get(page).content.decode()


def test_who_only_sends_test_emails_has_no_link(log_in):
    page = log_in("send_test_email").get("/admin/email/delivery/")
    assert page.status_code == 200
    assert "get-summary" not in page.content.decode()


def test_an_account_without_an_address_is_told(log_in):
    client = log_in("view_logentry")
    client.user.email = ""
    client.user.save()
    assert "no valid email address" in client.get(ACCOUNT).content.decode()


def test_in_a_copy_the_choice_is_another_one(log_in, run_in):
    run_in("production")
    client = log_in("view_logentry")
    _post(client, client.user, **{FIELD: "weekly"})
    run_in("staging")
    assert "“production” already sends you a summary." in client.get(ACCOUNT).content.decode()
    _post(client, client.user, **{FIELD: "never"})
    run_in("production")
    assert subscriptions.frequency_of(client.user) == "weekly"


def test_the_page_works_without_tables_or_a_valid_environment(log_in, run_in, monkeypatch):
    client = log_in("view_logentry")
    run_in("Not valid")
    assert not _field(client)
    run_in("")
    monkeypatch.setattr(connections, "is_migrated", lambda: False)
    assert not _field(client)
