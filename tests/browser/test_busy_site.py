"""Pages that show more in a busy project: several sites, sending limits, and bounces."""

import os

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FLAGS, browser_path, run_in_demo, running_demo
from tests.browser.pages import LOG, SUPPRESSED
from tests.browser.test_accessibility import PHONE, violations
from tests.browser.test_main_job import LIST, Person
from tests.browser.test_set_tests import start

pytestmark = pytest.mark.browser

DESK = {"width": 1280, "height": 900}
#: Size, colours and direction of each look.
LOOKS = {
    "light": (DESK, "light", "ltr"),
    "dark": (DESK, "dark", "ltr"),
    "rtl": (DESK, "light", "rtl"),
    "phone": (PHONE, "light", "ltr"),
}
#: A folder for pictures, to look at.
FOLDER = os.environ.get("WAGTAIL_SMTP_SCREENSHOTS")

FILL = """
from datetime import timedelta
from django.core.mail import EmailMessage
from django.utils import timezone
from wagtail.models import Site
from example_site.places import OFFICE
from wagtail_smtp import live, suppression
from wagtail_smtp.delivery.log import tracking_events
from wagtail_smtp.live import usage
from wagtail_smtp.models import BounceSource, LogEntry, Secret, SettingsSet, SiteSender

EmailMessage("Your invoice", "Hello", None, ["here@example.org", "gone@example.net"]).send()
entry = LogEntry.objects.latest("pk")
reason = "550 5.1.1 <gone@example.net>: Recipient address rejected: User unknown in virtual table"
tracking_events.store([tracking_events.event(
    tracking_events.BY_SIGNED_KEY, "bounced", address="gone@example.net", reason=reason,
    entry_key=entry.key,
)])
suppression.suppress("gone@example.net", "bounced", detail=reason)
suppression.suppress("a.very.long.name+and.a.tag@department.example.org", "manual")
suppression.suppress("dan@example.org", "complained", detail="דואר זבל")

root = Site.objects.get().root_page
names = {"shop.example.com": "Shop", "office.example.com": "A site with quite a long name"}
sites = [
    Site.objects.create(hostname=host, site_name=name, root_page=root)
    for host, name in names.items()
]
item = SettingsSet.objects.order_by("sort_order").first()
item.bounce_address, item.bounce_separator = "bounces@example.com", "+"
item.mailbox_host, item.mailbox_port = "127.0.0.1", 1
item.max_per_second, item.max_per_hour, item.max_per_day = 14, 300, 20000
item.sites = [site.pk for site in sites]
item.site_senders = [SiteSender(site=site, sender_name=site.site_name) for site in sites]
item.secret = Secret.store(OFFICE.password, item.frozen(()).binding(), item.key)
item.save()
live.reload()
limits = item.frozen(()).limits
usage.end(usage.reserve(str(item.key), limits, 250, None, 60, takes_turn=False), 250)
since = timezone.now() - timedelta(days=2)
BounceSource.objects.create(set_key=item.key, failing_since=since, failure="Connection refused")
"""


@pytest.fixture
def person(tmp_path):
    from playwright.sync_api import sync_playwright

    with running_demo(tmp_path) as url, sync_playwright() as playwright:
        run_in_demo(tmp_path, FILL)
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        page = browser.new_context(viewport=DESK).new_page()
        page.set_default_timeout(60_000)
        yield Person(page, url)
        browser.close()


def test_in_every_look(person):
    page = person.page
    person.log_in()
    found = []
    for name, path in _pages(person):
        if path:
            person.go(path)
        page.wait_for_load_state("networkidle")
        for look, (size, scheme, direction) in LOOKS.items():
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.evaluate("direction => { document.documentElement.dir = direction }", direction)
            found += [f"{name}, {look}: {line}" for line in violations(page)]
            if page.evaluate("document.documentElement.scrollWidth") > size["width"]:
                found.append(f"{name}, {look}: wider than the screen")
            if FOLDER:
                page.screenshot(path=f"{FOLDER}/busy-{name}-{look}.png", full_page=True)
        page.set_viewport_size(DESK)
        page.emulate_media(color_scheme="light")
    assert not found, "\n".join(found)


def _pages(person):
    """Name and path of each page; no path: the page that is open."""
    page = person.page
    person.go(LIST)
    rows = page.locator("tbody .title a")
    edit = rows.first.get_attribute("href")
    expect(page.locator("main")).to_contain_text("250 of 300 per hour")
    yield "sets", ""
    person.go(edit)
    collapsed = page.locator("[data-panel-toggle][aria-expanded=false]:visible")
    while collapsed.count():
        collapsed.first.click()
    for field in ("#id_max_per_day", "#id_mailbox_host", "#id_site_senders-1-sender_name"):
        expect(page.locator(field)).to_be_visible()
    yield "form", ""
    person.go(edit.replace("/edit/", "/test-connection/"))
    start(page, "Test connection")
    expect(page.get_by_role("heading", name="Test failed")).to_be_visible(timeout=25_000)
    yield "test", ""
    person.go("/admin/email/delivery/")
    expect(page.locator("[data-kind=bounces]")).to_be_visible()
    yield "delivery", ""
    person.go(LOG)
    yield "log", ""
    person.go(rows.first.get_attribute("href"))
    expect(page.locator("[data-bad-event]")).to_be_visible()
    yield "entry", ""
    person.go(SUPPRESSED)
    address = rows.first.get_attribute("href")
    yield "suppressed", ""
    yield "suppressed-empty", f"{SUPPRESSED}?q=nothing"
    yield "suppress", f"{SUPPRESSED}add/"
    yield "suppressed-import", f"{SUPPRESSED}import/"
    yield "suppressed-address", address
    yield "suppressed-remove", f"{address}remove/"
