"""Someone checks whether email works: a test email, how it was sent, and its bar in the chart."""

import re

import pytest

from tests.browser.conftest import text_of
from tests.browser.test_main_job import LIST, person  # noqa: F401

pytestmark = pytest.mark.browser

DELIVERY = "/admin/email/delivery/"


def test_a_test_email_is_sent_and_seen(person):  # noqa: F811
    page = person.page
    person.log_in()
    person.go(DELIVERY)
    page.get_by_label("Recipient").fill("somebody@example.org")
    page.get_by_label("Category").select_option("invoice")
    page.get_by_role("button", name="Send test email").click()
    page.wait_for_url("**?tested#test-section")
    panel = page.locator("#test-section")
    panel.get_by_text("The test email was sent.").wait_for()
    told = panel.inner_text()
    assert re.search(r"Recipient\s+somebody@example.org", told)
    carrier = re.search(r"Sent through\s+(.+?):", told).group(1)
    # The result is in view, below the header.
    assert panel.get_by_role("heading").bounding_box()["y"] > 60

    _look_at_the_chart(page)
    panel.locator("[data-log-entry]").click()
    page.wait_for_url(re.compile(r"/email/log/\d+/$"))
    assert "somebody@example.org" in text_of(page)

    mail = person.newest_mail()
    assert re.search(r"RCPT TO\s+somebody@example.org", mail)
    assert "This is a test email" in mail
    person.go(LIST)
    assert carrier in text_of(page)


def _look_at_the_chart(page):
    bars = page.locator("rect.wsmtp-bar--sent").all()
    assert all(bar.bounding_box()["height"] > 5 for bar in bars)
    assert len(bars) >= 2  # the legend's and today's
    chart = page.get_by_role("img", name=re.compile("messages? in the last 30 days"))
    assert chart.bounding_box()["width"] > 500
    summary = page.locator(".wsmtp-details summary")
    table = page.locator(".wsmtp-details table")
    assert not table.is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert table.is_visible()


def test_it_fits_a_telephone(person):  # noqa: F811
    page = person.page
    person.log_in()
    person.send("so that there is a chart")
    page.set_viewport_size({"width": 390, "height": 844})
    person.go(DELIVERY)
    chart = page.locator(".wsmtp-chart")
    chart.scroll_into_view_if_needed()
    assert chart.bounding_box()["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    is_cut = "node => node.scrollWidth > node.clientWidth"
    assert not page.locator("main").evaluate(is_cut)
