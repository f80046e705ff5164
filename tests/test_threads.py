"""A machine that lets no more threads start, for a moment: nothing is stuck afterwards."""

import asyncio
import threading

import pytest
from django.core.mail import EmailMessage

from wagtail_smtp.live import database, later, side
from wagtail_smtp.models import LogEntry, OutboxMessage


class NoThreads:
    """A context in which no thread starts."""

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(threading.Thread, "start", self._start)

    def __exit__(self, *error):
        self._patch.undo()

    @staticmethod
    def _start(thread):
        raise RuntimeError("can't start new thread")


@pytest.mark.django_db(transaction=True)
def test_writing_beside_a_transaction():
    mine, done = side._Side(), []
    with NoThreads(), pytest.raises(RuntimeError):
        mine.call(lambda: done.append("told to have failed"), "default")
    assert mine.call(lambda: done.append("next") or len(done), "default") == 1
    mine.close()
    assert done == ["next"]


@pytest.mark.django_db(transaction=True)
def test_writing_later():
    mine, is_done = later._Later(), threading.Event()
    with NoThreads():
        assert not mine.put(lambda: None, "default")
    mine.close()
    assert mine.put(is_done.set, "default")
    assert is_done.wait(10)
    mine.close()


@pytest.mark.django_db(transaction=True)
def test_what_a_rollback_undid_is_reported_as_lost(monkeypatch, caplog):
    monkeypatch.setattr(database, "is_under_test", lambda: False)
    with NoThreads():
        later._Kept(lambda: None, "default")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.django_db(transaction=True)
def test_a_message_accepted_on_an_event_loop_is_no_error(configure, settings, monkeypatch):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY="queued")
    message = EmailMessage("Hi", "Body", "shop@example.com", ["real@example.org"])
    start = threading.Thread.start

    def only_the_log(thread):
        if thread.name == "wagtail_smtp outbox":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", only_the_log)

    async def send():
        return message.send()

    assert asyncio.run(send()) == 1
    assert OutboxMessage.objects.count() == LogEntry.objects.count() == 1
