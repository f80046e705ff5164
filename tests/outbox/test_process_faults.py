"""What is wrong with a process, or with the settings, is no message's fault: messages wait."""

from datetime import timedelta

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend
from django.db.models import F

from tests.support.servers.hostile import HostileServer
from wagtail_smtp import email_category
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.diagnostics.status import status
from wagtail_smtp.live import lookup
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage
from wagtail_smtp.outbox.worker import Worker

KEYS = ["a" * 43 + "="]


@pytest.fixture(autouse=True)
def _queued(configure, settings, admins):
    configure(DELIVERY="queued", ENCRYPTION_KEYS=KEYS)
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


def _work():
    worker = Worker()
    try:
        return worker.drain()
    finally:
        worker.close()


def _alerts():
    return [entry.subject for entry in LogEntry.objects.filter(category="alert")]


def _due_now():
    OutboxMessage.objects.update(due_at=F("due_at") - timedelta(days=1))


@pytest.fixture
def queued(make_set, reload):
    """A message, one of category security, and a server for both."""
    with HostileServer() as server:
        make_set(server, name="Main")
        reload()
        EmailMessage("Invoice", "Body", None, ["real@example.org"]).send()
        with email_category("security"):
            EmailMessage("Code", "123456", None, ["real@example.org"]).send()
        yield server


def _is_whole():
    """Nothing was given up or deleted, nor counts as a try."""
    entries = LogEntry.objects.exclude(category="alert")
    assert set(entries.values_list("state", flat=True)) <= {"queued", "deferred"}
    rows = OutboxMessage.objects.exclude(category="alert")
    assert set(rows.values_list("state", "attempts")) == {("waiting", 0)}
    assert StoredMessage.objects.filter(entry__in=entries).count() == entries.count() == 2


def _arrives(server):
    """A healthy process sends both, once."""
    _due_now()
    lookup.forget()
    _work()
    assert [r.recipients for r in server.received if "Invoice" in str(r.message["Subject"])] == [
        ["real@example.org"]
    ]
    assert [m.subject for m in mail.outbox if m.to == ["real@example.org"]] == ["Code"]
    entries = LogEntry.objects.exclude(category="alert")
    assert set(entries.values_list("state", flat=True)) == {"sent"}


@pytest.mark.threat(31)
@pytest.mark.parametrize("keys", [[], ["b" * 43 + "="]])
def test_a_worker_without_the_keys(queued, configure, keys):
    configure(ENCRYPTION_KEYS=keys)
    for _ in range(3):
        _due_now()
        _work()
    _is_whole()
    assert [s for s in _alerts() if "waiting" in s] == [
        "[Django] Email problem: messages are waiting"
    ]
    assert any("2 messages are waiting" in alarm for alarm in status().alarms)
    configure(ENCRYPTION_KEYS=KEYS)
    _arrives(queued)
    assert not any("messages are waiting" in alarm for alarm in status().alarms)


def test_a_key_that_is_none(queued, configure):
    configure(ENCRYPTION_KEYS=["garbage"])
    _work()
    configure(ENCRYPTION_KEYS=KEYS)
    _is_whole()
    _arrives(queued)


def test_a_message_of_a_newer_release(queued, configure, monkeypatch):
    monkeypatch.setattr(stored_message, "FORMAT", 0)
    _work()
    monkeypatch.undo()
    _is_whole()
    _arrives(queued)


def test_nothing_is_given_up_however_long_it_takes(queued, configure):
    configure(ENCRYPTION_KEYS=["b" * 43 + "="])
    invoices = OutboxMessage.objects.filter(category="other")
    invoices.update(expires_at=F("expires_at") - timedelta(days=30))
    _work()
    configure(ENCRYPTION_KEYS=KEYS)
    _is_whole()
    _arrives(queued)


class Unavailable(EmailBackend):
    """A project's own backend that can't be used in this process."""

    error: Exception = ImportError("No module named 'esp'")

    def __init__(self, *args, **kwargs):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        ImportError("No module named 'esp'"),
        ImproperlyConfigured("no key"),
        AttributeError("'Settings' object has no attribute 'ESP_KEY'"),
        KeyError("ESP_KEY"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_standard_delivery_that_cannot_be_built(
    make_set, reload, configure, settings, monkeypatch, error
):
    monkeypatch.setattr(Unavailable, "error", error)
    healthy = settings.WAGTAIL_SMTP["STANDARD"]
    with email_category("security"):
        EmailMessage("Code", "123456", None, ["real@example.org"]).send()
    configure(STANDARD={"BACKEND": f"{__name__}.Unavailable"})
    _work()
    entry = LogEntry.objects.get(subject="Code")
    assert (entry.state, entry.outbox.attempts, entry.outbox.state) == ("deferred", 0, "waiting")
    assert hasattr(entry, "stored")
    configure(STANDARD=healthy)
    _due_now()
    _work()
    entry.refresh_from_db()
    assert entry.state == "sent"
    assert [m.subject for m in mail.outbox if m.to == ["real@example.org"]] == ["Code"]


def test_a_wrong_setting_ends_a_worker_before_it_claims(queued, configure):
    configure(OUTBOX_RETRY_AFTER="soon")
    with pytest.raises(ImproperlyConfigured):
        _work()
    # Only the alert, which isn't queued.
    assert [each.message["Auto-Submitted"] for each in queued.received] == ["auto-generated"]
    queued.received.clear()
    configure(OUTBOX_RETRY_AFTER=60)
    _is_whole()
    _arrives(queued)


def test_what_is_wrong_with_a_message_is_final(queued):
    OutboxMessage.objects.exclude(category="security").update(state="waiting")
    StoredMessage.objects.filter(entry__subject="Invoice").delete()
    _work()
    assert LogEntry.objects.get(subject="Invoice").state == "failed"
