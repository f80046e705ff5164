"""Every message has one entry, whatever it is made of, and an error if it wasn't taken.

``make fuzz`` sends 10,000 of them each way; the tests alone a few of them.
"""

import os
import random
import warnings

import pytest
from django.conf import settings
from django.core.mail import get_connection
from django.core.mail.backends.base import BaseEmailBackend

from tests.support.odd_messages import OddMessages
from tests.support.servers.hostile import HostileServer
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage
from wagtail_smtp.outbox.worker import Worker

NUMBER = int(os.environ.get("WAGTAIL_SMTP_FUZZ", "250"))
SEED = int(os.environ.get("WAGTAIL_SMTP_FUZZ_SEED", "1"))

pytestmark = pytest.mark.django_db


class Moody(BaseEmailBackend):
    """A project's own backend, which may raise anything."""

    moods = random.Random(SEED)

    def send_messages(self, messages):
        for message in messages:
            kinds = (None, None, RuntimeError, OSError, KeyError, UnicodeError, MemoryError)
            if kind := self.moods.choice(kinds):
                raise kind("https://user:hunter2@example.com")
            message.message()
        return len(messages)


def _each(check):
    """Send each and have ``check`` look at what it returned or raised, and at its entry."""
    odd = OddMessages(SEED)
    last = LogEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    failures = []
    for number in range(NUMBER):
        returned = error = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Django's, of what it will refuse one day
            message = odd.next()
            try:
                returned = get_connection().send_messages([message])
            except Exception as raised:
                error = raised
        entries = list(
            LogEntry.objects.filter(pk__gt=last).exclude(category="alert").order_by("pk")
        )
        last = max((entry.pk for entry in entries), default=last)
        wanted = 0 if returned == 0 else 1
        if len(entries) != wanted or (entries and not check(error, entries[0])):
            states = [entry.state for entry in entries]
            failures.append((number, repr(error), states, vars(message)))
    assert not failures, f"{len(failures)} of {NUMBER}, the first: {str(failures[0])[:1500]}"


def _as_told(error, entry):
    """An error and an entry tell the same."""
    return (entry.state in ("sent", "partly_sent")) == (error is None)


@pytest.fixture
def server(make_set, reload):
    with HostileServer("none", extensions=("PIPELINING", "8BITMIME"), auth=False) as server:
        make_set(server, name="Office", authentication="none", sender_address="office@example.com")
        reload()
        yield server


def test_sent(server):
    _each(_as_told)
    assert len(server.received) == LogEntry.objects.filter(state="sent", via="Office").count()


def test_sent_by_the_projects_own_backend(configure):
    configure(STANDARD={"BACKEND": f"{__name__}.Moody"})
    _each(_as_told)


def test_redirected(server, make_set, reload, configure):
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    _each(_as_told)
    assert {tuple(one.recipients) for one in server.received} == {("qa@example.com",)}


def test_redirected_by_the_projects_own_backend(configure, mailoutbox):
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    _each(_as_told)
    assert {tuple(message.recipients()) for message in mailoutbox} == {("qa@example.com",)}
    assert {tuple(message.to + message.cc + message.bcc) for message in mailoutbox} == {
        ("qa@example.com",)
    }


def test_too_large(make_set, reload, admins):
    with HostileServer("none", extensions=("SIZE 100", "8BITMIME"), auth=False) as server:
        make_set(server, authentication="none", sender_address="office@example.com")
        reload()

        def check(error, entry):
            is_kept = entry.state == "too_large" and hasattr(entry, "stored")
            return (is_kept or entry.state == "sent") == (error is None)

        _each(check)
        assert server.received == []


def test_queued(server, configure):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}

    def check(error, entry):
        is_queued = entry.state == "queued" and hasattr(entry, "stored")
        return is_queued == (error is None) == hasattr(entry, "outbox")

    _each(check)
    queued = OutboxMessage.objects.count()
    worker = Worker()
    worker.drain()
    worker.close()
    # What was accepted comes to an end.
    assert not OutboxMessage.objects.exists()
    states = list(LogEntry.objects.values_list("state", flat=True))
    assert len(server.received) == LogEntry.objects.filter(state="sent", via="Office").count()
    assert len(server.received) > queued / 2
    assert set(states) <= {"sent", "failed", "blocked", "too_large"}
    assert StoredMessage.objects.count() <= states.count("failed")
