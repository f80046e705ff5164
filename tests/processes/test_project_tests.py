"""Tests of projects that use the plugin leave nothing for the next one, or for the end."""

import os
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]

_PYTEST = """
import asyncio

import pytest
from django.core.mail import send_mail
from django.db import transaction
from wagtail_smtp.models import LogEntry

@pytest.mark.parametrize("number", range(3))
def test_in_a_tests_transaction(email_delivery, number):
    send_mail("Hello", "Body", None, ["a@example.org"])
    with transaction.atomic():
        send_mail("Hello", "Body", None, ["a@example.org"])
    assert LogEntry.objects.count() == 2

@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", range(2))
def test_in_real_transactions(email_delivery, number):
    with transaction.atomic():
        send_mail("Hello", "Body", None, ["a@example.org"])

    async def view():
        send_mail("Hello", "Body", None, ["a@example.org"])

    asyncio.run(view())
    assert LogEntry.objects.count() == 2
"""

_DJANGO = """
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings
from wagtail_smtp.models import LogEntry

BACKEND = "wagtail_smtp.backend.EmailBackend"
INSTALLED = (
    {"MAILERS": {"default": {"BACKEND": BACKEND}}}
    if hasattr(settings, "MAILERS")
    else {"EMAIL_BACKEND": BACKEND}
)

class Installed:
    def setUp(self):
        override = override_settings(**INSTALLED)
        override.enable()
        self.addCleanup(override.disable)

    def test_an_entry(self):
        send_mail("Hello", "Body", None, ["a@example.org"])
        with transaction.atomic():
            send_mail("Hello", "Body", None, ["a@example.org"])
        self.assertEqual(LogEntry.objects.count(), 2)

    def test_none_is_left(self):
        self.assertEqual(LogEntry.objects.count(), 0)

class Usual(Installed, TestCase):
    def test_one_more(self):
        self.test_an_entry()

class Real(Installed, TransactionTestCase):
    pass
"""


def _run(database: dict[str, str], directory: Path, *command: str) -> str:
    environment = os.environ | database | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment["PYTHONPATH"] = f"{directory}{os.pathsep}{_ROOT}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", *command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_with_pytest(database: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["wagtail_smtp.testing"]\n')
    (tmp_path / "test_mail.py").write_text(_PYTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    assert "5 passed" in _run(database, tmp_path, "pytest", "--nomigrations")


def test_with_djangos_runner(database: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_mail.py").write_text(_DJANGO)
    _run(database, tmp_path, "django", "test", "--noinput", "test_mail")
