"""The main job in the browser: add a set, order, reload, redirect, and go back."""

import re

import pytest

from example_site import places
from tests.browser.conftest import FLAGS, browser_path, text_of

pytestmark = pytest.mark.browser

LIST = "/admin/snippets/wagtail_smtp/settingsset/"


class Person:
    """A user with a browser; each method is a step they take."""

    def __init__(self, page, url):
        self.page, self.url = page, url

    def go(self, path):
        self.page.goto(self.url + path)

    def log_in(self, name="admin"):
        self.go("/admin/login/")
        self.page.fill("#id_username", name)
        self.page.fill("#id_password", "demo")
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/admin/")

    def save(self):
        self.page.get_by_role("button", name="Save", exact=True).click()
        self.page.wait_for_url(f"**{LIST}*")

    def reload(self):
        self.page.get_by_role("button", name="Reload application").click()
        self.page.wait_for_url("**/email/delivery/")

    def send(self, text):
        self.go("/contact/")
        self.page.get_by_label("Name").fill("Visitor")
        self.page.get_by_label("Email").fill("visitor@example.net")
        self.page.get_by_label("Message").fill(text)
        self.page.get_by_role("button", name="Send").click()
        assert "your message was sent" in text_of(self.page)

    def newest_mail(self):
        self.go("/inbox/")
        self.page.locator(".messages a").first.click()
        return text_of(self.page)


@pytest.fixture
def person(demo):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(60_000)
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield Person(page, demo)
        reloading = page.request.get(f"{demo}/admin/email/reload/").text()
        browser.close()
        assert errors == []
        # The next test uses the same site and may reload it.
        assert "data-problems" not in reloading


def test_the_main_job(person, demo):
    page = person.page
    person.log_in()
    person.send("before")
    assert "Main office" in person.newest_mail()

    _add_a_set(person, demo)
    person.send("saved, not reloaded")
    assert "Main office" in person.newest_mail()

    _order_it_first(person)
    page.get_by_role("link", name="Reload application").first.click()
    assert "Fresh server" in text_of(page)
    person.reload()
    person.send("after the reload")
    mail = person.newest_mail()
    assert "Newsletter provider" in mail
    assert re.search(r"MAIL FROM\s+fresh@example.com", mail)
    assert re.search(r"RCPT TO\s+people@example.com", mail)
    assert "after the reload" in mail

    _switch_redirect(person, on=True)
    person.reload()
    person.send("redirected")
    mail = person.newest_mail()
    assert re.search(r"RCPT TO\s+report@example.com\n", mail)
    assert "[Redirected] A message from the contact page" in mail
    assert re.search(r"X-Original-To\s+people@example.com", mail)

    _switch_redirect(person, on=False)
    tick = page.locator("[name=end_redirect]")
    assert not tick.is_checked()
    page.get_by_role("button", name="Reload application").click()
    assert "/email/reload/" in page.url  # the browser requires the tick
    tick.check()
    person.reload()
    person.send("to real people again")
    assert re.search(r"RCPT TO\s+people@example.com", person.newest_mail())


def _add_a_set(person, demo):
    page = person.page
    person.go(LIST + "add/")
    port = int(demo.rpartition(":")[2])
    page.locator("[name=name]").fill("Fresh server")
    page.locator("[name=host]").fill("127.0.0.1")
    page.locator("[name=port]").fill(str(port + places.NEWSLETTER.offset))
    page.locator("[name=username]").fill(places.NEWSLETTER.username)
    page.locator("[name=password]").fill(places.NEWSLETTER.password)
    page.locator("[name=sender_address]").fill("fresh@example.com")
    page.get_by_role("button", name="Add report email").click()
    page.locator("[name=report_emails-0-address]").fill("report@example.com")
    more = page.locator("section[data-panel]", has=page.locator("[name=ca_certificates]"))
    if not page.locator("[name=ca_certificates]").is_visible():
        more.locator("[data-panel-toggle]").first.click()
    page.locator("[name=ca_certificates]").fill(_authority(page, person))
    person.save()
    assert "It is not live yet" in text_of(page, "body")
    assert page.locator("tr", has_text="Fresh server").get_by_text("Not live yet").count() == 1


def _authority(page, person):
    """The demo's own authority, copied from a set that has it."""
    other = page.context.new_page()
    other.goto(person.url + LIST + "edit/1/")
    value = other.locator("[name=ca_certificates]").input_value()
    other.close()
    return value


def _order_it_first(person):
    page = person.page
    person.go(LIST)
    rows = page.locator("tbody tr")
    count = rows.count()
    row = page.locator("tr", has_text="Fresh server")
    handle = row.locator("[data-w-orderable-target=handle]")
    handle.focus()
    for _ in range(count - 1):
        handle.press("ArrowUp")
    with page.expect_response(re.compile("reorder")) as response:
        handle.press("Enter")
    assert response.value.ok
    person.go(LIST)
    assert "Fresh server" in rows.first.inner_text()


def _switch_redirect(person, *, on):
    page = person.page
    person.go(LIST)
    page.get_by_role("link", name="Fresh server").first.click()
    page.locator("[name=redirect]").set_checked(on)
    person.save()
    page.get_by_role("link", name="Review and reload").first.click()
