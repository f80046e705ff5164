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
    expect(page.locator("#id_security")).to_have_value("starttls")
    expect(page.get_by_role("status").filter(has_text="Authenticated SMTP")).to_be_visible()

    preset.select_option(label="SendGrid")
    expect(page.locator("#id_port")).to_have_value("465")
    expect(page.locator("#id_security")).to_have_value("ssl")
    expect(page.locator("#id_username")).to_have_value("apikey")

    preset.select_option(label="A relay on this machine")
    expect(page.locator("#id_authentication")).to_have_value("none")
    expect(page.locator("#id_host")).to_have_value("localhost")
