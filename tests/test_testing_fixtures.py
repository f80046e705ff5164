"""The fixtures for other projects' tests show what the plugin does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core import mail
from django.core.mail import EmailMessage, send_mail

from wagtail_smtp import email_category
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.live import reload as reload_now
from wagtail_smtp.testing import EmailDelivery, email_delivery

__all__ = ["email_delivery"]


def test_what_was_sent_and_how(email_delivery: EmailDelivery) -> None:
    with email_category("invoice"):
        send_mail("Your invoice", "…", None, ["customer@example.org"])

    sent = email_delivery.sent[0]
    assert sent.category == "invoice"
    assert sent.message.subject == "Your invoice"
    assert sent.redirected_to == ()
    assert sent.entry is not None
    assert sent.entry.state == "sent"
    assert email_delivery.outbox is mail.outbox
    assert [message.to for message in mail.outbox] == [["customer@example.org"]]


def test_a_redirect(email_delivery: EmailDelivery) -> None:
    email_delivery.redirect_all_to("qa@example.com")

    send_mail("Hello", "…", None, ["customer@example.org"])

    assert email_delivery.sent[0].redirected_to == ("qa@example.com",)
    assert email_delivery.sent[0].message.to == ["customer@example.org"]
    assert [message.to for message in mail.outbox] == [["qa@example.com"]]


def test_what_was_not_sent(email_delivery: EmailDelivery) -> None:
    email_delivery.redirect_all_to()

    with pytest.raises(RedirectError):
        EmailMessage("Hello", "…", None, ["customer@example.org"]).send()

    assert email_delivery.sent == mail.outbox == []
    assert isinstance(email_delivery.not_sent[0].error, RedirectError)


def test_sets_of_the_test_are_used(email_delivery, make_set, smtp_server) -> None:
    make_set(smtp_server, name="Office")
    reload_now(user=None)

    send_mail("Hello", "…", None, ["customer@example.org"])

    assert email_delivery.sent[0].via == "Office"
    assert mail.outbox == []
    assert len(smtp_server.received) == 1


def test_in_a_project_that_only_names_the_module(tmp_path: Path) -> None:
    """The module is a pytest plugin of its own, and a test's mail is forgotten with it."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["wagtail_smtp.testing"]')
    (tmp_path / "test_project.py").write_text(
        """
import pytest
from django.core.mail import send_mail

@pytest.mark.parametrize("number", [1, 2])
def test_mail(email_delivery, number):
    send_mail("Hello", "…", None, ["customer@example.org"])
    assert len(email_delivery.sent) == 1
    assert email_delivery.sent[0].category == "other"
"""
    )
    root = Path(__file__).resolve().parents[1]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--rootdir=.", "--ds=tests.settings"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "2 passed" in result.stdout, result.stdout + result.stderr
