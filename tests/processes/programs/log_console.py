"""A process that sends while its transaction, its connections or its threads are in trouble."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import django

from tests.processes.programs.console import _warnings, make_sets, migrate
from tests.processes.programs.outbox_console import OutboxConsole, rows, states, until_empty

__all__ = ["LogConsole", "make_sets", "migrate", "rows", "states", "until_empty"]


class LogConsole(OutboxConsole):
    """Runs the functions of this module's lower half in a process of their own."""

    def __enter__(self) -> "LogConsole":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.programs.log_console"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self


def _send(subject: str) -> None:
    from django.core.mail import send_mail

    send_mail(subject, "Body", None, ["someone@example.org"])


def send(subject: str) -> list[str]:
    """Send and return the warnings that were logged."""
    return _warnings(lambda: _send(subject))


def send_in_transaction(subject: str, statement: str = "", rollback: bool = True) -> list[Any]:
    """Send after a statement in a transaction; returns seconds and warnings."""
    from django.db import connection, transaction

    with transaction.atomic():
        if statement:
            connection.cursor().execute(statement)
        began = time.monotonic()
        warnings = _warnings(lambda: _send(subject))
        took = time.monotonic() - began
        transaction.set_rollback(rollback)
    return [took, warnings]


def send_in_savepoint(subject: str) -> None:
    """Send in a savepoint that is rolled back, in a transaction that isn't."""
    from django.db import transaction

    from wagtail_smtp.models import SettingsSet

    with transaction.atomic():
        SettingsSet.objects.update(timeout=5)
        with transaction.atomic():
            _send(subject)
            transaction.set_rollback(True)
        SettingsSet.objects.update(timeout=6)


def send_in_broken_transaction(subject: str) -> list[str]:
    """Send when the transaction can only be rolled back; the warnings that were logged."""
    from django.db import transaction

    from wagtail_smtp.models import SettingsSet

    with transaction.atomic():
        list(SettingsSet.objects.all())
        transaction.set_rollback(True)
        return _warnings(lambda: _send(subject))


def send_from_readers(subject: str, thread_count: int, each: int) -> None:
    """Send from threads, in transactions that have read before."""
    from django.db import connection, transaction

    from wagtail_smtp.models import SettingsSet

    def read_and_send(thread: int) -> None:
        for number in range(each):
            with transaction.atomic():
                list(SettingsSet.objects.all())
                _send(f"{subject}-{thread}-{number}")
        connection.close()

    running = [threading.Thread(target=read_and_send, args=(n,)) for n in range(thread_count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def send_and_exit(subject: str) -> None:
    """Send in a child process that ends after a rollback."""
    code = f"""
import django; django.setup()
from tests.processes.programs import log_console
log_console.send_in_transaction({subject!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def send_after_fork(subject: str) -> int:
    """Send in a child, whose parent has a side connection, and then in the parent."""
    send_in_transaction(f"{subject}-before")
    pid = os.fork()
    if not pid:
        try:
            send_in_transaction(f"{subject}-child")
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    send_in_transaction(f"{subject}-after")
    return status


def send_from_threads(subject: str, count: int) -> None:
    """Each in a transaction that is rolled back."""
    threads = [
        threading.Thread(target=send_in_transaction, args=(f"{subject}-{number}",))
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def send_on_loop(subject: str) -> list[str]:
    """From a coroutine, as an async view does."""

    async def view() -> list[str]:
        return _warnings(lambda: _send(subject))

    return asyncio.run(view())


def timeouts(count: int) -> list[list[str]]:
    """What bounds statements in so many sessions of the database at the same time."""
    from django.db import connection, transaction

    together = threading.Barrier(count, timeout=20)
    found: list[list[str]] = []

    def look() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_backend_pid(), current_setting('statement_timeout'), "
                "current_setting('lock_timeout')"
            )
            found.append([str(value) for value in cursor.fetchone()])
            together.wait()
        connection.close()

    connection.close()
    running = [threading.Thread(target=look) for _ in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return found


def connections_when_idle(idle: float) -> list[int]:
    """How many connections the database counts after a send beside a transaction, and later."""
    from django.db import connection

    from wagtail_smtp.live.db import autonomous

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
            return int(cursor.fetchone()[0])

    autonomous._IDLE = idle  # type: ignore[assignment]
    counts = [count()]
    send_in_transaction("idle")
    counts.append(count())
    deadline = time.monotonic() + 10
    while count() > counts[0] and time.monotonic() < deadline:
        time.sleep(0.1)
    return [*counts, count()]


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
