"""Someone checks their domain's DNS and copies the record to publish, on a desk and on a phone."""

import os

import pytest

from tests.browser.conftest import FLAGS, browser_path, running_demo
from tests.browser.test_accessibility import PHONE, violations
from tests.browser.test_main_job import Person
from tests.deliverability.zones import SERVER, zone_with
from tests.support.servers.dns_server import DNSServer

pytestmark = pytest.mark.browser

PAGE = "/admin/email/deliverability/"
#: A folder for pictures, to look at.
FOLDER = os.environ.get("WAGTAIL_SMTP_SCREENSHOTS")


@pytest.fixture
def name_server():
    with DNSServer(zone_with(spf=["v=spf1 include:_spf.google.com +all"]) | SERVER) as server:
        yield server


@pytest.fixture
def person(name_server, tmp_path):
    from playwright.sync_api import sync_playwright

    with (
        running_demo(tmp_path, DEMO_DNS_SERVERS=name_server.address) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(60_000)
        yield Person(page, url)
        browser.close()


def test_a_check(person, name_server):
    page = person.page
    person.log_in()
    person.go(PAGE)
    page.get_by_role("button", name="Check now").click()
    spf = page.locator("[data-topic=SPF]")
    spf.wait_for()
    assert spf.locator("[data-state]").get_attribute("data-state") == "bad"
    value = page.locator("#record-1-spf-1").input_value()
    assert value == "v=spf1 include:_spf.google.com ~all"
    spf.get_by_role("button", name="Copy").last.click()
    spf.get_by_text("Copied").or_(spf.get_by_text("Could not copy")).first.wait_for()
    spf.locator("summary").click()
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found += violations(page)
        _take(page, f"deliverability-{scheme}")
    assert not found, "\n".join(found)
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    _take(page, "deliverability-phone")
    asked = len(name_server.asked)
    person.go(PAGE)
    assert page.locator("[data-topic=SPF]").is_visible()
    assert len(name_server.asked) == asked


def _take(page, name):
    if FOLDER:
        size = page.viewport_size
        page.set_viewport_size({"width": size["width"], "height": 1900})
        page.screenshot(path=f"{FOLDER}/{name}.png")
        page.set_viewport_size(size)
