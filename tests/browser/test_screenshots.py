"""The pictures of README and docs that show the demo; those of tutorials are in test_tutorials.py.

As a test it makes them elsewhere, so that each page is seen to come up whole.
"""

import pytest
from playwright.sync_api import expect

from tests.browser.pictures import Pictures
from tests.browser.test_main_job import LIST, person
from tests.browser.test_set_tests import start

__all__ = ["person"]
pytestmark = pytest.mark.browser


def test_pictures(person, tmp_path):
    page = person.page
    pictures = Pictures(page, tmp_path)

    def picture(name, path):
        person.go(path)
        pictures.take(name)

    person.log_in()
    _send_something(person)
    _test_the_first(person)
    pictures.take("test")
    picture("delivery", "/admin/email/delivery/")
    picture("log", "/admin/email/log/")
    picture("entry", page.locator("tbody .title a").last.get_attribute("href"))
    before = _change_something(person)
    picture("settings", LIST)
    picture("reload", "/admin/email/reload/")
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(reduced_motion="reduce", color_scheme="dark")
    picture("log-on-a-phone", "/admin/email/log/")
    assert len(list(pictures.folder.glob("*.png"))) >= 7
    page.set_viewport_size({"width": 1280, "height": 900})
    _change_something(person, *before)


def _send_something(person):
    """Mail of several kinds, for the log."""
    page = person.page
    person.send("Is there still a place on Friday?")
    person.go("/invoice/")
    page.get_by_role("button", name="Send the invoice").click()
    expect(page.locator("main")).to_contain_text("was sent")
    person.go("/admin/password_reset/")
    page.get_by_role("textbox").fill("editor@example.com")
    page.get_by_role("button", name="Reset password").click()
    page.wait_for_url("**/password_reset/done/")


def _test_the_first(person):
    page = person.page
    person.go(LIST)
    person.go(page.locator("tbody .title a").first.get_attribute("href"))
    start(page, "Test only")
    expect(page.get_by_role("heading", name="Test passed")).to_be_visible()


def _change_something(person, name="Demo site", size="10"):
    """A change that waits: the reload page is to have something to show. What was before."""
    page = person.page
    person.go(LIST)
    person.go(page.locator("tbody .title a").first.get_attribute("href"))
    fields = [page.locator("#id_sender_name"), page.locator("#id_max_size")]
    before = [field.input_value() for field in fields]
    for field, value in zip(fields, (name, size), strict=True):
        field.evaluate("(field, value) => { field.value = value }", value)
    person.save()
    return before
