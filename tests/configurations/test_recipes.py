"""The recipes of README.md and docs/how-to/install.md, in a project of ``wagtail start``.

Their code is taken from the documents, so that it can't differ from what people copy.
"""

import re
from pathlib import Path
from textwrap import dedent

import django
import pytest

from tests.configurations.wagtail_start import ROOT, Project
from tests.support.servers.smtp_server import CA_PEM, SMTPServer

DEV = "--settings=mysite.settings.dev"
START = "### A project made by `wagtail start`"
#: The line of the template's dev.py.
CONSOLE = 'EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"\n'
SEND = """
from django.core.mail import send_mail
from wagtail_smtp.models import LogEntry
send_mail("Hello", "Text", None, ["ada@example.org"])
print("Logged:", LogEntry.objects.get().state)
from wagtail_smtp.conf import conf
print("From base.py:", *conf.CATEGORIES)
"""

recipes = pytest.mark.parametrize(
    "with_mailers",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(django.VERSION < (6, 1), reason="Django 6.1 has MAILERS"),
        ),
    ],
    ids=["EMAIL_BACKEND", "MAILERS"],
)


def blocks_below(heading: str, document: str, language: str = "python") -> list[str]:
    """The blocks of code between a heading and the next of the same level."""
    text = (ROOT / document).read_text()
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, heading
    section = rest.partition(f"\n{heading.split()[0]} ")[0]
    blocks = re.findall(rf"^( *)```{language}\n(.*?)^\1```", section, re.DOTALL | re.MULTILINE)
    return [dedent(block) for _, block in blocks]


def change(project: Project, name: str, old: str, new: str) -> None:
    """Replace what is in a file of settings once."""
    file = project.folder / "mysite/settings" / name
    text = file.read_text()
    assert text.count(old) == 1, (name, old)
    file.write_text(text.replace(old, new))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Without the plugin, and without settings about email but those of the template."""
    made = Project(tmp_path / "site", installed=False)
    local = made.folder / "mysite/settings/local.py"
    local.write_text(re.sub("^EMAIL_HOST.*\n", "", local.read_text(), flags=re.MULTILINE))
    return made


@recipes
def test_installation(project: Project, with_mailers: bool) -> None:
    base, dev, production, mailers = blocks_below(START, "docs/how-to/install.md")
    apps, email = re.fullmatch(r"(.*?)    # …\n\]\n(.*)", base, flags=re.DOTALL).groups()
    change(project, "base.py", apps.replace('    "wagtail_smtp",\n', ""), apps)
    project.append("settings/base.py", mailers if with_mailers else email)
    # What dev.py changes must not replace the project's other values.
    project.append("settings/base.py", 'WAGTAIL_SMTP["CATEGORIES"] = {"invoice": "Invoices"}\n')
    change(project, "dev.py", CONSOLE, dev)
    if not with_mailers:
        project.append("settings/production.py", production)
        project.environment["EMAIL_HOST_PASSWORD"] = "secret"

    project.succeeds("migrate", "--noinput")
    project.succeeds("check", "--fail-level=WARNING")
    project.succeeds("check", DEV)
    sent = project.succeeds("shell", DEV, "-c", SEND)

    assert "Subject: Hello" in sent
    assert "To: ada@example.org" in sent
    assert "Logged: sent" in sent
    assert "From base.py: invoice" in sent


@recipes
def test_readme(project: Project, with_mailers: bool) -> None:
    settings, mailers, dev = blocks_below("## Install", "README.md")
    *_, session = blocks_below("## Install", "README.md", "console")
    *commands, printed = session.splitlines()
    apps, email_backend = settings.splitlines()
    assert 'INSTALLED_APPS = ["wagtail_smtp", ..., "wagtail.admin", ...]' in apps
    change(project, "base.py", "INSTALLED_APPS = [\n", 'INSTALLED_APPS = [\n    "wagtail_smtp",\n')
    project.append("settings/base.py", mailers if with_mailers else email_backend)
    change(project, "dev.py", CONSOLE, dev)

    with SMTPServer(encryption="starttls", auth=False) as server:
        name, port = "smtp.example.com", str(server.port)
        if with_mailers:
            change(project, "base.py", name, "localhost")
            change(project, "base.py", "587", port)
        else:
            existing = f'EMAIL_HOST, EMAIL_PORT, EMAIL_USE_TLS = "localhost", {port}, True\n'
            project.append("settings/local.py", existing)
        authority = project.folder / "authority.pem"
        authority.write_text(CA_PEM)
        for command in commands:
            arguments = command.removeprefix("$ python manage.py ").split()
            told = project.succeeds(*arguments, SSL_CERT_FILE=str(authority))
    assert printed in told.splitlines()
    assert [message.recipients for message in server.received] == [["you@example.com"]]

    in_development = project.succeeds("smtp_test", "you@example.com", DEV)
    assert "To: you@example.com" in in_development
