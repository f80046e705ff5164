"""Testing a server from the form of its set, as a person does it."""

import re
import time

import pytest
from playwright.sync_api import expect

from example_site import places
from tests.browser.conftest import text_of
from tests.browser.test_main_job import LIST, _authority, person
from tests.processes.programs.outbox_site import Held
from tests.support import causes
from tests.support.servers.hostile import HostileServer
from tests.support.servers.smtp_server import CA_PEM

__all__ = ["person"]
pytestmark = pytest.mark.browser


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


#: When tests were started, for the limit of ten a minute for each user.
_started = []


def start(page, name):
    """Click a button that starts a test; wait first if there were many in this minute."""
    while sum(moment // 60 == time.time() // 60 for moment in _started) >= 8:
        page.wait_for_timeout(500)
    _started.append(time.time())
    button(page, name).first.click()


def title(page, text):
    """Wait until the test says what came of it."""
    expect(page.get_by_role("heading", name=text, exact=True)).to_be_visible(timeout=25_000)


def fill(page, **values):
    for name, value in values.items():
        field = page.locator(f"[name={name}]")
        if not field.is_visible():
            panel = page.locator("section[data-panel]", has=field)
            panel.locator("[data-panel-toggle]").first.click()
        field.fill(value)


def new_set(person, server, **values):
    person.go(LIST + "add/")
    page = person.page
    page.locator("#id_preset").select_option(label="Fastmail")
    page.locator("#id_encryption").select_option(server.encryption)
    known = {"host": server.host, "port": str(server.port), "username": server.username}
    known |= {"password": server.password, "ca_certificates": CA_PEM}
    fill(page, **(known | values))


@pytest.fixture
def saved(person):
    """Names of sets that a test has saved: they are gone after it, for the others' sake."""
    names = []
    yield names
    for name in names:
        person.go(LIST)
        edit = person.page.get_by_role("link", name=name, exact=True).first.get_attribute("href")
        person.go(edit.replace("/edit/", "/delete/"))
        person.page.get_by_role("button", name="Yes, delete").click()
        person.page.wait_for_url(f"**{LIST}*")
    person.go("/admin/email/reload/")
    if button(person.page, "Reload application").count():
        person.reload()


def test_first_set_up(person, demo, saved):
    """Wrong password, remedy, right password, saved, reloaded, and mail arrives there."""
    page = person.page
    person.log_in()
    person.go(LIST + "add/")
    page.locator("#id_preset").select_option(label="Mailgun")
    page.locator("#id_encryption").select_option("starttls")
    port = int(demo.rpartition(":")[2]) + places.NEWSLETTER.offset
    fill(
        page,
        name="First server",
        host="127.0.0.1",
        port=str(port),
        username=places.NEWSLETTER.username,
        password="wrong",
        sender_address="first@example.com",
        ca_certificates=_authority(page, person),
    )
    start(page, "Test & save")
    title(page, "Test failed")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The server refused the username or password")
    expect(page.get_by_text("Nothing was saved.")).to_be_visible()
    with page.context.expect_page() as opened:
        alert.get_by_role("link").click()
    expect(opened.value.locator("#login-refused")).to_be_visible()
    opened.value.close()
    assert "/add/" in page.url

    fill(page, password=places.NEWSLETTER.password)
    start(page, "Test & save")
    page.wait_for_url(f"**{LIST}*")
    saved.append("First server")
    assert "It is not live yet" in text_of(page, "body")

    handle = page.locator("tr", has_text="First server").locator("[data-w-orderable-target=handle]")
    handle.focus()
    for _each in range(page.locator("tbody tr").count() - 1):
        handle.press("ArrowUp")
    with page.expect_response(re.compile("reorder")):
        handle.press("Enter")
    person.go("/admin/email/reload/")
    person.reload()
    person.send("set up")
    mail = person.newest_mail()
    assert "Newsletter provider" in mail
    assert re.search(r"MAIL FROM\s+first@example.com", mail)


def test_mixed_up_encryption_and_its_remedy(person):
    page = person.page
    person.log_in()
    with HostileServer(encryption="starttls") as server:
        new_set(person, server, name="Mixed up")
        page.locator("#id_encryption").select_option("ssl")
        fill(page, port=str(server.port))
        start(page, "Test only")
        title(page, "Test failed")
        expect(page.get_by_role("alert")).to_contain_text(causes.advice("ssl-on-starttls-port"))
        page.locator("#id_encryption").select_option("starttls")
        fill(page, port=str(server.port))
        start(page, "Test only")
        title(page, "Test passed")
        expect(page.locator("[data-wsmtp-test-target=result]")).not_to_be_empty()
        expect(page.locator(".wsmtp-test__mark--done")).to_be_visible()
        expect(page.locator(".wsmtp-test__mark--failed")).to_be_hidden()
        stages = page.locator(".wsmtp-test__stage")
        expect(stages.filter(has_text="Encryption")).to_contain_text("valid until")
        expect(page.get_by_text("Tested with the password you entered.")).to_be_visible()
        expect(page.get_by_role("alert").get_by_role("link")).to_have_count(0)
        assert page.locator("#id_password").input_value() == server.password
    person.go(LIST)
    assert "Mixed up" not in text_of(page)


def test_send_test_email_from_the_form_and_from_the_listing(person, saved):
    page = person.page
    person.log_in()
    with HostileServer() as server:
        new_set(person, server, name="Mailing", sender_address="mailing@example.com")
        start(page, "Send test email")
        address = page.get_by_label("Send test email to")
        expect(address).to_be_focused()
        expect(address).to_have_value("admin@example.com")
        address.fill("nobody")
        address.press("Enter")
        expect(page.get_by_text("Enter a valid email address.")).to_be_visible()
        expect(address).to_be_focused()
        assert server.connections == 0
        address.fill("me@example.org")
        address.press("Enter")
        title(page, "Test passed")
        expect(page.get_by_text("accepted the test email for me@example.org.")).to_be_visible()
        expect(page.get_by_text("Enter a valid email address.")).to_have_count(0)
        [received] = server.received
        assert (received.sender, received.recipients) == ("mailing@example.com", ["me@example.org"])

        person.save()
        saved.append("Mailing")
        for name, heading in (("Test connection", "Test connection"), ("Send test email",) * 2):
            person.go(LIST)
            row = page.locator("tr", has_text="Mailing")
            row.get_by_role("button", name="More options").click()
            page.get_by_role("link", name=name).click()
            start(page, heading)
            title(page, "Test passed")
            expect(page.get_by_text("Tested with the saved password.")).to_be_visible()
        assert server.received[-1].recipients == ["admin@example.com"]
        assert len(server.received) == 2


def test_a_hanging_server_can_be_left_and_what_was_typed_stays(person):
    page = person.page
    person.log_in()
    with HostileServer() as server:
        server.plan = held = Held("banner")
        new_set(person, server, name="Hanging")
        start(page, "Test only")
        expect(page.locator(".wsmtp-test__stage")).to_have_count(2)
        title(page, "Testing …")
        expect(page.get_by_role("heading", name="Testing …")).to_be_focused()
        expect(button(page, "Test & save")).to_have_attribute("aria-disabled", "true")
        # A second click, by keyboard or mouse, begins nothing.
        button(page, "Test & save").click(force=True)
        button(page, "Cancel").click()
        title(page, "Cancelled")
        expect(button(page, "Test & save")).not_to_have_attribute("aria-disabled", "true")
        expect(page.locator("#id_name")).to_have_value("Hanging")
        assert server.connections == 1

        # Until this site has noticed, the next test is refused; then it works.
        held.release()
        for _each in range(40):
            start(page, "Test only")
            heading = page.get_by_role("heading", name=re.compile("Not tested|Test passed"))
            expect(heading).to_be_visible(timeout=25_000)
            if heading.inner_text() == "Test passed":
                break
            expect(page.get_by_role("alert")).to_contain_text("already running")
            page.wait_for_timeout(500)
        title(page, "Test passed")


def test_it_works_again_after_a_network_error(person):
    page = person.page
    person.log_in()
    with HostileServer() as server:
        new_set(person, server, name="Offline")
        page.context.set_offline(True)
        start(page, "Test & save")
        title(page, "Not tested")
        expect(page.get_by_role("alert")).to_contain_text("Check your network connection")
        page.context.set_offline(False)
        page.context.clear_cookies()
        start(page, "Test & save")
        expect(page.get_by_role("alert")).to_contain_text("You may have been logged out")
        assert page.locator("#id_name").input_value() == "Offline"
        assert server.connections == 0


def test_errors_stand_at_their_fields_and_what_is_changed_meanwhile_is_not_saved(person, saved):
    page = person.page
    person.log_in()
    with HostileServer() as server:
        server.plan = held = Held("banner")
        new_set(person, server, name="", ehlo_name="a b")
        start(page, "Test only")
        title(page, "Not tested")
        field = page.locator("#id_name")
        expect(field).to_be_focused()
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(page.locator("[data-field]", has=field)).to_contain_text("This field is required.")
        expect(page.get_by_text("Enter a host name, for example www.example.com.")).to_be_visible()

        fill(page, name="Changing", ehlo_name="")
        start(page, "Test & save")
        held.until_reached()
        fill(page, sender_name="typed while it ran")
        held.release()
        title(page, "Test passed")
        expect(page.get_by_role("alert")).to_contain_text("You changed the form")
        expect(field).not_to_have_attribute("aria-invalid", "true")
        assert "/add/" in page.url
        start(page, "Test & save")
        page.wait_for_url(f"**{LIST}*")
        saved.append("Changing")
