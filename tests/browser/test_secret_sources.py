"""Where a password comes from, chosen in the browser."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_main_job import LIST, person

__all__ = ["person"]
pytestmark = pytest.mark.browser


def test_only_the_input_of_the_chosen_source_is_shown(person):
    page = person.page
    person.log_in()
    person.go(LIST + "add/")
    source, typed, name = (page.locator(f"#id_password{end}") for end in ("_source", "", "_name"))
    expect(typed).to_be_visible()
    expect(name).to_be_hidden()

    source.select_option("env")
    expect(typed).to_be_hidden()
    expect(name).to_be_visible()
    expect(page.locator("#id_password_allowed")).to_contain_text("SMTP_*")
    page.locator("#id_name").fill("By variable")
    page.locator("#id_host").fill("smtp.example.com")
    page.locator("#id_username").fill("user")
    name.fill("DATABASE_URL")
    page.get_by_role("button", name="Save").first.click()

    # What was chosen and typed stays, with the error at the field.
    expect(source).to_have_value("env")
    expect(name).to_have_value("DATABASE_URL")
    described = name.get_attribute("aria-describedby").split()
    texts = " ".join(page.locator(f"#{each}").inner_text() for each in described)
    assert "SECRET_VARIABLES" in texts
    assert "SMTP_*" in texts

    name.fill("SMTP_PASSWORD")
    # The variable doesn't exist, and an enabled set that needs it can't go live.
    page.locator("#id_enabled").uncheck()
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_text("“By variable” saved.")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="By variable")
    row.get_by_role("link", name="By variable").click()
    expect(name).to_have_value("SMTP_PASSWORD")
    expect(typed).to_be_hidden()
    source.select_option("stored")
    expect(typed).to_be_visible()


def test_other_logins_and_transports_have_the_choice_too(person):
    page = person.page
    person.log_in()
    person.go(LIST + "add/")
    page.locator("#id_transport").select_option(label="Postmark")
    field = "#id_provider_postmark_server_token"
    page.locator(f"{field}_source").select_option("env")
    expect(page.locator(field)).to_be_hidden()
    expect(page.locator(f"{field}_name")).to_be_visible()
    expect(page.locator("#id_password_source")).to_be_hidden()
    page.locator("#id_transport").select_option(label="SMTP")
    page.locator("#id_authentication").select_option("oauth2")
    page.locator("#id_oauth_client_secret_source").select_option("env")
    expect(page.locator("#id_oauth_client_secret")).to_be_hidden()
    expect(page.locator("#id_oauth_client_secret_name")).to_be_visible()


def test_the_choice_fits_on_a_phone(person):
    page = person.page
    person.log_in()
    page.set_viewport_size({"width": 390, "height": 844})
    person.go(LIST + "add/")
    page.locator("#id_password_source").select_option("env")
    # A long translation; the selected option makes the select as wide as it is.
    page.locator("#id_password_source option:checked").evaluate(
        "option => option.textContent = 'From an environment variable of the process'"
    )
    expected = page.locator("#id_username").bounding_box()
    for end in ("_source", "_name"):
        box = page.locator(f"#id_password{end}").bounding_box()
        assert box["x"] + box["width"] <= expected["x"] + expected["width"]
