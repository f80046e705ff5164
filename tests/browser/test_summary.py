"""The summary by email: chosen in the account settings, and readable in light, dark and RTL."""

from datetime import date

import pytest
from django.utils import translation

from tests.browser.test_accessibility import PHONE, violations
from tests.browser.test_main_job import person
from wagtail_smtp.diagnostics.figures import Figures, Period
from wagtail_smtp.summary import sending
from wagtail_smtp.summary.content import Problem, Row, Summary

__all__ = ["person"]
pytestmark = pytest.mark.browser

LINK = "https://example.com/admin/"
CONTENT = Summary(
    site="A site with a name that is long and hasn't-got-so-many-spaces",
    period=Period(date(2026, 11, 23), date(2026, 11, 29)),
    figures=Figures({"sent": 12044, "failed": 3}),
    rows=(
        Row("sent", "Sent", 12044, 11800, LINK),
        Row("not_sent", "Not sent, or not to everyone", 3, 0),
        Row("failed", "Failed", 3, 0, LINK, is_part=True),
    ),
    problems=(Problem("too-large", 2, "The message is too large", "Send less.", LINK),),
    more=1,
    carriers=(("A settings set with a long name", "2 messages"),),
    sites=(("www.a-site-with-a-name-that-is-long.example.org", "12,000 sent, 3 not sent"),),
    notes=("All email is redirected.",),
    expiring=("A certificate expires.",),
    delivery_url=LINK,
    account_url=LINK,
    is_subscribed=True,
)


@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_email_can_be_read(person, scheme, language):
    with translation.override(language):
        [(html, _kind)] = sending.message_for(CONTENT, "ada@example.com").alternatives
    page = person.page
    page.emulate_media(color_scheme=scheme)
    page.set_content(html)
    assert violations(page) == []
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    first, last = (
        page.locator(f"[data-row=sent] > :nth-child({n})").bounding_box() for n in (1, 3)
    )
    assert (first["x"] < last["x"]) == (language == "en")


def test_it_is_chosen_in_the_account_settings(person):
    page = person.page
    person.log_in()
    person.go("/admin/email/delivery/")
    page.locator("#get-summary").click()
    weekly = page.locator("input[name=email_summary-frequency][value=weekly]")
    weekly.check()
    assert violations(page) == []
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    # Wagtail requires them, and the demo's user has none.
    page.locator("#tab-label-profile").click()
    for name in ("first", "last"):
        page.fill(f"#id_name_email-{name}_name", "Ada")
    with page.expect_response(lambda each: each.request.method == "POST") as posted:
        page.get_by_role("button", name="Save").click()
    assert posted.value.status == 302
    person.go("/admin/email/delivery/")
    page.locator("#get-summary").click()
    page.wait_for_load_state("networkidle")
    assert weekly.is_checked()
