"""Many threads of one process that send at once, each as fast as it can."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from django.core.signals import request_started

from benchmarks import plugin
from benchmarks.contenders import KEPT, OURS, STOCK, Kept, Stock
from benchmarks.measure import Action, Sample
from benchmarks.messages import small
from benchmarks.plugin import database_name
from benchmarks.report import Goal, Row, Table, rows
from benchmarks.services import Around

SLICES = 5
#: Seconds of a slice by the number of threads: stock needs one for a message with 32.
SECONDS = {8: 1.0, 32: 2.0}
KEPT_PER_THREAD = f"{KEPT} per thread"


@dataclass
class Crew:
    """Threads that send with the same contender, and what came of it."""

    name: str
    send: Action
    size: int
    rates: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.executor = ThreadPoolExecutor(self.size, initializer=_as_in_a_request)
        self._barrier = threading.Barrier(self.size)

    def slice(self, seconds: float, *, counts: bool) -> None:
        """All threads send for so long."""
        jobs = [self.executor.submit(self._work, seconds) for _ in range(self.size)]
        parts = [job.result() for job in jobs]
        if counts:
            began, ended = min(part[0] for part in parts), max(part[1] for part in parts)
            times = [taken for part in parts for taken in part[2]]
            self.rates.append(len(times) / (ended - began))
            self.times += times

    def _work(self, seconds: float) -> tuple[float, float, list[float]]:
        self._barrier.wait()  # so each thread has one job
        began = now = time.perf_counter()
        times = []
        while now - began < seconds:
            self.send()
            times.append(time.perf_counter() - now)
            now = time.perf_counter()
        return began, now, times


class PerThread:
    """A connection kept for each thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()

    def __call__(self) -> None:
        if not hasattr(self._local, "kept"):
            self._local.kept = Kept(self._port, "starttls", small)
        self._local.kept()


def measure(around: Around) -> Iterator[Table]:
    """A table for each number of threads."""
    for size in SECONDS:
        port = around.loopback["starttls"]
        plugin.use(around, [port])
        yield from _tables(
            [
                Crew(STOCK, Stock(port, "starttls", small), size),
                Crew(KEPT_PER_THREAD, PerThread(port), size),
                Crew(OURS, plugin.Ours(small), size),
            ],
            size,
        )


def _tables(crews: list[Crew], size: int) -> Iterator[Table]:
    with ExitStack() as stack:
        for crew in crews:
            stack.enter_context(crew.executor)
            crew.slice(0.3, counts=False)
        for _ in range(SLICES):
            for crew in crews:
                crew.slice(SECONDS[size], counts=True)
    where = f"{size} threads of one process, 2 KB, STARTTLS and AUTH, loopback, {database_name()}"
    note = f"{SLICES} slices of {SECONDS[size]:g} s each in turn; wagtail-smtp on 8 sessions"
    table = Table(
        f"{where}: messages a second",
        "msg/s",
        tuple(Row(crew.name, median(crew.rates)) for crew in crews),
        base=STOCK,
        more_is_better=True,
        note=note,
    )
    factor = table.times_better(OURS, KEPT_PER_THREAD)
    goal = Goal(f"against {KEPT_PER_THREAD}", factor, 1.3, at_least=True)
    yield table.with_goals(goal) if size == 8 else table
    samples = {crew.name: Sample(crew.name, tuple(crew.times)) for crew in crews}
    ours = samples[OURS]
    goal = Goal("slowest 1 % against the median", ours.p99 / ours.median, 5)
    times = Table(f"{where}: a message", "ms", rows(samples.values()), base=STOCK, note=note)
    yield times.with_goals(goal) if size == 32 else times


def _as_in_a_request() -> None:
    # Django's connections stay open in threads that serve requests.
    request_started.send(sender=None)
