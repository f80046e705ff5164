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
    expect(page.get_by_text("This email provider requires this field.")).to_be_visible()
    # What was chosen is still shown.
    expect(host).to_be_hidden()
    key.fill(" key-of-the-demo ")
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_text("“By Mailgun” saved.")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="By Mailgun")
    expect(row).to_contain_text("Email provider")
    row.get_by_role("link", name="By Mailgun").click()
    expect(page.locator("#id_provider_mailgun_api_key")).to_have_value("")
    assert "key-of-the-demo" not in page.content()

    page.locator("#id_transport").select_option(label="SMTP")
    expect(page.locator("#id_host")).to_be_visible()


def test_default_credentials_lock_nothing_of_a_provider(person):
    """A server of one's own may have a private authority; that field is SMTP's as well."""
    page = person.page
    person.log_in()
    person.go(LIST + "add/")
    # The demo's own server has no user.
    page.evaluate(
        """() => {
          const field = document.querySelector('#id_authentication');
          field.add(new Option('Default credentials', 'default'));
          const own = { host: 'own.example.com', port: 25, encryption: 'none', username: 'u' };
          field.dataset.standard = JSON.stringify({ ...own, ca_certificates: '' });
          document.querySelector('[data-controller~="wsmtp-set-form"]').id = 'the-form';
        }"""
    )
    # The script begins anew with that.
    for names in ("", "wsmtp-set-form"):
        page.evaluate(
            "names => { document.getElementById('the-form').dataset.controller = names; }", names
        )
    page.locator("#id_host").fill("smtp.example.com")
    page.locator("#id_authentication").select_option("default")
    expect(page.locator("#id_host")).to_be_disabled()
    certificates = page.locator("#id_ca_certificates")
    expect(certificates).to_be_disabled()
    page.locator("#id_transport").select_option(label="Postal")
    expect(certificates).to_be_enabled()
    page.locator("#id_transport").select_option(label="SMTP")
    expect(certificates).to_be_disabled()
    expect(page.locator("#id_host")).to_have_value("own.example.com")
    page.locator("#id_authentication").select_option("password")
    expect(page.locator("#id_host")).to_have_value("smtp.example.com")
