"""The pictures of README and docs, made anew; ``make screenshots`` puts them into docs/images.

As a test it makes them elsewhere, so that each page is seen to come up whole.
"""

import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_main_job import LIST, person

__all__ = ["person"]
pytestmark = pytest.mark.browser

FOLDER = os.environ.get("WAGTAIL_SMTP_SCREENSHOTS")


def test_pictures(person, tmp_path):
    folder = Path(FOLDER or tmp_path)
    page = person.page
    page.emulate_media(reduced_motion="reduce", color_scheme="light")

    def picture(name, path="", **options):
        if path:
            person.go(path)
            page.wait_for_load_state("networkidle")
        page.evaluate("document.activeElement && document.activeElement.blur()")
        file = folder / f"{name}.png"
        page.screenshot(path=file, **options)
        # A palette is enough for pages of few colours, and a third of the size.
        with Image.open(file) as image:
            image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)

    person.log_in()
    for text in ("Is there still a place on Friday?", "Thank you for the quick answer"):
        person.send(text)
    picture("settings", LIST)
    _test_the_first(person)
    picture("test", full_page=False)
    picture("delivery", "/admin/email/delivery/")
    picture("log", "/admin/email/log/")
    person.go(page.locator("tbody .title a").first.get_attribute("href"))
    picture("entry")
    _change_something(person)
    picture("reload", "/admin/email/reload/")
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(reduced_motion="reduce", color_scheme="dark")
    picture("log-on-a-phone", "/admin/email/log/")
    assert len(list(folder.glob("*.png"))) >= 7
    _change_it_back(person)


def _test_the_first(person):
    page = person.page
    person.go(LIST)
    person.go(page.locator("tbody .title a").first.get_attribute("href"))
    page.get_by_role("button", name="Test only", exact=True).click()
    expect(page.get_by_role("heading", name="Test passed")).to_be_visible()


def _change_something(person):
    """A change that waits: the reload page is to have something to show."""
    page = person.page
    person.go(LIST)
    person.go(page.locator("tbody .title a").first.get_attribute("href"))
    page.locator("#id_max_size").evaluate("field => { field.value = 10 }")
    page.locator("#id_sender_name").fill("Demo site")
    person.save()


def _change_it_back(person):
    page = person.page
    page.set_viewport_size({"width": 1280, "height": 900})
    person.go(LIST)
    person.go(page.locator("tbody .title a").first.get_attribute("href"))
    page.locator("#id_max_size").evaluate("field => { field.value = '' }")
    page.locator("#id_sender_name").fill("")
    person.save()
