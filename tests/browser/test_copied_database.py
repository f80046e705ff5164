"""Production's database is copied to staging: nothing is sent there, and every page says why."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FLAGS, browser_path, run_in_demo, running_demo
from tests.browser.pages import every_page
from tests.browser.test_main_job import LIST, Person
from wagtail_smtp.conf import ENVIRONMENT_VARIABLE

pytestmark = pytest.mark.browser

QUEUE = """
from django.core.mail import EmailMessage
from django.utils import timezone
from wagtail_smtp.backend import EmailBackend
from wagtail_smtp.models import OutboxMessage
messages = [
    EmailMessage(f"Queued in production {n}", "Body", None, ["people@example.com"])
    for n in range(2)
]
EmailBackend(delivery="queued").send_messages(messages)
# Django's immediate tasks have tried to send them, but no server runs now.
OutboxMessage.objects.update(due_at=timezone.now())
"""


class Sites:
    """The demo in two environments, each with a browser, and the mail that each received."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder

    def open(self, environment: str) -> Person:
        """Run the site of an environment; a superuser who isn't logged in."""
        from playwright.sync_api import sync_playwright

        named = {ENVIRONMENT_VARIABLE: environment}
        url = self._stack.enter_context(running_demo(self._folder / environment, **named))
        if not hasattr(self, "_browser"):
            playwright = self._stack.enter_context(sync_playwright())
            self._browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
            self._stack.callback(self._browser.close)
        page = self._browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(60_000)
        return Person(page, url)

    def mail(self, environment: str, since: int = 0) -> list[tuple[str, list[str]]]:
        """Subject and recipients of what the servers of an environment received, in order."""
        found: list[tuple[int, str, Any]] = []
        for path in (self._folder / environment / "mail").glob("*/*.json"):
            number = int(path.stem)
            if number > since:
                content = path.with_suffix(".eml").read_text()
                [subject] = re.findall(r"^Subject: (.+)$", content, re.MULTILINE)
                found.append((number, subject, json.loads(path.read_text())["rcpt_to"]))
        return [(subject, recipients) for _number, subject, recipients in sorted(found)]


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    for environment in ("production", "staging"):
        (tmp_path / environment).mkdir()
    with ExitStack() as stack:
        yield Sites(stack, tmp_path)


def test_production_is_copied_to_staging(sites, tmp_path):
    with ExitStack() as once:
        production = Sites(once, tmp_path).open("production")
        production.send("before the copy")
    run_in_demo(tmp_path / "production", QUEUE, **{ENVIRONMENT_VARIABLE: "production"})
    shutil.copytree(tmp_path / "production", tmp_path / "staging", dirs_exist_ok=True)
    copied_at = time.time_ns()

    staging = sites.open("staging")
    staging.log_in()
    _every_page_says_why(staging)
    staging.send("from the copy")
    staging.go("/admin/email/delivery/")
    expect(staging.page.locator("[data-no-test]")).to_contain_text("are held")
    time.sleep(6)  # the worker looks into the outbox every 5 seconds

    production = sites.open("production")
    production.send("after the copy")
    assert _until(sites, "production", copied_at, 3) == [
        ("A message from the contact page", ["people@example.com"]),
        ("Queued in production 0", ["people@example.com"]),
        ("Queued in production 1", ["people@example.com"]),
    ]
    assert sites.mail("staging", copied_at) == []

    _reload_with_a_redirect(staging)
    staging.send("after the reload")
    staging.go("/admin/email/log/held/")
    rows = staging.page.locator(".wsmtp-cards tbody tr")
    expect(rows).to_have_count(2)
    staging.page.get_by_role("link", name="Release: Queued in production 0").click()
    staging.page.get_by_role("button", name="Yes, release it").click()
    expect(rows).to_have_count(1)
    staging.page.get_by_role("link", name="Delete all").click()
    staging.page.get_by_role("button", name="Yes, delete them").click()
    expect(staging.page.locator("main")).to_contain_text("No messages are held.")
    assert _until(sites, "staging", copied_at, 2) == [
        ("[Redirected] A message from the contact page", ["qa@example.com"]),
        ("[Redirected] Queued in production 0", ["qa@example.com"]),
    ]
    assert len(sites.mail("production", copied_at)) == 3


def _every_page_says_why(person: Person) -> None:
    text = "These email settings come from “production”. No email is sent from “staging”"
    paths = [path for _name, path in every_page(person)]
    for path in ["/admin/", "/admin/pages/", "/admin/images/", *paths, "/admin/email/log/held/"]:
        person.go(path)
        banner = person.page.locator(".wsmtp-banner")
        expect(banner).to_contain_text(text)
        assert banner.get_attribute("data-kind") == "held", path


def _reload_with_a_redirect(person: Person) -> None:
    page = person.page
    person.go(LIST)
    page.get_by_role("link", name="Testing: all mail to QA").first.click()
    page.locator("[name=enabled]").check()
    person.save()
    page.get_by_role("button", name="Move to first position").first.click()
    page.wait_for_url(f"**{LIST}*")
    page.locator(".wsmtp-banner").get_by_role("link", name="Reload application").click()
    main = page.locator("main")
    expect(main).to_contain_text("This page makes a version for “staging”")
    expect(page.locator("[name=end_redirect]")).to_have_count(0)
    person.reload()
    expect(page.locator("main")).to_contain_text("Email is no longer held.")
    expect(page.locator(".wsmtp-banner")).to_have_attribute("data-kind", "redirect")


def _until(sites: Sites, environment: str, since: int, count: int) -> list[Any]:
    """What was received in an environment, once it is so many messages."""
    end = time.monotonic() + 20
    while len(found := sites.mail(environment, since)) < count and time.monotonic() < end:
        time.sleep(0.2)
    return sorted(found)
