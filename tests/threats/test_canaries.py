"""No secret is anywhere but where it is used: not in pages, tables, files, logs or reports."""

import base64
import gc
import io
import logging
import re
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils.log import AdminEmailHandler
from django.views.debug import ExceptionReporter

from tests.admin.conftest import form_data
from tests.support import telemetry_sdk
from tests.threats.canaries import Canaries
from tests.threats.conftest import Site
from wagtail_smtp import live
from wagtail_smtp.live import lookup
from wagtail_smtp.management import commands
from wagtail_smtp.models import LogEntry, SettingsSet

pytestmark = pytest.mark.threat(8)

EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"
#: Where a crawl begins: what no page links to is on the list too.
STARTS = (
    "/admin/",
    "/admin/email/delivery/",
    "/admin/email/alerts/",
    "/admin/email/log/held/",
    "/admin/account/",
    "/admin/reports/site-history/",
)
LINK = re.compile(r'(?:href|src|action|data-url)="([^"#]+)"')
#: Pages with one of these in their path are the plugin's, or show what it stores.
SHOWN = ("/email/", "/wagtail_smtp/", "/account/", "/reports/site-history/", "/bulk/")


@pytest.mark.parametrize("kind", Canaries().values)
def test_a_secret_is_found_in_whatever_encoding(kind):
    canaries = Canaries()
    value = canaries[kind]
    for text in (
        *(base64.b64encode(b"abcd"[:before] + value.encode() + b"wxyz") for before in range(4)),
        base64.encodebytes(b"Subject: a line that is long enough\n" + value.encode()),
        value.encode().hex(),
        repr(value),
        {"nested": [value.encode()]},
    ):
        assert canaries.found_in("before", text) == {kind}
    assert canaries.found_in(base64.b64encode(bytes(range(256)) * 50)) == set()


def test_pages(site: Site, admin_client: Client) -> None:
    site.send_everything()
    for item in SettingsSet.objects.all():
        data = _posted(item, site)
        pages = [admin_client.post(reverse(EDIT, args=[item.pk]), data | {"port": "0"})]
        test = reverse("wagtailsnippets_wagtail_smtp_settingsset:test_connection", args=[item.pk])
        pages += [admin_client.post(test), admin_client.post(test.replace("connection", "email"))]
        assert _leaks(site, *map(_content, pages)) == set(), item
    pages_by_path = _crawl(admin_client)
    assert len(pages_by_path) > 60
    leaks = {path: _leaks(site, page) for path, page in pages_by_path.items()}
    assert {path: kinds for path, kinds in leaks.items() if kinds} == {}


def _posted(item: SettingsSet, site: Site) -> dict[str, Any]:
    typed = site.canaries["typed password"]
    return form_data(name=item.name, password=typed, loaded_revision=str(item.revision))


def _leaks(site: Site, *texts: Any) -> set[str]:
    return site.canaries.found_in(*texts)


def _content(response: Any) -> bytes:
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return body + repr([*response.items(), response.cookies.output()]).encode()


def _crawl(client: Client) -> dict[str, bytes]:
    """Every page of the plugin that can be reached by links, forms and frames."""
    waiting, pages = list(STARTS), {}
    # The parts of a log entry that only some entries link to, security messages included.
    for entry in LogEntry.objects.all():
        for part in ("entry", "frame", "source", "download"):
            waiting.append(reverse(f"wagtail_smtp_log:{part}", args=[entry.pk]))
    while waiting:
        path = waiting.pop()
        if path in pages:
            continue
        response = client.get(path)
        pages[path] = _content(response)
        links = re.findall(
            r'(?:href|src|action|data-url)="([^"#]+)"', pages[path].decode("latin-1")
        )
        links += [response["Location"]] if response.has_header("Location") else []
        for link in links:
            link = link.partition("?")[0]  # the same page in another order
            if link.startswith("/admin/") and any(part in link for part in SHOWN):
                waiting.append(link)
    return pages


def test_tables_dumps_and_commands(
    site: Site, admin_client: Client, tmp_path: Path, everything_logged: Any
) -> None:
    site.send_everything()
    _use_the_admin(site, admin_client)
    (tmp_path / "out").mkdir()
    leaks = {table: _leaks(site, *_rows(table)) for table in _tables()}
    written = _run_commands(tmp_path / "out")
    leaks |= {command: _leaks(site, output) for command, output in written.items()}
    leaks |= {
        str(file): _leaks(site, file.read_bytes())
        for file in (tmp_path / "out").rglob("*")
        if file.is_file()
    }
    leaks["log"] = _leaks(site, everything_logged.text)
    assert {place: kinds for place, kinds in leaks.items() if kinds} == {}


def _use_the_admin(site: Site, client: Client) -> None:
    """Save a typed password, begin a consent, export the log, reload, test."""
    item = SettingsSet.objects.get(name="Works")
    data = _posted(item, site) | {"host": "localhost", "port": str(site.working.port)}
    data |= {"ca_certificates": item.ca_certificates, "categories": ["one"]}
    assert client.post(reverse(EDIT, args=[item.pk]), data).status_code == 302
    oauth = SettingsSet.objects.get(name="OAuth")
    client.post(reverse("wagtail_smtp_consent:connect", args=[oauth.pk]))
    client.post(reverse("wagtail_smtp_reload:index"), {"token": live.preview().token})
    client.post(reverse("wagtail_smtp_alerts:test"))
    export = client.post(reverse("wagtail_smtp_log:export"), {"format": "csv"})
    assert _leaks(site, _content(export)) == set()
    site.send_everything()


def _tables() -> list[str]:
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
    assert len(tables) > 40
    return tables


def _rows(table: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
        rows = [value for row in cursor.fetchall() for value in row if value is not None]
    if table == "django_session":
        rows += [SessionStore().decode(value) for value in rows if isinstance(value, str)]
    return rows


#: The arguments of each command, every time it is run. A new command needs a line.
COMMANDS: dict[str, list[list[str]]] = {
    "smtp_bounces": [[]],
    "smtp_erase": [["someone@example.net"], ["a@example.org", "--dry-run"]],
    "smtp_explain": [["one"], ["security"]],
    "smtp_export": [["--output", "{out}/a.yaml"], ["--output", "{out}/a.json"], []],
    "smtp_import": [["{out}/a.yaml", "--dry-run"], ["{out}/a.yaml", "--yes", "--reload"]],
    "smtp_outbox": [[], ["--once"]],
    "smtp_prune": [[]],
    "smtp_reload": [[]],
    "smtp_resend": [["--since", "1h", "--dry-run"], ["--since", "1h"]],
    "smtp_rotate_keys": [[]],
    "smtp_status": [[], ["--json"]],
    "smtp_summary": [[], ["--send"]],
    "smtp_test": [["me@example.org"], *(["--set", name] for name in ("Echoes", "OAuth", "File"))],
}


def _run_commands(folder: Path) -> dict[str, str]:
    """What each command prints, on whatever stream, or raises."""
    names = {file.stem for file in Path(commands.__path__[0]).glob("smtp_*.py")}
    assert names == set(COMMANDS)
    calls = [["dumpdata"], ["check", "--deploy"]]
    calls += [[name, *call] for name, several in COMMANDS.items() for call in several]
    written = {}
    for name, *arguments in calls:
        output = io.StringIO()
        arguments = [argument.format(out=folder) for argument in arguments]
        with redirect_stdout(output), redirect_stderr(output):
            try:
                call_command(name, *arguments, verbosity=3)
            except (Exception, SystemExit) as error:
                output.write(f"\n{error!r} {error}")
        written[" ".join([name, *arguments])] = output.getvalue()
    assert '"wagtail_smtp.secret"' in written["dumpdata"]
    return written


def test_logs_errors_objects_and_telemetry(
    site: Site, everything_logged: Any, admins: list[str]
) -> None:
    handler = AdminEmailHandler(include_html=True)
    handler.setLevel(logging.ERROR)
    logger = logging.getLogger("wagtail_smtp")
    logger.addHandler(handler)
    telemetry_sdk.EXPORTER.clear()
    try:
        errors = site.send_everything()
        logger.error("As a receiver of the project's that fails.", exc_info=errors[0])
    finally:
        logger.removeHandler(handler)
    assert len(errors) >= 4
    assert len(site.echoing.logins) + len(site.echoing.tokens) + site.echoing.connections >= 3
    shown = {f"error {number}": [repr(e), str(e), vars(e)] for number, e in enumerate(errors)}
    shown["error mail and alerts"] = [
        received.content for received in site.own.received if received.recipients == admins
    ]
    shown["log"] = [everything_logged.text, *map(vars, everything_logged.records)]
    shown["objects"] = _objects()
    shown["telemetry"] = _telemetry()
    assert b"As a receiver of the project's that fails" in b"".join(shown["error mail and alerts"])
    assert all(shown.values())
    leaks = {place: _leaks(site, *texts) for place, texts in shown.items()}
    assert {place: kinds for place, kinds in leaks.items() if kinds} == {}


def _objects() -> list[str]:
    """How every object of the plugin that is alive shows itself."""
    found = []
    for each in gc.get_objects():
        if str(type(each).__module__).startswith("wagtail_smtp."):
            with suppress(Exception):
                # A text of the plugin's own class is a secret itself, and hides it in its repr.
                found += [repr(each), "" if isinstance(each, str) else str(each)]
    assert len(found) > 50
    return found


def _telemetry() -> list[Any]:
    spans = [span.to_json() for span in telemetry_sdk.EXPORTER.get_finished_spans()]
    data = telemetry_sdk.READER.get_metrics_data()
    assert data is not None
    return [*spans, data.to_json()]


@pytest.mark.parametrize("category", ["two", "three", "six", "seven"])
def test_an_error_report_about_sending(site: Site, category: str, rf: RequestFactory) -> None:
    """As Django mails it to ADMINS, with the variables of each frame and all settings."""
    lookup.forget()
    report = _report_of(category)
    assert _leaks(site, report) == set()


def _report_of(category: str) -> str:
    from django.core.mail import EmailMessage

    from wagtail_smtp import email_category

    try:
        with email_category(category):
            EmailMessage("Subject", "Text", None, ["real@example.org"]).send()
    except Exception:
        reporter = ExceptionReporter(None, *sys.exc_info(), is_email=True)
        return reporter.get_traceback_html() + reporter.get_traceback_text()
    raise AssertionError("it was sent")
