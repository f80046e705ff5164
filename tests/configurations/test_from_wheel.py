"""The built package in a project of ``wagtail start``, from its installation to its removal.

Each project has a virtual environment of its own, with the wheel. The settings and commands are
those of docs/how-to/install.md, production.md and remove.md, in the order of the pages. It takes
minutes, so only ``make package`` and ``make configurations`` run it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from tests.configurations.test_recipes import CONSOLE, START, blocks_below, change
from tests.configurations.wagtail_start import OURS, ROOT, Project
from tests.support.servers.smtp_server import CA_PEM, SMTPServer
from tests.test_package import built

__all__ = ["built"]

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("WAGTAIL_SMTP_ALL_CONFIGURATIONS"),
        reason="slow: make package",
    ),
    pytest.mark.timeout(900),
    pytest.mark.same_on_all_versions,
]

EMAIL = """
EMAIL_HOST = "localhost"
EMAIL_PORT = {port}
EMAIL_USE_TLS = True
"""
LEFT_OVER = """
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
print("Tables:", [t for t in connection.introspection.table_names() if "smtp" in t])
print("Types:", ContentType.objects.filter(app_label="wagtail_smtp").count())
print("Permissions:", Permission.objects.filter(content_type__app_label="wagtail_smtp").count())
"""
SEND = 'from django.core.mail import send_mail; send_mail("Hello", "", None, ["bob@example.com"])'


def python_for(django: str) -> str:
    """A Python that the version of Django supports."""
    if django == "5.2":
        return sys.executable
    find = ["sh", str(ROOT / "find-python.sh"), "12"]
    found = subprocess.run(find, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"Django {django}: {found.stderr}")
    return found.stdout.strip()


def install(folder: Path, python: str, *requirements: str) -> str:
    """A new virtual environment with these requirements; its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True, timeout=120)
    pip(str(folder / "bin" / "python"), "install", *requirements)
    return str(folder / "bin" / "python")


def pip(python: str, *arguments: str) -> None:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def commands(document: str, heading: str = "") -> list[list[str]]:
    """The arguments of ``manage.py`` in a document, or below one of its headings, in order."""
    text = (ROOT / "docs" / "how-to" / document).read_text()
    text = text.partition(f"\n{heading}\n")[2] if heading else text
    found = re.findall(r"`python manage\.py ([^`]+)`", re.split(r"^## ", text, flags=re.M)[0])
    return [arguments.split() for arguments in found]


@pytest.mark.parametrize("django", ["5.2", "6.1"], ids=["5.2", "6.1 with MAILERS"])
def test_from_installation_to_removal(built: Path, tmp_path: Path, django: str) -> None:
    python = install(
        tmp_path / "venv", python_for(django), f"Django~={django}.0", "wagtail", "gunicorn"
    )
    project = Project(tmp_path / "site", installed=False, python=python)
    local = project.folder / "mysite/settings/local.py"
    local.write_text(re.sub("^EMAIL_HOST.*\n", "", local.read_text(), flags=re.MULTILINE))
    authority = project.folder / "authority.pem"
    authority.write_text(CA_PEM)
    project.environment["SSL_CERT_FILE"] = str(authority)
    project.succeeds("migrate", "--noinput")
    before = copytree(project.folder / "mysite" / "settings", tmp_path / "settings")

    with SMTPServer(encryption="starttls", auth=False) as server:
        if django == "5.2":
            project.append("settings/local.py", EMAIL.format(port=server.port))
        [wheel] = built.glob("*.whl")
        pip(python, "install", str(wheel))
        where = project.run("-c", "import wagtail_smtp; print(wagtail_smtp.__file__)").stdout
        assert where.startswith(str(tmp_path / "venv"))
        follow_settings(project, server, with_mailers=django != "5.2")

        for arguments in [
            *commands("install.md"),
            *commands("production.md", "## Deploy in this order"),
        ]:
            project.succeeds(
                *arguments, *(["--noinput"] if arguments[0] == "collectstatic" else [])
            )
        assert [message.recipients for message in server.received] == [["you@example.com"]] * 2

        with project.served() as browser:
            pages = browser.plugin_pages()
            browser.submit("/admin/password_reset/", email="admin@example.com")
        assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(pages, 200)
        assert len([path for path in pages if OURS.match(path)]) > 8
        assert server.received[2].recipients == ["admin@example.com"]

        remove(project, before, server, with_mailers=django != "5.2")
        project.succeeds("check")
        project.succeeds("shell", "-c", SEND)
        assert server.received[3].recipients == ["bob@example.com"]
    left = project.succeeds("shell", "-c", LEFT_OVER)
    assert "Tables: []\nTypes: 0\nPermissions: 0\n" in left


def follow_settings(project: Project, server: SMTPServer, with_mailers: bool) -> None:
    """What install.md says about the settings, with the tests' server as standard delivery."""
    base, dev, _production, mailers = blocks_below(START, "docs/how-to/install.md")
    apps, email = re.fullmatch(r"(.*?)    # …\n\]\n(.*)", base, flags=re.DOTALL).groups()
    change(project, "base.py", apps.replace('    "wagtail_smtp",\n', ""), apps)
    project.append("settings/base.py", mailers if with_mailers else email)
    change(project, "dev.py", CONSOLE, dev)
    if with_mailers:
        change(
            project,
            "base.py",
            '"smtp.example.com", "port": 587',
            f'"localhost", "port": {server.port}',
        )


def remove(project: Project, before: Path, server: SMTPServer, with_mailers: bool) -> None:
    """Follow the steps of remove.md, in their order."""
    steps = re.findall(
        r"^\d+\. (.+?)(?=^\d+\. |\Z)", (ROOT / "docs/how-to/remove.md").read_text(), re.M | re.S
    )
    assert len(steps) == 6
    settings = project.folder / "mysite" / "settings"
    for step in steps:
        if "back to your standard delivery" in step:
            base = settings / "base.py"
            old = "wagtail_smtp.backend.EmailBackend"
            options = (
                f', "OPTIONS": {{"host": "localhost", "port": {server.port}, "use_tls": True}}'
                if with_mailers
                else ""
            )
            smtp = f'"django.core.mail.backends.smtp.EmailBackend"{options}'
            assert base.read_text().count(f'"{old}"') == 1
            base.write_text(base.read_text().replace(f'"{old}"', smtp))
        for arguments in re.findall(r"`python manage\.py ([^`]+)`", step):
            project.succeeds(*arguments.split())
        if "from your settings" in step:
            mailers = re.findall(r"^MAILERS = .+$", (settings / "base.py").read_text(), re.M)
            for name in ("base.py", "dev.py"):
                (settings / name).write_text((before / name).read_text())
            if with_mailers:
                project.append("settings/base.py", f"{mailers[0]}\n")
                change(project, "dev.py", CONSOLE, "")
        if "pip uninstall" in step:
            pip(project.python, "uninstall", "--yes", "wagtail-smtp")
            [stale] = re.findall(r"`(remove_stale_contenttypes[^`]+)`", step)
            project.succeeds(*stale.split(), "--noinput")
