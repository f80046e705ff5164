"""A process that queues messages, and has workers of the outbox as its children."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import django

from tests.processes.programs.console import Console, child_environment, make_sets, migrate

__all__ = ["OutboxConsole", "make_sets", "migrate"]


class OutboxConsole(Console):
    """Runs the functions of this module's lower half in a process of their own.

    Args:
        database: the environment that selects it.
        chosen: what tests/processes/programs/outbox_settings.py reads.
    """

    def __init__(self, database: dict[str, str], **chosen: Any) -> None:
        self.environment = child_environment(
            database
            | {
                "DJANGO_SETTINGS_MODULE": "tests.processes.programs.outbox_settings",
                "WAGTAIL_SMTP_TEST_OUTBOX": json.dumps(chosen),
            }
        )

    def __enter__(self) -> "OutboxConsole":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.programs.outbox_console"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self


# What the process does


def queue(
    subjects: list[str],
    octets: int = 0,
    atomic: bool = True,
    rollback: bool = False,
    skew: float = 0,
    using: str | None = None,
) -> int:
    """Send messages, in one transaction or each in its own, with a clock that is ``skew`` off."""
    from contextlib import nullcontext

    from django.core.mail import EmailMessage, get_connection
    from django.db import transaction

    real = _set_clock(skew)
    try:
        body = "x" * 72 + "\n"
        messages = [
            EmailMessage(s, body * (1 + octets // len(body)), None, ["someone@example.org"])
            for s in subjects
        ]
        with transaction.atomic() if atomic else nullcontext():
            if using is None:
                sent = get_connection().send_messages(messages)
            else:
                sent = sum(message.send(using=using) for message in messages)
            if rollback:
                transaction.set_rollback(True)
    finally:
        _set_clock(0, real)
    return int(sent)


def states(prefix: str) -> list[tuple[str, str, int]]:
    """Subject, state and number of attempts of each entry."""
    from django.db.models import Count

    from wagtail_smtp.models import LogEntry

    found = LogEntry.objects.filter(subject__startswith=prefix).annotate(n=Count("attempts"))
    return list(found.values_list("subject", "state", "n"))


def rows(prefix: str) -> list[tuple[str, str, int]]:
    """Subject, state and attempts of what is in the outbox."""
    from wagtail_smtp.models import OutboxMessage

    found = OutboxMessage.objects.filter(entry__subject__startswith=prefix)
    return list(found.values_list("entry__subject", "state", "attempts"))


def until_empty(prefix: str, timeout: float) -> list[tuple[str, str, int]]:
    """What is still in the outbox when it is empty, or the time is over."""
    from django.db import connections

    # The server may have been restarted.
    connections.close_all()
    deadline = time.monotonic() + timeout
    while (left := rows(prefix)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def tasks() -> list[tuple[str, str]]:
    """Status and arguments of the tasks in the database."""
    from django_tasks_db.models import DBTaskResult

    found = DBTaskResult.objects.order_by("enqueued_at")
    return [(str(task.status), json.dumps(task.args_kwargs)) for task in found]


def terminate_backends() -> int:
    """Kill all other connections to the PostgreSQL database."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(cursor.fetchall())


def overdue(skew: float = 0) -> tuple[float, list[str]]:
    """For how many seconds the oldest message is due, and the alarms about the outbox.

    Args:
        skew: seconds that this process's clock is off.
    """
    from wagtail_smtp.diagnostics.status import status

    real = _set_clock(skew)
    try:
        told = status()
    finally:
        _set_clock(0, real)
    return told.overdue, [alarm for alarm in told.alarms if "overdue" in alarm]


def since_entry() -> tuple[float, float]:
    """Seconds between the time of the only entry and when its message was due and claimed.

    Django writes the first, the database's clock the others, by an expression and by SQL.
    """
    from wagtail_smtp.conf import conf
    from wagtail_smtp.models import OutboxMessage
    from wagtail_smtp.outbox.claims import release
    from wagtail_smtp.outbox.outcomes import write_and_claim

    token = uuid.uuid4()
    write_and_claim(token, (), 1)
    row = OutboxMessage.objects.select_related("entry").get()
    release(token)
    assert row.lease_until is not None
    claimed_at = row.lease_until - timedelta(seconds=conf.OUTBOX_LEASE)
    began = row.entry.created_at
    return (row.due_at - began).total_seconds(), (claimed_at - began).total_seconds()


def age(seconds: float) -> None:
    """Let what is in the outbox be due for longer."""
    from django.db.models import F

    from wagtail_smtp.models import OutboxMessage

    OutboxMessage.objects.update(due_at=F("due_at") - timedelta(seconds=seconds))


def drain() -> tuple[int, float]:
    """Deliver what is due with the threads of ``smtp_outbox --once``; how many, and seconds."""
    from wagtail_smtp.outbox.worker import WorkerPool

    began = time.monotonic()
    return WorkerPool(4).drain(), time.monotonic() - began


def reserve_at_once(threads: int, limit: int) -> int:
    """How many recipients threads could reserve together before each was refused."""
    from django.db import connection

    from wagtail_smtp.config.limits import Limits
    from wagtail_smtp.live import usage

    key = str(uuid.uuid4())
    granted: list[usage.Reservation] = []

    def run() -> None:
        try:
            while True:
                found = usage.reserve(key, Limits(hour=limit), 1, 1, 0, takes_turn=False)
                if not isinstance(found, usage.Reservation):
                    return
                granted.append(found)
                usage.end(found, 1)
        finally:
            connection.close()

    running = [threading.Thread(target=run) for _number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    return len(granted)


def erase(addresses: list[str], address: str) -> list[str]:
    """Log messages to some, and erase one of them; who is left."""
    from wagtail_smtp.maintenance.erase import Erasure
    from wagtail_smtp.models import LogEntry, LogRecipient

    for each in addresses:
        entry = LogEntry.objects.create(state="sent", category="other")
        LogRecipient.objects.create(entry=entry, address=each, domain="example.org", state="sent")
    Erasure(address).run()
    return list(
        LogRecipient.objects.filter(address__contains="@").values_list("address", flat=True)
    )


_held: list[Any] = []


def hold(subject: str) -> None:
    """Queue a message in a transaction that stays open until :func:`let_go`."""
    from django.core.mail import send_mail
    from django.db import connection, transaction

    begun, done = threading.Event(), threading.Event()

    def run() -> None:
        with transaction.atomic():
            send_mail(subject, "Body", None, ["someone@example.org"])
            begun.set()
            done.wait(30)
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(10)
    _held.append((thread, done))


def let_go() -> None:
    """Commit it."""
    thread, done = _held.pop()
    done.set()
    thread.join(10)


def meet() -> list[str]:
    """Two transactions that wait for each other, each by the plugin's own way; what came of it."""
    from django.db import connection

    from wagtail_smtp.live.db import retry
    from wagtail_smtp.models import LogEntry

    keys = [LogEntry.objects.create(state="sent", category="other").pk for _ in range(2)]
    met = threading.Barrier(2)
    told: list[str] = []

    def run(first: int, second: int) -> None:
        tries: list[int] = []

        @retry.in_transaction
        def work() -> None:
            tries.append(1)
            LogEntry.objects.filter(pk=first).update(subject="first")
            if len(tries) == 1:
                met.wait(10)
            LogEntry.objects.filter(pk=second).update(subject="second")

        try:
            work()
            told.append(f"done at {len(tries)}")
        except Exception as error:
            told.append(repr(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=order) for order in (keys, keys[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return sorted(told)


# Workers

_children: dict[int, tuple[int, int]] = {}


def fork_worker(pause: str = "", window: int = 0, skew: float = 0, **conf: Any) -> int:
    """Start ``smtp_outbox --work`` in a child.

    Args:
        pause: where it waits: ``claimed``, ``sending``, ``answered`` or ``settled``.
        window: of how many messages the window is in which it waits; 0 for the first. Windows
            grow then however slowly the messages are sent.
        skew: seconds that its clock is off.
    """
    from django.db import connections

    connections.close_all()
    told, tell = os.pipe()
    ask, go = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        os.close(ask)
        _children[pid] = (told, go)
        return pid
    try:
        os.dup2(2, 1)
        _work(pause, window, skew, conf, lambda: (os.write(tell, b"."), os.read(ask, 1)))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def supervise_failing(fails: str) -> str:
    """Supervise two worker processes; how that ended.

    Args:
        fails: ``worker``, or ``supervisor`` while it handles the death of a worker.
    """
    import multiprocessing

    from wagtail_smtp.outbox.processes import Supervisor
    from wagtail_smtp.outbox.worker import WorkerPool

    work = WorkerPool.work
    mine, other = os.pipe()
    os.write(other, b"1")
    os.set_blocking(mine, False)

    def work_(pool: WorkerPool) -> None:
        try:
            os.read(mine, 1)
        except BlockingIOError:  # another worker has read it
            work(pool)
        else:
            if fails == "supervisor":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("It fails.")

    def put_back(*_args: Any) -> None:
        raise RuntimeError("The supervisor fails.")

    original = Supervisor._put_back
    WorkerPool.work = work_  # type: ignore[method-assign]
    Supervisor._put_back = put_back  # type: ignore[method-assign]
    try:
        Supervisor(2, 1).work()
    except (ChildProcessError, RuntimeError) as error:
        for child in multiprocessing.active_children():
            child.join(10)
        assert not multiprocessing.active_children()
        return str(error)
    finally:
        WorkerPool.work = work  # type: ignore[method-assign]
        Supervisor._put_back = original  # type: ignore[method-assign]
    return ""


def _work(
    pause: str, window: int, skew: float, conf: dict[str, Any], wait: Callable[[], object]
) -> None:
    from django.conf import settings
    from django.core.management import call_command

    from wagtail_smtp.outbox import claims, outcomes
    from wagtail_smtp.outbox import worker as outbox_worker

    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | conf
    _set_clock(skew)
    claim, send = claims.claim, outbox_worker.Worker._send
    statements = outcomes.statements
    waited: list[bool] = []
    if window:
        outbox_worker._SECONDS_OF_WINDOW = 60

    def once(here: str, messages: Any) -> None:
        is_due = len(messages) == window if window else messages
        if pause == here and is_due and not waited:
            waited.append(True)
            wait()

    def claim_(limit: int, *more: Any) -> None:
        claim(limit, *more)
        once("claimed", range(limit))

    def send_(worker: Any, sending: Any, *more: Any) -> None:
        once("sending", sending)
        send(worker, sending, *more)

    def statements_(results: Any) -> Any:
        once("answered", results)
        made = statements(results)
        once("settled", results)
        return made

    claims.claim, outcomes.statements = claim_, statements_
    outbox_worker.Worker._send = send_  # type: ignore[method-assign]
    call_command("smtp_outbox", work=True, processes=1, threads=1)


def _set_clock(skew: float, now: Callable[[], datetime] | None = None) -> Callable[[], datetime]:
    """Let Django's clock be off in this process; returns what it was."""
    from django.db.models import DateTimeField
    from django.utils import timezone

    from wagtail_smtp import models

    before = timezone.now
    real = now or before
    replaced = real if not skew else (lambda: real() + timedelta(seconds=skew))
    for model in (models.LogEntry, models.LogRecipient, models.OutboxMessage, models.StoredMessage):
        for field in model._meta.get_fields():
            if isinstance(field, DateTimeField) and field.default is before:
                field.default = replaced
                field.__dict__.pop("_get_default", None)
    timezone.now = replaced
    return real


def until_paused(pid: int, timeout: float) -> bool:
    """Whether the worker has come to where it waits."""
    told = _children[pid][0]
    return bool(select.select([told], [], [], timeout)[0]) and os.read(told, 1) == b"."


def resume(pid: int) -> None:
    """Let it go on."""
    os.write(_children[pid][1], b".")


def end(pid: int, by: int = signal.SIGTERM) -> int:
    """Send a worker a signal and wait for its end; returns its status, or the signal below 0."""
    os.kill(pid, by)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for descriptor in _children.pop(pid):
        os.close(descriptor)
    return status


def end_all() -> None:
    """Kill all workers there are."""
    for pid in list(_children):
        end(pid, signal.SIGKILL)


def reset() -> None:
    """Kill all workers, and leave the next test an empty outbox.

    What they told ADMINS waits there too, and would take a place in the next one's window.
    """
    from django.db import connections

    from wagtail_smtp.models import OutboxMessage

    end_all()
    connections.close_all()
    OutboxMessage.objects.all().delete()


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
    end_all()
