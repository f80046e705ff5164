"""smtp_bounces as a mail server starts it."""

import io
import os
import signal
import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from tests.support import bounces
from wagtail_smtp.bounces import mailboxes, messages, record
from wagtail_smtp.management.commands import smtp_bounces
from wagtail_smtp.models import BounceSource
from wagtail_smtp.transports import imap


@pytest.fixture
def stdin(monkeypatch):
    """What the mail server writes: ``stdin(content)``; returns what isn't read."""

    def give(content):
        raw = io.BytesIO(content)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
        return raw

    return give


def test_a_message_from_standard_input(sent_to, stdin):
    entry, address = sent_to()
    stdin(bounces.report(address, bounces.fields()))
    call_command("smtp_bounces", stdin=True)
    entry.refresh_from_db()
    assert entry.reported == "bounced"
    source = BounceSource.objects.get()
    assert (source.recorded, source.unverified) == (1, 0)
    assert source.read_at is not None


def test_messages_that_prove_nothing_are_accepted_and_counted(db, stdin):
    """Otherwise the mail server would return them to their forged senders."""
    for content in (b"", bounces.report("bounces@example.com", bounces.fields())):
        stdin(content)
        call_command("smtp_bounces", stdin=True)
    assert BounceSource.objects.get().unverified == 2


def test_a_large_message_is_read_to_its_end(sent_to, stdin):
    entry, address = sent_to()
    left = stdin(bounces.report(address, bounces.fields()) + b"x" * 3 * messages.MAX_SIZE)
    call_command("smtp_bounces", stdin=True)
    assert left.read() == b""
    entry.refresh_from_db()
    assert entry.reported == "bounced"


@pytest.mark.parametrize("error", [OperationalError("no database"), ValueError("a surprise")])
def test_the_mail_server_tries_again_after_an_error(db, stdin, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(record, "process", fail)
    stdin(b"")
    with pytest.raises(CommandError) as caught:
        call_command("smtp_bounces", stdin=True)
    assert caught.value.returncode == 75


def test_without_the_packages_the_mail_server_tries_again(db, stdin, monkeypatch):
    monkeypatch.setattr(imap, "is_installed", lambda: False)
    stdin(b"")
    with pytest.raises(CommandError, match="pip install") as caught:
        call_command("smtp_bounces", stdin=True)
    assert caught.value.returncode == 75


def test_a_worker_goes_on_after_an_error_until_it_is_stopped(db, monkeypatch, capsys):
    """SIGTERM ends it after what is being read."""
    calls = []

    def read_all():
        calls.append(1)
        if len(calls) == 1:
            raise OperationalError("no database")
        os.kill(os.getpid(), signal.SIGTERM)
        return iter(())

    monkeypatch.setattr(smtp_bounces, "_EVERY", 0)
    monkeypatch.setattr(mailboxes, "read_all", read_all)
    monkeypatch.setattr(smtp_bounces, "close_old_connections", lambda: None)
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        call_command("smtp_bounces", work=True)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert len(calls) == 2
    assert "no database" in capsys.readouterr().err
