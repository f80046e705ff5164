"""A set for a provider in the browser: the chosen transport's fields alone."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_main_job import LIST, person

__all__ = ["person"]
pytestmark = pytest.mark.browser


def test_the_form_shows_the_fields_of_the_chosen_transport(person):
    page = person.page
    person.log_in()
    person.go(LIST + "add/")
    host, key = page.locator("#id_host"), page.locator("#id_provider_mailgun_api_key")
    expect(host).to_be_visible()
    expect(key).to_be_hidden()

    page.locator("#id_transport").select_option(label="Mailgun")
    expect(key).to_be_visible()
    for name in ("host", "port", "preset", "username", "password", "provider_brevo_api_key"):
        expect(page.locator(f"#id_{name}")).to_be_hidden()

    page.locator("#id_name").fill("By Mailgun")
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_text("Enter it; the provider needs it.")).to_be_visible()
    # What was chosen is still shown.
    expect(host).to_be_hidden()
    key.fill(" key-of-the-demo ")
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_text("“By Mailgun” saved.")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="By Mailgun")
    expect(row).to_contain_text("Provider")
    row.get_by_role("link", name="By Mailgun").click()
    expect(page.locator("#id_provider_mailgun_api_key")).to_have_value("")
    assert "key-of-the-demo" not in page.content()

    page.locator("#id_transport").select_option(label="SMTP")
    expect(page.locator("#id_host")).to_be_visible()
