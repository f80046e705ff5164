"""Reload and banner in the browser: two users, a tester, a lost key, an earlier version."""

import re
import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import expect, sync_playwright

from example_site import places
from tests.browser.conftest import FLAGS, browser_path
from tests.browser.test_main_job import LIST, Person

pytestmark = pytest.mark.browser

RELOAD = "/admin/email/reload/"
VERSIONS = "/admin/email/versions/"
NEWS = places.NEWSLETTER.name


@pytest.fixture
def people(demo):
    """Logged-in users, each with their own browser; their changes are undone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        errors = []

        def log_in(name, **options):
            options = {"viewport": {"width": 1280, "height": 900}} | options
            page = browser.new_context(**options).new_page()
            page.set_default_timeout(60_000)
            page.on("pageerror", lambda error: errors.append(str(error)))
            person = Person(page, demo)
            person.log_in(name)
            return person

        admin = log_in("admin")
        number = newest(admin)
        yield log_in
        make_live(admin, number)
        browser.close()
        assert errors == []


def newest(person):
    """Return the number of the live version."""
    person.go(VERSIONS)
    first = person.page.locator("#listing-results tbody tr").first
    assert "Live" in first.inner_text()
    return int(re.search(r"Version (\d+)", first.inner_text())[1])


def make_live(person, number):
    """Make that version live again if something changed."""
    page = person.page
    person.go(f"{RELOAD}version/{number}/")
    tick = page.locator("[name=end_redirect]")
    if tick.count():
        tick.check()
    button = page.get_by_role("button", name="Make live again")
    if button.count():
        button.click()
        page.wait_for_url("**/email/delivery/")


def edit(person, name, **values):
    """Change fields of a set and save it."""
    page = person.page
    person.go(LIST)
    page.get_by_role("link", name=name, exact=True).first.click()
    for field, value in values.items():
        locator = page.locator(f"[name={field}]")
        if isinstance(value, bool):
            locator.set_checked(value)
        else:
            locator.fill(value)
    person.save()


def open_first_enabled_set(person):
    """Open the set that can redirect all email, and return its name; other tests may add sets."""
    page = person.page
    person.go(LIST)
    for link in [each.get_attribute("href") for each in page.locator("tbody .title a").all()]:
        person.go(link)
        if page.locator("[name=enabled]").is_checked():
            return page.locator("[name=name]").input_value()
    raise AssertionError("no set is enabled")


def banner(person):
    return person.page.locator(".wsmtp-banner")


def test_two_administrators_at_once(people):
    first, second = people("admin"), people("mailadmin")
    edit(first, NEWS, timeout="21")
    first.go(RELOAD)
    second.go(RELOAD)
    for person in (first, second):
        expect(person.page.locator("main")).to_contain_text("Timeout")

    # The first user sees an outdated comparison.
    edit(second, NEWS, sender_name="Second thoughts")
    first.page.get_by_role("button", name="Reload application").click()
    main = first.page.locator("main")
    expect(main).to_contain_text("changed since you opened this page")
    expect(main).to_contain_text("Second thoughts")
    assert first.page.url.endswith(RELOAD)

    # Now it is current. The second user's page is outdated, so nothing is applied.
    second.go(RELOAD)
    first.reload()
    second.page.get_by_role("button", name="Reload application").click()
    main = second.page.locator("main")
    expect(main).to_contain_text("changed since you opened this page")
    expect(main.locator("[data-nothing-to-apply]")).to_be_visible()


def test_a_tester_redirects_and_everyone_sees_it(people):
    tester, editor = people("tester"), people("editor")
    page = tester.page
    name = open_first_enabled_set(tester)
    if not page.locator("[name=report_emails-0-address]").count():
        page.get_by_role("button", name="Add report email").click()
    page.locator("[name=report_emails-0-address]").fill("qa@example.com")
    page.locator("[name=redirect]").set_checked(True)
    tester.save()
    editor.go("/admin/")
    expect(banner(editor)).to_have_count(0)  # saved, not live

    tester.go(RELOAD)
    expect(page.locator("main")).to_contain_text("redirected to qa@example.com")
    tester.reload()
    tester.go("/admin/account/")
    text = f"All email is redirected to qa@example.com by “{name}”."
    expect(banner(tester)).to_contain_text(text)
    tester.send("where does this go?")
    assert re.search(r"RCPT TO\s+qa@example.com", tester.newest_mail())

    for path in ("/admin/", "/admin/images/", "/admin/pages/"):
        editor.go(path)
        expect(banner(editor)).to_have_text(
            re.compile("All email is redirected. Nothing reaches its real recipients.")
        )
        assert "qa@example.com" not in editor.page.content()


def test_the_banner_stands_beside_the_menu_and_nothing_scrolls_twice(people):
    admin = people("admin")
    edit(admin, NEWS, timeout="23")
    for size in ({"width": 1280, "height": 800}, {"width": 390, "height": 844}):
        admin.page.set_viewport_size(size)
        for path in ("/admin/", VERSIONS, LIST + "add/", "/admin/images/"):
            admin.go(path)
            expect(banner(admin)).to_contain_text("not live yet.")
            assert admin.page.evaluate(_MEASURE) == [0, 0, True, True], path


def test_sets_and_versions_on_a_phone(people):
    """Each row is a card whose name has the whole width, so no word is broken."""
    page = people("admin", viewport={"width": 390, "height": 844}).page
    for path in (LIST, VERSIONS):
        page.goto(page.url.partition("/admin/")[0] + path)
        names = page.locator(".wsmtp-cards tbody td.title")
        assert names.count()
        for name in names.all():
            assert name.bounding_box()["width"] > 250
        cells = page.locator(".wsmtp-cards tbody td").evaluate_all(
            "nodes => nodes.map(node => node.getBoundingClientRect().right)"
        )
        assert max(cells) <= 390


#: How far the page itself scrolls, down and aside; that the content begins below the banner and
#: ends with the window; that the menu begins at the window's top.
_MEASURE = """() => {
  const page = document.scrollingElement;
  const box = (name) => document.querySelector(name).getBoundingClientRect();
  return [
    page.scrollHeight - page.clientHeight,
    page.scrollWidth - page.clientWidth,
    box('main').top === box('.wsmtp-banner').bottom && box('main').bottom === innerHeight,
    box('.sidebar').top === 0,
  ];
}"""


def test_a_lost_key_refuses_the_reload(people, demo_folder):
    admin = people("admin")
    page = admin.page
    before = newest(admin)
    edit(admin, NEWS, timeout="22")
    path = demo_folder / "db.sqlite3"
    kept = _damage(path)
    try:
        admin.go(RELOAD)
        main = page.locator("main")
        expect(main.locator("[data-problems]")).to_contain_text(NEWS)
        expect(main).to_contain_text("The stored password can't be decrypted")
        expect(main).to_contain_text("enter the password again, save and reload.")
        expect(page.get_by_role("button", name="Reload application")).to_have_count(0)
        page.locator("[data-edit-set]").click()
        expect(page.locator("[name=name]")).to_have_value(NEWS)
        assert newest(admin) == before
    finally:
        _restore(path, kept)


def _damage(path):
    """Replace the set's encrypted password."""
    with closing(sqlite3.connect(path, timeout=20)) as database, database:
        row = database.execute(
            "SELECT s.id, s.ciphertext FROM wagtail_smtp_secret s"
            " JOIN wagtail_smtp_settingsset t ON t.secret_id = s.id WHERE t.name = ?",
            (NEWS,),
        ).fetchone()
        _write(database, row[0], "of a key that is gone")
    return row


def _restore(path, row):
    with closing(sqlite3.connect(path, timeout=20)) as database, database:
        _write(database, *row)


def _write(database, key, text):
    database.execute("UPDATE wagtail_smtp_secret SET ciphertext = ? WHERE id = ?", (text, key))


def test_an_earlier_version_is_made_live_again(people):
    admin = people("admin")
    page = admin.page
    number = newest(admin)
    edit(admin, NEWS, sender_name="Later")
    admin.go(RELOAD)
    admin.reload()
    edit(admin, NEWS, sender_name="Later still, and never live")

    admin.go(VERSIONS)
    row = page.locator("#listing-results tbody tr").first
    expect(row).to_contain_text(f"{NEWS}: Changed (Sender name)")
    old = page.locator("#listing-results tbody tr", has_text=f"Version {number}").first
    old.get_by_role("link", name="Make live again").click()
    expect(page.locator("[data-lost]")).to_contain_text("Later still, and never live")
    page.get_by_role("button", name="Make live again").click()
    page.wait_for_url("**/email/delivery/")

    assert newest(admin) == number + 2
    admin.go(LIST)
    page.get_by_role("link", name=NEWS, exact=True).first.click()
    assert not page.locator("[name=sender_name]").input_value().startswith("Later")
    admin.go("/admin/")
    expect(page.locator(".wsmtp-banner[data-kind=waiting]")).to_have_count(0)


def test_an_editor_sees_none_of_it(people):
    admin, editor = people("admin"), people("editor")
    edit(admin, NEWS, timeout="24")
    page = editor.page
    editor.go("/admin/")
    expect(page.get_by_role("button", name="Email")).to_have_count(0)
    expect(page.get_by_role("link", name="Email")).to_have_count(0)
    expect(banner(editor)).to_have_count(0)
    for path in (
        RELOAD,
        VERSIONS,
        LIST,
        LIST + "add/",
        "/admin/email/delivery/",
        "/admin/email/log/",
    ):
        editor.go(path)
        page.wait_for_url("**/admin/")
        assert NEWS not in page.content()
