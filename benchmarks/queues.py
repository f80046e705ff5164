"""Queues of outgoing mail: the plugin's outbox and its peers, each drained by its own command."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from django.conf import settings
from django.core.mail import get_connection
from django.core.management import call_command
from django.db import connection, transaction

from benchmarks.messages import small

CORES = len(os.sched_getaffinity(0))
OURS = "wagtail-smtp"
POST_OFFICE = "django-post-office"
MAILER = "django-mailer"
CELERY = "django-celery-email"


class Queue(Protocol):
    """What is measured."""

    name: str

    def fill(self, count: int) -> None:
        """Queue so many messages."""

    def drain(self) -> float | None:
        """Send them all; the seconds that took, or None: as long as the call."""

    def sent(self) -> int:
        """Messages that the queue says were sent, since the last fill."""


class _Stored:
    """A queue in the database."""

    name: str
    backend: str

    def fill(self, count: int) -> None:
        self._forget()
        queue = get_connection(self.backend)
        with transaction.atomic():
            for _ in range(count):
                queue.send_messages([small(None)])

    def drain(self) -> float | None:
        self._drain()
        return None

    def _forget(self) -> None:
        raise NotImplementedError

    def _drain(self) -> None:
        raise NotImplementedError


class Outbox(_Stored):
    """The plugin's, with as many processes and threads as its command has unless told."""

    name = OURS
    backend = "wagtail_smtp.backend.EmailBackend"

    def __init__(self, **options: int) -> None:
        # The command starts one process only if this one has other threads already.
        self._options = options or {"processes": min(CORES, 8), "threads": max(1, 4 // CORES)}
        self.name = ", ".join([OURS, *(f"{value} {name}" for name, value in options.items())])

    def fill(self, count: int) -> None:
        settings.WAGTAIL_SMTP["DELIVERY"] = "queued"
        try:
            super().fill(count)
        finally:
            del settings.WAGTAIL_SMTP["DELIVERY"]

    def sent(self) -> int:
        from wagtail_smtp.models import LogEntry, OutboxMessage

        assert not OutboxMessage.objects.exists()
        return LogEntry.objects.filter(state="sent").count()

    def _forget(self) -> None:
        from wagtail_smtp.models import LogEntry

        LogEntry.objects.all().delete()

    def _drain(self) -> None:
        with open("/dev/null", "w") as nowhere:
            call_command("smtp_outbox", once=True, stdout=nowhere, **self._options)


class PostOffice(_Stored):
    """django-post-office as installed: five threads, batches of a hundred, a log of all."""

    name = POST_OFFICE
    backend = "post_office.EmailBackend"

    def sent(self) -> int:
        from post_office.models import STATUS, Email

        return int(Email.objects.filter(status=STATUS.sent).count())

    def _forget(self) -> None:
        from post_office.models import Email

        Email.objects.all().delete()

    def _drain(self) -> None:
        call_command("send_queued_mail")


class Mailer(_Stored):
    """django-mailer as installed."""

    name = MAILER
    backend = "mailer.backend.DbBackend"

    def sent(self) -> int:
        from mailer.models import Message, MessageLog

        assert not Message.objects.exists()
        return int(MessageLog.objects.count())

    def _forget(self) -> None:
        from mailer.models import MessageLog

        MessageLog.objects.all().delete()

    def _drain(self) -> None:
        call_command("send_mail")


class Celery:
    """django-celery-email with a broker in the memory of the process: none could be faster.

    One worker that runs tasks itself (``--pool=solo``). Its start doesn't count.
    """

    name = CELERY

    def __init__(self) -> None:
        import celery
        from djcelery_email import tasks

        self._app = celery.Celery("benchmarks", broker="memory://", set_as_current=True)
        self._app.conf.update(worker_hijack_root_logger=False, worker_redirect_stdouts=False)
        assert tasks.send_emails.app is self._app
        self._count = 0
        self._ends: list[float] = []

    def fill(self, count: int) -> None:
        self._count = count
        queue = get_connection("djcelery_email.backends.CeleryEmailBackend")
        for _ in range(count):
            queue.send_messages([small(None)])

    def drain(self) -> float | None:
        from time import perf_counter

        from celery import signals

        times: list[float] = []
        self._ends = []
        done = threading.Event()

        def begun(**_values: Any) -> None:
            times.append(perf_counter())

        def ended(retval: Any = None, **_values: Any) -> None:
            self._ends += [perf_counter()] * (retval == 1)
            if len(times) == self._count:
                done.set()

        with _connected(signals.task_prerun, begun), _connected(signals.task_postrun, ended):
            worker = self._app.WorkController(
                pool="solo",
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
                loglevel="CRITICAL",
            )
            thread = threading.Thread(target=worker.start)
            thread.start()
            finished = done.wait(300)
            # The worker ends by an exception of its own, in its own thread.
            with suppress(SystemExit):
                worker.stop(in_sighandler=False)
            _end(thread)
        assert finished
        return self._ends[-1] - times[0]

    def sent(self) -> int:
        return len(self._ends)


@contextmanager
def _connected(signal: Any, receiver: Any) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def _end(thread: threading.Thread) -> None:
    from celery.worker import state

    state.should_stop = 0
    thread.join(60)
    state.should_stop = None
    assert not thread.is_alive()


class Statements:
    """Counts the statements that this thread's connection executes."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Statements":
        self._wrapper = connection.execute_wrapper(self._execute)
        self._wrapper.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._wrapper.__exit__(*exc_info)

    def _execute(self, execute: Any, *arguments: Any) -> Any:
        self.count += 1
        return execute(*arguments)
