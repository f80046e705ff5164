"""The plugin in a project from Wagtail's template, with that project's production settings."""

from pathlib import Path

import pytest

from tests.configurations.wagtail_start import OURS, Project

#: A set, and a message that fails: nothing listens on that port.
_IN_USE = """
from django.core.mail import send_mail
from wagtail_smtp.models import SettingsSet
SettingsSet.objects.create(name="Office", host="mail.example.com", authentication="none")
send_mail("Hello", "Body", None, ["ada@example.org"], fail_silently=True)
"""

_ALL_COMMANDS = """
from django.core.management import CommandError, call_command
for name, *arguments in (
    ["smtp_status"], ["smtp_test", "ada@example.org"], ["smtp_explain", "form"],
    ["smtp_outbox", "--once"], ["smtp_prune"], ["smtp_reload"], ["smtp_rotate_keys"],
    ["smtp_erase", "ada@example.org"], ["smtp_resend", "--since", "1d"],
):
    try:
        call_command(name, *arguments)
    except CommandError as error:
        print(f"{name}: {error}")
"""


def test_production_settings_and_every_page(tmp_path: Path) -> None:
    project = Project(tmp_path / "site")
    # In this order there is no manifest of static files yet when the first two run.
    project.succeeds("check")
    project.succeeds("migrate", "--noinput")
    project.succeeds("collectstatic", "--noinput")
    project.succeeds("shell", "-c", _IN_USE)

    with project.served() as browser:
        pages = browser.plugin_pages()

    assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(pages, 200)
    kinds = {"/settingsset/edit/", "/email/log/1/", "/email/reload/", "/email/delivery/"}
    assert all(any(kind in path for path in pages) for kind in kinds)
    assert len([path for path in pages if OURS.match(path)]) > 8


@pytest.fixture(scope="module")
def before_migrate(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A site that ran without the plugin: now its code is there, and its tables are not."""
    project = Project(tmp_path_factory.mktemp("before") / "site", installed=False)
    project.succeeds("migrate", "--noinput")
    project.install()
    return project


def test_commands_before_migrate(before_migrate: Project) -> None:
    printed = before_migrate.succeeds("shell", "-c", _ALL_COMMANDS)
    assert printed.count("Run 'manage.py migrate' first") == 9


def test_a_deployment_check_before_migrate(before_migrate: Project) -> None:
    assert "wagtail_smtp.W014" not in before_migrate.succeeds("check")
    told = before_migrate.succeeds("check", "--deploy", "--database", "default")
    assert "wagtail_smtp.W014" in told


def test_pages_before_migrate(tmp_path: Path) -> None:
    project = Project(tmp_path / "site", installed=False)
    project.succeeds("migrate", "--noinput")
    project.install()
    project.succeeds("collectstatic", "--noinput")

    with project.served() as browser:
        pages = browser.plugin_pages()
        assert pages.pop("/admin/").status_code == 200
        assert pages
        assert {page.status_code for page in pages.values()} == {503}
        assert all('id="smtp-before-migrate"' in page.text for page in pages.values())

        project.succeeds("migrate", "--noinput")
        # The same process, without a restart.
        pages = browser.plugin_pages()
        assert {page.status_code for page in pages.values()} == {200}
