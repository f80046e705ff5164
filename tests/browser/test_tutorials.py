"""“Your first email from the admin”, followed step by step, with the pictures of the page.

Google's and Microsoft's servers are servers of the tests, reached by their real names.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import FLAGS, browser_path, running_demo
from tests.browser.pictures import Pictures
from tests.browser.test_main_job import LIST, Person
from tests.browser.test_set_tests import fill, start, title
from tests.support.servers.dialects import usual
from tests.support.servers.hostile import HostileServer
from tests.support.servers.identity_provider import IdentityProvider
from tests.support.servers.smtp_server import CA_PEM, server_context

pytestmark = pytest.mark.browser

MAILBOX = "website@example.com"
APP_PASSWORD = "abcd efgh ijkl mnop"


class Servers:
    """Google's and Microsoft's."""

    def __init__(self, stack: ExitStack) -> None:
        # Google shows an app password with spaces; without them it is the same.
        self.google = stack.enter_context(
            HostileServer(
                "ssl",
                username=MAILBOX,
                password=APP_PASSWORD,
                mechanisms=("PLAIN",),
                dialect=lambda text: usual(text.replace("hostile.example", "smtp.gmail.com")),
            )
        )
        self.identity_provider = stack.enter_context(
            IdentityProvider("66666666-7777-8888-9999-000000000000", tls=server_context())
        )
        self.microsoft = stack.enter_context(
            HostileServer(mechanisms=("XOAUTH2",), takes_token=self.identity_provider.takes)
        )

    def by_name(self) -> dict[str, int]:
        """The ports of the names in the tutorial."""
        return {
            "smtp.gmail.com": self.google.port,
            "smtp.office365.com": self.microsoft.port,
            "login.microsoftonline.com": int(self.identity_provider.url.rpartition(":")[2]),
        }


@pytest.fixture
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture
def fresh(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A superuser of a site without settings sets, logged in."""
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("fresh")
    authority = folder / "authority.pem"
    authority.write_text(CA_PEM)
    site = running_demo(
        folder,
        "tests.browser.fresh_site",
        WAGTAIL_SMTP_TEST_NAMES=json.dumps(servers.by_name()),
        SSL_CERT_FILE=str(authority),
    )
    with site as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        page = browser.new_context(viewport={"width": 1120, "height": 760}).new_page()
        page.set_default_timeout(60_000)
        person = Person(page, url)
        person.log_in()
        yield person
        browser.close()


def test_first_email_with_google(fresh, servers, tmp_path):
    page = fresh.page
    pictures = Pictures(page, tmp_path)
    _add_a_set(fresh)
    fill(page, name="Google Workspace")
    page.locator("#id_preset").select_option(label="Google Workspace, Gmail")
    expect(page.locator("#id_host")).to_have_value("smtp.gmail.com")
    fill(page, username=MAILBOX, password=APP_PASSWORD, sender_name="Example Ltd")
    pictures.of("first-email-server", "#panel-name-section", "#panel-server-section")
    pictures.of("first-email-login", "#panel-credentials-section", "#panel-sender-section")

    start(page, "Test only")
    title(page, "Test passed")
    pictures.of("first-email-test", ".wsmtp-test")
    start(page, "Send test email")
    page.get_by_label("Send test email to").press("Enter")
    expect(page.get_by_text("accepted the test email for admin@example.com.")).to_be_visible()
    assert servers.google.received[-1].recipients == ["admin@example.com"]
    fresh.save()

    page.get_by_role("link", name="Review and reload").first.click()
    pictures.take("first-email-reload")
    fresh.reload()
    page.get_by_label("Recipient").fill("ada@example.org")
    page.get_by_role("button", name="Send test email").click()
    page.wait_for_url("**?tested#test-section")
    expect(page.locator("#test-section")).to_contain_text("The test email was sent.")
    pictures.of("first-email-sent", "#test-section")
    assert servers.google.received[-1].recipients == ["ada@example.org"]

    fresh.go("/admin/email/log/")
    expect(page.locator("tbody tr").first).to_contain_text("Sent")
    pictures.take("first-email-log")


def test_first_email_with_microsoft(fresh, servers, tmp_path):
    page = fresh.page
    pictures = Pictures(page, tmp_path)
    _add_a_set(fresh)
    fill(page, name="Microsoft 365")
    page.locator("#id_preset").select_option(label="Microsoft 365")
    expect(page.locator("#id_authentication")).to_have_value("oauth2")
    provider = servers.identity_provider
    fill(
        page,
        username=MAILBOX,
        oauth_tenant="11111111-2222-3333-4444-555555555555",
        oauth_client_id=provider.client_id,
        oauth_client_secret=provider.client_secret,
        sender_name="Example Ltd",
    )
    pictures.of("first-email-microsoft", "#panel-credentials-section", "#panel-oauth_2-section")
    start(page, "Test only")
    title(page, "Test passed")
    assert servers.microsoft.tokens[-1][0] == MAILBOX


def _add_a_set(person: Person) -> None:
    person.go(LIST)
    person.page.get_by_role("link", name="Add a settings set").click()
    person.page.wait_for_load_state("networkidle")
