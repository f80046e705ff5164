"""Hours in minutes: does a process grow that sends, and one that works at the outbox?

Run as a program, this is the process that sends.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import django
from django.core.mail import get_connection
from django.db import connection

from benchmarks import plugin
from benchmarks.messages import small
from benchmarks.report import Goal, Row, Table
from benchmarks.services import SOAK_SECONDS, Around
from tests.processes.programs.console import switch

THREADS = 4
T = TypeVar("T")

#: Seconds between two messages of a thread; every fifth is queued.
PAUSE = 0.05
QUEUED = 5
#: Seconds between two samples, and samples between two reloads.
INTERVAL = 5
RELOAD_EVERY = 2
#: Per cent by which the memory of a process may grow from the second quarter to the last.
GROWTH = 3
#: And by how many sockets, files, threads or connections: sessions come and go.
MORE = 2


#: The fields of a sample.
NAMES = ("memory, MB", "sockets", "files", "threads")


@dataclass(frozen=True)
class Sample:
    """What a process has at one time; memory in MB."""

    memory: float
    sockets: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Sample":
        """What the system says about a process."""
        process = Path("/proc", str(pid))
        lines = (process / "status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        targets = []
        for file in (process / "fd").iterdir():
            try:
                targets.append(os.readlink(file))
            except FileNotFoundError:  # closed since
                continue
        sockets = sum(target.startswith("socket:") for target in targets)
        memory = int(status["VmRSS"].split()[0]) / 1024
        return cls(memory, sockets, len(targets) - sockets, int(status["Threads"]))


def measure(around: Around) -> Iterator[Table]:
    """One table: what each process has in the second quarter and in the last."""
    seconds = float(os.environ[SOAK_SECONDS])
    plugin.use(around, around.recording)
    commands = {
        "sender": [sys.executable, "-m", "benchmarks.soak"],
        "worker": [sys.executable, "-m", "django", "smtp_outbox", "--work", "--processes=1"],
    }
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    connections: list[float] = []
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(_running(command)) for name, command in commands.items()
        }
        for process in processes.values():
            stack.callback(process.terminate)
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            time.sleep(INTERVAL)
            for name, process in processes.items():
                assert process.poll() is None, f"the {name} has ended"
                samples[name].append(Sample.of(process.pid))
            connections.append(_connections())
            if len(connections) % RELOAD_EVERY == 0:
                switch()
    yield _table(samples, connections, seconds)


def _running(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _connections() -> float:
    """Connections to the database; without a server, none are counted."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return float(cursor.fetchone()[0])


def _table(samples: dict[str, list[Sample]], connections: list[float], seconds: float) -> Table:
    from wagtail_smtp.models import LogEntry

    rows = []
    goals = []
    for name, taken in samples.items():
        early, late = map(_medians, _quarters(taken))
        for what, before, after in zip(NAMES, early, late, strict=True):
            rows += [Row(f"{name}: {what}, early", before), Row(f"{name}: {what}, late", after)]
        growth = (late[0] / early[0] - 1) * 100
        goals.append(Goal(f"{name}: memory grows by", growth, GROWTH, unit=" %"))
        more = max(after - before for before, after in zip(early[1:], late[1:], strict=True))
        goals.append(Goal(f"{name}: more sockets, files or threads", more, MORE, unit=""))
    before, after = map(median, _quarters(connections))
    goals.append(Goal("more database connections", after - before, MORE, unit=""))
    rows += [Row("database connections, early", before), Row("database connections, late", after)]
    rows.append(Row("messages", LogEntry.objects.count()))
    rows.append(Row("of them sent", LogEntry.objects.filter(state="sent").count()))
    note = f"{seconds / 60:.0f} minutes, a reload every {INTERVAL * RELOAD_EVERY} s; medians"
    return Table(
        f"A long run, {plugin.database_name()}", "", tuple(rows), note=note, goals=tuple(goals)
    )


def _quarters(taken: list[T]) -> tuple[list[T], list[T]]:
    """The second quarter, when everything is warm, and the last."""
    quarter = len(taken) // 4
    return taken[quarter : 2 * quarter], taken[-quarter:]


def _medians(taken: list[Sample]) -> list[float]:
    return [median(values) for values in zip(*map(astuple, taken), strict=True)]


def _send(number: int) -> None:
    queue = get_connection(delivery="queued")
    for count in range(number, sys.maxsize):
        message = small(None)
        if count % QUEUED == 0:
            queue.send_messages([message])
        else:
            message.send()
        time.sleep(PAUSE)


if __name__ == "__main__":
    django.setup()
    for number in range(THREADS):
        threading.Thread(target=_send, args=(number,), daemon=True).start()
    threading.Event().wait()
