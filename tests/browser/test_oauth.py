"""The change-over, as a person does it: from a password to OAuth 2, by a consent in the browser."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import text_of
from tests.browser.test_main_job import LIST, person
from tests.browser.test_set_tests import saved, start, title
from tests.support.servers.hostile import HostileServer
from tests.support.servers.identity_provider import IdentityProvider
from tests.support.servers.smtp_server import CA_PEM

__all__ = ["person", "saved"]
pytestmark = pytest.mark.browser


@pytest.fixture
def provider():
    with IdentityProvider() as running:
        yield running


@pytest.fixture
def server(provider):
    """A mail server that still takes the password, until it is switched off."""
    mechanisms = ("PLAIN", "XOAUTH2")
    with HostileServer(mechanisms=mechanisms, takes_token=provider.takes) as running:
        yield running


def test_from_a_password_to_oauth(person, provider, server, saved):
    page = person.page
    person.log_in()
    _add_password_set(person, server)
    saved.append("Change-over")
    page.get_by_role("link", name="Review and reload").first.click()
    person.reload()
    person.send("by password")
    assert server.logins[-1] == ("user@example.com", server.password)

    server.mechanisms = ("XOAUTH2",)
    _choose_oauth(person, provider)
    _connect(person, provider)
    assert "is connected" in text_of(page, "body")
    assert "The access token is valid" in text_of(page, "body")

    start(page, "Test only")
    title(page, "Test passed")
    assert "Tested with an access token" in text_of(page)

    page.goto(person.url + "/admin/email/reload/")
    assert "OAuth 2" in text_of(page)
    person.reload()
    person.send("by token")
    assert server.tokens[-1][0] == "user@example.com"
    assert b"by token" in server.received[-1].content
    assert server.violations == []


def _add_password_set(person, server):
    page = person.page
    person.go(LIST + "add/")
    page.locator("[name=name]").fill("Change-over")
    page.locator("[name=host]").fill("127.0.0.1")
    page.locator("[name=port]").fill(str(server.port))
    page.locator("[name=username]").fill(server.username)
    page.locator("[name=password]").fill(server.password)
    if not page.locator("[name=ca_certificates]").is_visible():
        more = page.locator("section[data-panel]", has=page.locator("[name=ca_certificates]"))
        more.locator("[data-panel-toggle]").first.click()
    page.locator("[name=ca_certificates]").fill(CA_PEM)
    # Nothing of OAuth 2 is in the way of a password.
    expect(page.locator("[name=oauth_provider]")).to_be_hidden()
    person.save()
    person.go(LIST)
    handle = page.locator("tr", has_text="Change-over").locator("[data-w-orderable-target=handle]")
    handle.focus()
    for _ in range(page.locator("tbody tr").count() - 1):
        handle.press("ArrowUp")
    with page.expect_response(re.compile("reorder")):
        handle.press("Enter")
    person.go(LIST)
    page.get_by_role("link", name="Change-over").first.click()
    page.locator("[name=sender_name]").fill("Office")
    person.save()


def _choose_oauth(person, provider):
    page = person.page
    person.go(LIST)
    page.get_by_role("link", name="Change-over").first.click()
    page.locator("[name=authentication]").select_option("oauth2")
    expect(page.locator("[name=password]")).to_be_hidden()
    expect(page.locator("[name=oauth_tenant]")).to_be_visible()
    page.locator("[name=oauth_provider]").select_option("google")
    expect(page.locator("[name=oauth_tenant]")).to_be_hidden()
    expect(page.locator("[name=oauth_secret_expires_on]")).to_be_hidden()
    expect(page.locator("[name=oauth_service_account]")).to_be_visible()
    page.locator("[name=oauth_provider]").select_option("other")
    page.locator("[name=oauth_flow]").select_option("consent")
    expect(page.locator("[name=oauth_service_account]")).to_be_hidden()
    page.locator("[name=oauth_client_id]").fill(provider.client_id)
    page.locator("[name=oauth_client_secret]").fill(provider.client_secret)
    page.locator("[name=oauth_authorize_url]").fill(f"{provider.url}/authorize")
    page.locator("[name=oauth_token_url]").fill(f"{provider.url}/token")
    page.locator("[name=oauth_scope]").fill("smtp offline_access")
    page.locator("[name=oauth_secret_expires_on]").fill("2099-12-31")
    page.keyboard.press("Tab")  # closes the calendar
    person.save()
    row = page.locator("tr", has_text="Change-over")
    expect(row).to_contain_text("Consent missing")


def _connect(person, provider):
    page = person.page
    page.get_by_role("link", name="Change-over").first.click()
    assert page.locator("[name=oauth_client_secret]").input_value() == ""
    assert page.locator("[name=oauth_secret_expires_on]").input_value() == "2099-12-31"
    page.get_by_role("link", name="Connect").click()
    page.get_by_role("button", name="Connect").click()
    page.wait_for_url(f"{provider.url}/authorize*")
    assert "As user@example.com" in text_of(page, "body")
    page.get_by_role("button", name="Allow").click()
    page.wait_for_url("**/edit/**")
