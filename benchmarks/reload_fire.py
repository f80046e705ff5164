"""Reloads while processes send without pause: what leaves through an older version?"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import IO

from django.db import connection

from benchmarks import plugin
from benchmarks.report import Goal, Row, Table
from benchmarks.services import Around
from tests.processes.programs.console import switch
from tests.processes.test_reload_promise import Sent, broken_promises

PROCESSES = 8
RELOADS = 20
PAUSE = 0.3


def measure(around: Around) -> Iterator[Table]:
    """One table, of the database that this process uses."""
    for path in around.subjects:
        Path(path).write_bytes(b"")
    plugin.use(around, around.recording)
    reloads: list[tuple[float, float]] = []
    with _senders(Path(around.directory)) as processes:
        for _ in range(RELOADS):
            time.sleep(PAUSE)
            began, ended = switch()
            reloads.append((began, ended))
        time.sleep(PAUSE)
    yield _table(around, _sent(Path(around.directory)), reloads, processes)


@contextmanager
def _senders(directory: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that send until the block ends, when all have sent something."""
    with ExitStack() as stack:
        processes = []
        for number in range(PROCESSES):
            output = stack.enter_context((directory / f"sent-{number}").open("wb"))
            processes.append(stack.enter_context(_sender(number, output)))
        deadline = time.monotonic() + 60
        while not all((directory / f"sent-{n}").stat().st_size for n in range(PROCESSES)):
            assert time.monotonic() < deadline, "not all senders started"
            time.sleep(0.1)
        yield processes


def _sender(number: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.sender", f"sender{number}"]
    # Output is buffered, so the first messages show up in blocks; it is read at the end.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output)


def _sent(directory: Path) -> list[Sent]:
    lines = [
        line
        for number in range(PROCESSES)
        for line in (directory / f"sent-{number}").read_text().splitlines()
    ]
    return [Sent(**json.loads(line)) for line in lines]


def _table(
    around: Around,
    sent: list[Sent],
    reloads: list[tuple[float, float]],
    processes: list[subprocess.Popen[bytes]],
) -> Table:
    arrived = [Path(path).read_text().splitlines() for path in around.subjects]
    count = Counter(arrived[0] + arrived[1])
    arrived_at = {subject: number for number in (0, 1) for subject in arrived[number]}
    lost = [message for message in sent if message.subject not in count]
    here = [message for message in sent if message.subject in count]
    faults = {
        "begun after a reload's answer, left by an older version": len(
            broken_promises(here, arrived_at, reloads)
        ),
        "lost": len(lost),
        "twice": sum(times > 1 for times in count.values()),
        "senders that failed": sum(process.returncode != 0 for process in processes),
    }
    return Table(
        f"{PROCESSES} processes that send without pause, {RELOADS} reloads, "
        f"{connection.display_name}",
        "",
        (
            Row("messages sent", len(sent)),
            Row("sent while a reload was under way", _during(sent, reloads)),
            Row("reload, median ms", median(b - a for a, b in reloads) * 1000),
            *(Row(name, value) for name, value in faults.items()),
        ),
        goals=tuple(Goal(name, value, 0, unit="") for name, value in faults.items()),
    )


def _during(sent: list[Sent], reloads: list[tuple[float, float]]) -> int:
    return sum(
        any(message.began < ended and began < message.ended for began, ended in reloads)
        for message in sent
    )
