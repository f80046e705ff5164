"""Nothing is stuck after a moment in which the machine could start no more threads."""

import asyncio
import logging
import random
import socket
import sys
import threading
from types import ModuleType

import pytest
from django.core.mail import EmailMessage
from django.db import connection, transaction

from tests.support.servers.smtp_server import free_port
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live.db import autonomous, connections, deferred
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.runtime import process
from wagtail_smtp.transports import guard


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
def test_autonomous_write():
    mine, done = autonomous._WriterThread(), []
    with NoThreads(), pytest.raises(RuntimeError):
        mine.call(lambda: done.append("reported as failed"), "default")
    assert mine.call(lambda: done.append("next") or len(done), "default") == 1
    mine.close()
    assert done == ["next"]


@pytest.mark.django_db(transaction=True)
def test_deferred_write():
    mine, is_done = deferred._Queue(), threading.Event()
    with NoThreads():
        assert not mine.put(lambda: None, "default")
    mine.close()
    assert mine.put(is_done.set, "default")
    assert is_done.wait(10)
    mine.close()


@pytest.mark.django_db(transaction=True)
def test_what_may_be_lost_with_a_rollback_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(connections, "is_under_test", lambda: False)
    with transaction.atomic(), NoThreads():
        deferred.after_rollback(lambda: None, "default")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_rolled_back", [True, False])
def test_a_rollback_needs_no_new_thread(monkeypatch, is_rolled_back):
    """What Django drops may be collected anywhere, at the end of the process too."""
    mine, done = deferred._Queue(), threading.Event()
    monkeypatch.setattr(connections, "is_under_test", lambda: False)
    monkeypatch.setattr(deferred, "_queue", mine)
    with transaction.atomic():
        deferred.after_rollback(done.set, "default")
        if is_rolled_back:
            transaction.set_rollback(True)
        ends = NoThreads()
        ends.__enter__()
    ends.__exit__(None, None, None)
    if is_rolled_back:
        assert done.wait(10)
    mine.close()
    assert done.is_set() == is_rolled_back
    assert mine.has_room(deferred._MAX_BYTES)


@pytest.mark.django_db(transaction=True)
def test_what_waits_is_bounded_in_bytes():
    mine, may_go = deferred._Queue(), threading.Event()
    half = deferred._MAX_BYTES // 2 + 1
    assert mine.put(lambda: may_go.wait(10), "default", half)
    assert not mine.put(lambda: None, "default", half)
    assert mine.put(lambda: None, "default", 10)
    may_go.set()
    mine.close()
    assert mine.has_room(deferred._MAX_BYTES)


@pytest.mark.django_db(transaction=True)
def test_a_message_that_no_room_is_left_for_is_not_promised(make_set, reload, monkeypatch):
    """Its entry is written without it, as a rollback of the caller's would lose the message."""
    if connection.vendor != "sqlite":
        pytest.skip("only on SQLite are entries written in the caller's transaction")
    monkeypatch.setattr(connections, "is_under_test", lambda: False)
    monkeypatch.setattr(deferred, "_queue", deferred._Queue())
    monkeypatch.setattr(deferred, "_MAX_BYTES", 20_000)
    make_set(host="127.0.0.1", port=free_port())
    reload()
    message = EmailMessage("Hi", "Body", "shop@example.com", ["real@example.org"])
    message.attach("a.bin", random.randbytes(30_000), "application/octet-stream")
    with transaction.atomic(), pytest.raises(EmailDeliveryError):
        message.send()
    deferred._queue.close()
    assert [hasattr(entry, "stored") for entry in LogEntry.objects.all()] == [False]


def test_no_thread_to_resolve_a_name_in():
    with NoThreads(), pytest.raises(OSError, match="could not start the DNS lookup") as caught:
        guard.resolve("mail.example.org", 25, within=1)
    assert caught.value.errno == socket.EAI_AGAIN


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


@pytest.mark.parametrize(("has_threads", "warnings"), [(0, 1), (1, 0), (None, 0)])
def test_warning_about_uwsgi_without_threads(monkeypatch, caplog, has_threads, warnings):
    """Older releases of uWSGI need ``enable-threads``; the module exists only inside it."""
    if has_threads is not None:
        uwsgi = ModuleType("uwsgi")
        uwsgi.has_threads = has_threads
        monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    with caplog.at_level(logging.WARNING, "wagtail_smtp"):
        process.warn_without_threads()
    assert len(caplog.records) == warnings
    assert all("enable-threads" in record.message for record in caplog.records)
