"""A database that can't hold every character still has an entry for every message."""

from contextlib import contextmanager

import pytest
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.models import LogAttempt, LogEntry, LogRecipient
from wagtail_smtp.outbox.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def utf8mb3():
    """As the tables of MySQL's older databases are."""
    if connection.vendor != "mysql":
        pytest.skip("MySQL's and MariaDB's character sets")
    with _converted("utf8mb3"):
        yield


@contextmanager
def _converted(charset):
    try:
        _convert(charset)
        yield
    finally:
        _convert("utf8mb4")


def _convert(charset):
    with connection.cursor() as cursor:
        for model in (LogEntry, LogRecipient, LogAttempt):
            cursor.execute(f"ALTER TABLE {model._meta.db_table} CONVERT TO CHARACTER SET {charset}")


def _send():
    return EmailMessage("Größe 🎉", "Body", "shop@example.com", ["real@example.org"]).send()


def test_sent(utf8mb3, make_set, reload):
    with HostileServer() as server:
        make_set(server)
        reload()
        assert _send() == 1
    assert LogEntry.objects.get().subject == "Größe \ufffd"


def test_failed_and_stored(utf8mb3, make_set, reload):
    with HostileServer(faults=[Fault("banner", "close")]) as server:
        make_set(server, timeout=2)
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
    entry = LogEntry.objects.get()
    assert (entry.subject, hasattr(entry, "stored")) == ("Größe \ufffd", True)


def test_queued(utf8mb3, make_set, reload, configure):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    with HostileServer(faults=[Fault("rcpt", "refuse", "550 5.1.1 Nobody 🎉")]) as server:
        make_set(server)
        reload()
        assert _send() == 1
        worker = Worker()
        worker.drain()
        worker.close()
    entry = LogEntry.objects.get()
    assert entry.state == "refused"
    # What the server said is kept too.
    assert "Nobody \ufffd" in entry.recipients.get().reply
    assert "Nobody \ufffd" in entry.attempts.get().reply
