"""Every page of the plugin as a browser can open it, by name."""

from collections.abc import Iterator

from tests.browser.test_main_job import LIST

LOG = "/admin/email/log/"
SUPPRESSED = "/admin/email/suppressed/"


def every_page(person) -> Iterator[tuple[str, str]]:
    """Name and path of each page; the site has a set, a version and a log entry."""
    yield "email-delivery", "/admin/email/delivery/"
    yield "alerts", "/admin/email/alerts/"
    yield "deliverability", "/admin/email/deliverability/"
    yield "settings-sets", LIST
    yield "add-a-set", LIST + "add/"
    edit = _first(person, LIST, "tbody .title a")
    yield "edit-a-set", edit
    for view in ("copy", "delete", "history", "test-connection", "send-test-email"):
        yield f"{view}-a-set", edit.replace("/edit/", f"/{view}/")
    yield "delivery-log", LOG
    yield "delivery-log-filtered", LOG + "?state=sent&recipient=example.com"
    yield "delivery-log-empty", LOG + "?recipient=nobody@example.org"
    yield "export", LOG + "export/"
    entry = _first(person, LOG, "tbody .title a")
    yield "log-entry", entry
    yield "resend", entry + "resend/"
    yield "suppressed-addresses-empty", SUPPRESSED
    yield "suppress-addresses", SUPPRESSED + "add/"
    person.go(SUPPRESSED + "add/")
    person.page.fill("#id_addresses", "ada@example.org\nbob@example.org")
    person.page.locator("form:has(#id_addresses) button[type=submit]").click()
    person.page.wait_for_url("**" + SUPPRESSED)
    yield "suppressed-addresses", SUPPRESSED
    yield "suppressed-addresses-filtered", SUPPRESSED + "?q=ada&reason=manual"
    address = _first(person, SUPPRESSED, "tbody .title a")
    yield "suppressed-address", address
    yield "remove-suppressed-address", address + "remove/"
    yield "import-suppressed-addresses", SUPPRESSED + "import/"
    yield "export-suppressed-addresses", SUPPRESSED + "export/"
    yield "troubleshooting", "/admin/email/troubleshooting/"
    yield "versions", "/admin/email/versions/"
    yield "reload", "/admin/email/reload/"
    yield "make-live", "/admin/email/reload/version/1/"


def _first(person, path: str, selector: str) -> str:
    person.go(path)
    return person.page.locator(selector).first.get_attribute("href")
