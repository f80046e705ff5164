"""Every page of the plugin, seen by axe, in light and dark, on a desk and on a phone."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tests.browser.pages import SUPPRESSED, every_page
from tests.browser.test_main_job import LIST, person

__all__ = ["person"]
pytestmark = pytest.mark.browser

#: Wagtail's own, round every page of its admin; not for us to mend.
NOT_OURS = ["#wagtail-sidebar", "[data-sprite]", ".w-progress"]
PHONE = {"width": 390, "height": 844}
#: Wagtail fades in messages when the page is ready, and colours when they change.
IS_READY = """() => {
  const { body } = document;
  return !body.matches("[data-controller~=w-init]") || body.classList.contains("ready");
}"""
FINISH = """() => {
  for (const each of document.getAnimations()) {
    if (each.effect.getComputedTiming().endTime === Infinity) each.cancel();
    else each.finish();
  }
}"""


def violations(page) -> list[str]:
    """What axe finds in the page, a line each with rule, element and reason.

    Not while something fades: its contrast would depend on the moment.
    """
    page.wait_for_function(IS_READY)
    page.evaluate(FINISH)
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate(
        "([exclude]) => axe.run({exclude: exclude.map(each => [each])})", [NOT_OURS]
    )["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]}: {node['failureSummary'][:300]}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(person, scheme):
    page = person.page
    person.log_in()
    person.send("so that there is a log entry")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    found = []
    for name, path in every_page(person):
        person.go(path)
        page.wait_for_load_state("networkidle")
        found += [f"{name}: {line}" for line in violations(page)]
    assert not found, "\n".join(found)


def test_nothing_is_wider_than_a_phone(person):
    page = person.page
    person.log_in()
    person.send("so that there is a log entry")
    page.set_viewport_size(PHONE)
    wide = []
    for name, path in every_page(person):
        person.go(path)
        if page.evaluate("document.documentElement.scrollWidth") > PHONE["width"]:
            wide.append(name)
    assert wide == []


@pytest.mark.parametrize("path", [LIST, SUPPRESSED])
def test_the_header_with_buttons_fits_on_a_phone(person, path):
    page = person.page
    person.log_in()
    page.set_viewport_size(PHONE)
    person.go(path)
    header = page.locator("header")
    # Wagtail cuts off a title that doesn't fit.
    trail = header.locator("[data-w-breadcrumbs]")
    title, shown = (each.bounding_box() for each in (trail.locator("li").last, trail))
    assert title["width"] > 100
    assert title["x"] + title["width"] <= shown["x"] + shown["width"]
    for button in header.locator("#w-slim-header-buttons > *").all():
        box = button.bounding_box()
        assert box["x"] + box["width"] <= PHONE["width"]
