"""Someone sends a test alert and sees what became of it, on a desk and on a phone."""

import os

import pytest

from tests.browser.conftest import FLAGS, browser_path, running_demo
from tests.browser.test_accessibility import PHONE, violations
from tests.browser.test_main_job import Person
from tests.support.servers.receiver import Receiver
from wagtail_smtp.channels.channel import EMAIL

pytestmark = pytest.mark.browser

PAGE = "/admin/email/alerts/"
#: A folder for pictures, to look at.
FOLDER = os.environ.get("WAGTAIL_SMTP_SCREENSHOTS")


@pytest.fixture
def receivers():
    with Receiver() as working, Receiver(status=404) as broken:
        yield working, broken


@pytest.fixture
def person(receivers, tmp_path):
    from playwright.sync_api import sync_playwright

    urls = " ".join(["mailto://user:canary@example.com", *(each.apprise_url for each in receivers)])
    with (
        running_demo(tmp_path, WAGTAIL_SMTP_ALERTS=urls) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(60_000)
        yield Person(page, url)
        browser.close()


def test_a_test_alert(person, receivers):
    page = person.page
    person.log_in()
    person.go(PAGE)
    _take(page, "alerts-none")
    page.get_by_role("button", name="Send a test alert").click()
    outcomes = _outcomes(page)
    assert (outcomes["custom_json"], outcomes["custom_json-2"]) == ("sent", "failed")
    for each in receivers:
        assert len([title for title in each.titles if title.endswith("Test alert")]) == 1
    assert "canary" not in page.content()
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += violations(page)
        _take(page, f"alerts-{scheme}")
    assert not found, "\n".join(found)
    page.evaluate("document.documentElement.dir = 'rtl'")
    _take(page, "alerts-rtl")
    person.go(PAGE)
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    _take(page, "alerts-phone")


def _outcomes(page):
    """What each channel has of the test alert; the page asks to reload while it is being sent."""
    row = page.locator("tr", has=page.locator("[data-kind=test]")).first
    row.wait_for()
    for _second in range(60):
        # Email is the last one.
        found = {
            each.get_attribute("data-channel"): each.locator("[data-state]").get_attribute(
                "data-state"
            )
            for each in row.locator("[data-channel]").all()
        }
        if EMAIL in found and "trying" not in found.values():
            break
        page.wait_for_timeout(1000)
        page.reload()
    return found


def _take(page, name):
    if FOLDER:
        page.screenshot(path=f"{FOLDER}/{name}.png")
