"""A preset fills the form and says what to know."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_main_job import LIST, person

__all__ = ["person"]
pytestmark = pytest.mark.browser


def test_a_preset_fills_the_form(person):
    page = person.page
    person.log_in()
    person.go(LIST + "add/")
    preset = page.locator("#id_preset")

    preset.select_option(label="Microsoft 365")
    expect(page.locator("#id_host")).to_have_value("smtp.office365.com")
    expect(page.locator("#id_port")).to_have_value("587")
    expect(page.locator("#id_encryption")).to_have_value("starttls")
    expect(page.get_by_role("status").filter(has_text="Authenticated SMTP")).to_be_visible()

    expect(page.locator("#id_authentication")).to_have_value("oauth2")
    expect(page.locator("#id_oauth_provider")).to_have_value("microsoft")

    preset.select_option(label="SendGrid")
    expect(page.locator("#id_authentication")).to_have_value("password")
    expect(page.locator("#id_port")).to_have_value("465")
    expect(page.locator("#id_encryption")).to_have_value("ssl")
    expect(page.locator("#id_username")).to_have_value("apikey")

    preset.select_option(label="A relay on this machine")
    expect(page.locator("#id_authentication")).to_have_value("none")
    expect(page.locator("#id_host")).to_have_value("localhost")
    expect(page.locator("#id_username")).to_be_hidden()


def test_preset_and_oauth_agree_in_any_order(person):
    page = person.page
    person.log_in()
    person.go(LIST + "add/")
    preset, authentication = page.locator("#id_preset"), page.locator("#id_authentication")
    provider = page.locator("#id_oauth_provider")

    preset.select_option("google")
    authentication.select_option("oauth2")
    expect(provider).to_have_value("google")
    expect(page.locator("#id_oauth_flow")).to_have_value("service_account")

    preset.select_option("microsoft")
    preset.select_option("google")
    expect(authentication).to_have_value("oauth2")
    expect(provider).to_have_value("google")


def test_the_hint_survives_a_mistake(person):
    page = person.page
    person.log_in()
    person.go(LIST + "add/")
    page.locator("#id_preset").select_option("sendgrid")
    hint = page.locator("#id_preset ~ [role=status]")
    before = hint.inner_text()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#id_preset")).to_have_value("sendgrid")
    expect(hint).to_have_text(before)
    expect(page.locator("#id_username")).to_have_value("apikey")
