"""Every block of code in the documentation works: it is run, or listed here with the reason."""

import configparser
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import yaml
from cryptography.fernet import Fernet
from django.core.mail import EmailMessage, send_mail
from django.core.management import call_command, load_command_class
from django.test import Client
from django.urls import resolve

from tests.processes.test_outbox_tasks import RQ_WORKER
from tests.support.servers.provider_server import Answer, ProviderServer
from tests.support.servers.smtp_server import SMTPServer
from tests.support.sites import make_sites
from wagtail_smtp import exceptions, signals, suppression
from wagtail_smtp.conf import ENVIRONMENT_VARIABLE, REDIRECT_VARIABLE
from wagtail_smtp.config_files.file import load
from wagtail_smtp.testing import EmailDelivery, email_delivery

__all__ = ["email_delivery"]

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

RECIPES = "tests/configurations/test_recipes.py runs it in a new project"
#: Blocks that are not run here, by page and first line, and why.
NOT_RUN = {
    ("how-to/install.md", "INSTALLED_APPS = ["): RECIPES,
    ("how-to/install.md", "WAGTAIL_SMTP = {"): RECIPES,
    ("how-to/install.md", "import os"): RECIPES,
    (
        "how-to/install.md",
        'MAILERS = {"default": {"BACKEND": "wagtail_smtp.backend.EmailBackend"}}',
    ): RECIPES,
    ("contributing/architecture.md", "apps | templatetags | urls | wagtail_hooks"): (
        "import-linter checks the layers in setup.cfg"
    ),
    ("how-to/queue.md", 'INSTALLED_APPS = [..., "django_tasks_fennel"]'): (
        "benchmarks/workers.py runs it; its checks warn if the broker is Redis"
    ),
    ("how-to/microsoft-and-google.md", "Connect-ExchangeOnline"): "it needs Exchange Online",
    ("how-to/secrets-by-reference.md", "[Service]"): "it is only a part of a unit",
    (
        "how-to/read-bounces.md",
        'bounces: "|/srv/example/venv/bin/python /srv/example/manage.py smtp_bounces --stdin '
        '|| exit 75"',
    ): "tests/bounces/test_command.py runs it as a mail server does",
}
#: ``make docs`` builds these. The reader's browser draws Mermaid's.
DIRECTIVES = ("{toctree}", "{eval-rst}", "mermaid")


@dataclass(frozen=True)
class Block:
    """A block of code, where it begins, and its language."""

    page: str
    line: int
    language: str
    code: str

    @property
    def key(self) -> tuple[str, str]:
        """The page and the first line."""
        return self.page, self.code.partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks() -> list[Block]:
    found = []
    for path in sorted(DOCS.rglob("*.md")):
        if "_build" in path.parts:
            continue
        page, text = path.relative_to(DOCS).as_posix(), path.read_text()
        for match in re.finditer(r"^( *)```(\S*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[2], textwrap.dedent(match[3])))
    return [block for block in found if block.language not in DIRECTIVES]


BLOCKS = _blocks()
#: Pages and first lines of the examples below.
EXAMPLES: set[tuple[str, str]] = set()


def example(page: str, first: str) -> Any:
    """Give a test the code of the block of a page that begins with the line ``first``."""
    [block] = [block for block in BLOCKS if block.key == (page, first)]
    EXAMPLES.add(block.key)
    return pytest.mark.parametrize("code", [block.code], ids=[str(block)])


def each(language: str, pattern: str = "") -> Any:
    """Give a test each block in a language in which a pattern is found."""
    found = [block for block in _run(language) if re.search(pattern, block.code, re.MULTILINE)]
    assert found
    return pytest.mark.parametrize("block", found, ids=str)


def _run(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.key not in NOT_RUN]


SETTINGS = (
    r"^(WAGTAIL_SMTP|MAILERS|MIDDLEWARE|TASKS|INSTALLED_APPS|CELERY_BEAT_SCHEDULE|LOGGING|DATABASES"
    r"|CACHES) = "
)
URLS = "^urlpatterns = "


def test_every_block_is_run_or_listed() -> None:
    assert {block.key for block in BLOCKS} >= set(NOT_RUN)
    languages = {"python", "console", "ini", "text", "yaml"}
    assert [str(b) for b in BLOCKS if b.language not in languages and b.key not in NOT_RUN] == []
    for block in _run("python"):
        kinds = [bool(re.search(kind, block.code, re.M)) for kind in (SETTINGS, URLS)]
        assert sum([*kinds, block.key in EXAMPLES]) == 1, str(block)


def needed(package: str) -> None:
    """Skip the test without a package of the extra "test", or fail if none may be missing."""
    try:
        __import__(package)
    except ImportError:
        reason = f"{package} is not installed: pip install --editable '.[test]'"
        if os.environ.get("WAGTAIL_SMTP_REQUIRE_DOCS"):
            pytest.fail(reason)
        pytest.skip(reason)


# Settings and URLs: a process starts with them, and `check` finds nothing.

PROGRAM = """
import sys
from pathlib import Path
import django
from django.conf import settings
from django.core.management import call_command
from tests import settings as tested

given = {name: getattr(tested, name) for name in dir(tested) if name.isupper()}
installed, standard = given["INSTALLED_APPS"], given["WAGTAIL_SMTP"]["STANDARD"]
exec(sys.stdin.read(), given)
if "EMAIL_BACKEND" in given:
    given.pop("MAILERS", None)  # Django allows only one of them
apps = given["INSTALLED_APPS"]
if ... in apps:
    # The first placeholder means all the others.
    rest = [app for app in installed if app not in apps]
    at = apps.index(...)
    given["INSTALLED_APPS"] = [app for app in [*apps[:at], *rest, *apps[at:]] if app is not ...]
given["WAGTAIL_SMTP"] = {"STANDARD": standard} | given["WAGTAIL_SMTP"]
settings.configure(**{name: value for name, value in given.items() if name.isupper()})
django.setup()
call_command("check", fail_level="WARNING")
"""


@each("python", SETTINGS)
def test_settings(block: Block) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        | {"EMAIL_ENCRYPTION_KEY": Fernet.generate_key().decode()},
        input=block.code,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@each("python", URLS)
def test_urls(block: Block, settings: Any) -> None:
    if "health_check" in block.code:
        needed("health_check")
    urls = ModuleType("urls")
    exec(block.code, urls.__dict__)
    settings.ROOT_URLCONF = urls
    call_command("check", fail_level="WARNING")
    if "wagtail_smtp.urls" in block.code:
        assert resolve(f"/email/webhooks/{uuid4()}/mailgun/").url_name == "webhook"


# Examples


@example("how-to/categories.md", 'message.email_category = "invoice"')
def test_the_category_of_a_message(code: str, email_delivery: EmailDelivery) -> None:
    message = EmailMessage("Invoice", "", None, ["ada@example.org"])
    exec(code, {"message": message})
    assert [sent.category for sent in email_delivery.sent] == ["invoice"]


@example("how-to/categories.md", "import wagtail_smtp")
def test_the_category_of_a_block(code: str, email_delivery: EmailDelivery) -> None:
    exec(code, {"order": SimpleNamespace(send_invoice=_send_invoice)})
    assert [sent.category for sent in email_delivery.sent] == ["invoice"]


@example("how-to/several-sites.md", 'message.email_site = "www.example.com"')
def test_the_site_of_a_message(code: str, email_delivery: EmailDelivery) -> None:
    make_sites("localhost", "www.example.com")
    message = EmailMessage("Invoice", "", None, ["ada@example.org"])
    exec(code, {"message": message})
    [sent] = email_delivery.sent
    assert sent.entry is not None
    assert (sent.entry.site, sent.entry.site_source) == ("www.example.com", "message")


@example("how-to/several-sites.md", "import wagtail_smtp")
def test_the_site_of_a_block(code: str, email_delivery: EmailDelivery) -> None:
    site, _other = make_sites()
    exec(code, {"order": SimpleNamespace(site=site, send_invoice=_send_invoice)})
    [sent] = email_delivery.sent
    assert sent.entry is not None
    assert (sent.entry.site, sent.entry.site_source) == (site.hostname, "context")


@example("how-to/newsletters.md", "from django.core.mail import EmailMessage")
def test_a_newsletter_and_its_page(
    code: str, email_delivery: EmailDelivery, settings: Any, client: Client
) -> None:
    """The button of a mail program unsubscribes; a scanner doesn't."""
    [view] = [block.code for block in BLOCKS if "def unsubscribe(" in block.code]
    removed: list[tuple[str, str]] = []
    urls = ModuleType("urls")
    vars(urls)["remove_subscriber"] = lambda *subscriber: removed.append(subscriber)
    exec(view, vars(urls))
    settings.ROOT_URLCONF = urls
    names: dict[str, Any] = {}
    exec(code, names)
    names["send_issue"](SimpleNamespace(email="ada@example.org"), "News", "Hello")
    [message] = email_delivery.outbox
    link, mailto = message.extra_headers["List-Unsubscribe"].split(", ")
    assert mailto == "<mailto:unsubscribe@example.com?subject=unsubscribe>"
    path = link.strip("<>").removeprefix("https://www.example.com")
    strict = Client(enforce_csrf_checks=True)
    assert b"ada@example.org" in strict.get(path).content
    assert removed == []
    # As RFC 8058 says: without cookies and without a redirect.
    name, _equals, value = message.extra_headers["List-Unsubscribe-Post"].partition("=")
    assert strict.post(path, {name: value}).status_code == 200
    assert removed == [("ada@example.org", "news")]
    assert strict.post(path[:-2] + "x/").status_code == 404


SENT_WITH_METRICS = """
import sys
import django
django.setup()
from django.core.mail import send_mail
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
exec(sys.stdin.read())
send_mail("Hi", "Body", None, ["ada@example.org"])
assert metrics.get_meter_provider().force_flush()
"""


@example("how-to/monitoring.md", "from opentelemetry import metrics")
def test_metrics(code: str, tmp_path: Path) -> None:
    with ProviderServer(Answer(), tls=False) as server:
        done = subprocess.run(
            [sys.executable, "-c", SENT_WITH_METRICS],
            cwd=ROOT,
            env=os.environ
            | {
                "DJANGO_SETTINGS_MODULE": "tests.processes.programs.settings",
                "WAGTAIL_SMTP_TEST_DATABASE": "",
                "WAGTAIL_SMTP_TEST_SQLITE": str(tmp_path / "database.sqlite3"),
            },
            input=code.replace("127.0.0.1:9090", f"127.0.0.1:{server.port}"),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        request = server.requests[0]
    assert request.path == "/api/v1/otlp/v1/metrics"
    # The texts of a protocol buffer are readable.
    for text in ("wagtail_smtp.messages", "wagtail_smtp.state", "wagtail_smtp.outbox.overdue"):
        assert text.encode() in request.body


@example("how-to/suppressed-addresses.md", "from wagtail_smtp import suppression")
@pytest.mark.django_db
def test_suppressing_an_address(code: str) -> None:
    exec(code, {})
    assert not suppression.is_suppressed("ada@example.com")


@example("how-to/test-your-code.md", "def test_the_invoice(email_delivery):")
def test_tests_of_a_project(code: str, email_delivery: EmailDelivery) -> None:
    import wagtail_smtp

    def send_invoice(order: object) -> None:
        with wagtail_smtp.email_category("invoice"):
            _send_invoice()

    tests: dict[str, Any] = {"send_invoice": send_invoice, "order": None}
    exec(code, tests)
    tests["test_the_invoice"](email_delivery)
    email_delivery.sent.clear()
    tests["test_staging"](email_delivery)


def _send_invoice() -> None:
    send_mail("Invoice", "", None, ["customer@example.org"])


@example("reference/exceptions-and-signals.md", "from django.dispatch import receiver")
def test_a_receiver(
    code: str, email_delivery: EmailDelivery, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    exec(code, names)
    try:
        email_delivery.redirect_all_to()  # no address: email is blocked
        with suppress(exceptions.EmailDeliveryError):
            send_mail("Hello", "", None, ["ada@example.org"])
    finally:
        assert signals.message_failed.disconnect(names["count"])
    assert "An email was not sent: other" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
@example("how-to/queue.md", "from celery import shared_task")
def test_the_task_for_celery(code: str) -> None:
    needed("celery")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["deliver_email"].apply(throw=True).successful()


# Commands


@pytest.fixture
def site(
    email_delivery: EmailDelivery,
    make_set: Callable[..., Any],
    smtp_server: SMTPServer,
    configure: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A site with the sets and hostnames that the commands name, and their settings file."""
    make_sites("localhost", "www.example.com")
    for name in ("Main office", "Newsletter"):
        make_set(smtp_server, name=name)
        variable = f"SMTP_{name.upper().replace(' ', '_')}_PASSWORD"
        monkeypatch.setenv(variable, smtp_server.password)
    configure(SETS_FILE=tmp_path / "email.yaml")
    call_command("smtp_export", output=str(tmp_path / "email.yaml"))


#: Commands that are not run here, and why.
COMMANDS_NOT_RUN = {
    ("migrate",): "the tests' database is migrated",
    ("collectstatic",): "tests/configurations/test_wagtail_start.py runs it",
    ("db_worker",): "tests/processes/test_outbox_tasks.py runs it",
    ("smtp_export", "--output", "email.yaml"): "it writes into this folder; the fixture does it",
    ("smtp_import", "--reload"): "it asks",
    RQ_WORKER: "tests/processes/test_outbox_tasks.py runs it",
}


@each("console")
def test_console(block: Block, site: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in block.code.splitlines():
        assert line.startswith("$ "), line
        command, *arguments = shlex.split(line[2:], comments=True)
        if command == "python" and arguments[0] == "manage.py":
            manage(*arguments[1:])
        elif (command, arguments[0]) == ("pip", "install"):
            pip_install(arguments[-1])
        elif command == "make":
            target = f"\n{arguments[0]}:"
            assert target in (ROOT / "Makefile").read_text(), line
        else:
            run(line[2:])


def manage(name: str, *arguments: str) -> None:
    """Run a command of ``manage.py``, unless it is listed."""
    if (name, *arguments) not in COMMANDS_NOT_RUN:
        call_command(name, *arguments)


def pip_install(requirement: str) -> None:
    """The extras of the package exist."""
    name, _, extras = requirement.rstrip("]").partition("[")
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    if name == project["name"] and extras:
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def run(line: str) -> None:
    """Run what is neither Django's nor an installation, in a shell of its own."""
    python = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{python}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", line], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    if line.startswith("export"):
        variables = (REDIRECT_VARIABLE, ENVIRONMENT_VARIABLE)
        assert line.startswith(tuple(f"export {name}=" for name in variables))
    if "Fernet" in line:
        Fernet(done.stdout.strip())


@each("ini")
def test_service(block: Block) -> None:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.read_string(block.code)
    assert {"Unit", "Service", "Install"} == set(unit.sections())
    check_manage_py(unit["Service"]["ExecStart"])


@each("yaml")
def test_yaml(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "email.yaml"
    file.write_text(block.code)
    if block.code.startswith("# yaml-language-server"):
        assert load(file).sets
    else:
        assert yaml.safe_load(block.code)


@each("text")
def test_procfile_and_crontab(block: Block) -> None:
    for line in block.code.splitlines():
        # A line of a Procfile, or a time and a command.
        fields = re.fullmatch(r"\w+: (.+)|(?:[\d*/,-]+ ){5}(.+)", line)
        assert fields, line
        if "manage.py" in line:
            check_manage_py(fields[1] or fields[2])


def check_manage_py(line: str) -> None:
    """The command and its options exist."""
    for command in line.split("manage.py ")[1:]:
        _check_command(command.partition(" && ")[0])


def _check_command(command: str) -> None:
    name, *options = shlex.split(command)
    if (name,) in COMMANDS_NOT_RUN:
        return
    load_command_class("wagtail_smtp", name).create_parser("manage.py", name).parse_args(options)
