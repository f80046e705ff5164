"""Find a failed message, read the reason, fix the cause, and resend it."""

import re

import pytest

from example_site import places
from tests.browser.conftest import text_of
from tests.browser.test_main_job import LIST, person  # noqa: F401

pytestmark = pytest.mark.browser

LOG = "/admin/email/log/"
NOBODY_LISTENS = 9


def test_a_failed_message_is_found_and_sent_again(person):  # noqa: F811
    page = person.page
    person.log_in()
    right = _set_port_of_the_first(person, NOBODY_LISTENS)
    _send_in_vain(person)

    _find(person)
    text = text_of(page)
    assert re.search(r"^Failed ", text, re.MULTILINE)
    assert "people@example.com" in text
    assert "Connection refused" in text
    frame = page.frame_locator("iframe[sandbox='']")
    frame.get_by_text("This is a test email").first.wait_for()

    _set_port_of_the_first(person, right)
    _find(person)
    page.get_by_role("link", name="Resend").click()
    assert "people@example.com" in text_of(page)
    page.get_by_role("button", name="Yes, resend it").click()
    page.get_by_text("The message was resent.").wait_for()
    text = text_of(page)
    assert re.search(r"^Sent ", text, re.MULTILINE)
    assert "Copy of" in text

    mail = person.newest_mail()
    assert re.search(r"RCPT TO\s+people@example.com", mail)
    assert "This is a test email" in mail


def _set_port_of_the_first(person, port):  # noqa: F811
    """Change the port of the live set, make it live, and return the old port."""
    page = person.page
    person.go(LIST)
    person.go(page.locator("tbody .title a").first.get_attribute("href"))
    is_office = page.locator("[name=name]").input_value() == places.OFFICE.name
    field = page.locator("[name=port]")
    before = int(field.input_value())
    field.fill(str(port))
    # A password is bound to the port.
    password = (places.OFFICE if is_office else places.NEWSLETTER).password
    page.locator("[name=password]").fill(password)
    person.save()
    page.get_by_role("link", name="Review and reload").first.click()
    person.reload()
    return before


def _send_in_vain(person):  # noqa: F811
    # Not with the contact form: its messages wait until the server works again.
    page = person.page
    person.go("/admin/email/delivery/")
    page.get_by_label("Recipient").fill("people@example.com")
    page.get_by_role("button", name="Send test email").click()
    page.locator("#test-section").get_by_text("Connection refused").wait_for()


def _find(person):  # noqa: F811
    """Find an entry by state and recipient."""
    page = person.page
    person.go(LOG)
    page.get_by_role("button", name="Show filters").click()
    page.locator(".w-drilldown__toggle", has_text="State").click()
    page.locator("[name=state][value=failed]").check()
    page.wait_for_url("**state=failed*")
    page.keyboard.press("Escape")
    page.get_by_role("textbox", name="Search term").fill("people@example.com")
    page.wait_for_url("**q=people*")
    row = page.locator("#listing-results tbody tr").first
    assert "Failed" in row.text_content()
    row.get_by_role("link").click()
    page.wait_for_url(re.compile(r"/email/log/\d+/$"))


def test_the_listing_on_a_phone(person):  # noqa: F811
    page = person.page
    person.log_in()
    person.send("On the phone")
    page.set_viewport_size({"width": 390, "height": 844})
    person.go(LOG)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    row = page.locator("#listing-results tbody tr").first
    subject, recipients = row.locator(".title"), row.locator(".wsmtp-log-recipients")
    assert subject.bounding_box()["width"] > 250
    for cell in (subject, recipients):
        box = cell.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    assert recipients.bounding_box()["y"] > subject.bounding_box()["y"]
    assert not row.locator(".wsmtp-log-minor").first.is_visible()
    page.set_viewport_size({"width": 1280, "height": 900})
    assert row.locator(".wsmtp-log-minor").first.is_visible()


def test_an_entry_and_its_resend_on_a_phone(person):  # noqa: F811
    """Nothing is cut off at the edge, however long an address or Message-ID is."""
    page = person.page
    person.log_in()
    right = _set_port_of_the_first(person, NOBODY_LISTENS)
    _send_in_vain(person)
    _set_port_of_the_first(person, right)
    page.set_viewport_size({"width": 390, "height": 844})
    _find(person)
    entry = page.url
    for url in (entry, f"{entry}resend/"):
        page.goto(url)
        widest = page.locator("main :is(dl, ul, p) :is(bdi, [dir=auto])").evaluate_all(
            "nodes => nodes.map(node => node.getBoundingClientRect().right)"
        )
        assert max(widest) <= 390
