"""What can deliver the outbox, with several processes: its own command, and Django Tasks."""

import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from benchmarks import plugin
from benchmarks.report import Row, Table
from benchmarks.services import Around
from benchmarks.task_systems import Requests, System, Workers, systems
from tests.support.servers.redis_server import RedisServer

ROUNDS = 3
PROCESSES = (1, 2, 4, 8)
COUNT = 500
#: Messages sent one by one to idle workers in each run.
LONE = 1
#: Seconds after which each worker has looked for work again: OUTBOX_POLL, and some more.
_POLL = 6
#: Seconds in which tasks are counted that find nothing to send.
_SECONDS = 10


@dataclass(frozen=True)
class Run:
    """What one run came to, in messages or tasks a second and in seconds."""

    name: str
    processes: int
    messages: float
    processor_of_message: float
    queued: list[float]
    waited: list[float]
    tasks: float = 0
    processor_of_task: float = 0


def measure(around: Around) -> Iterator[Table]:
    """Rates for each number of processes, then what a request and a message wait for."""
    redis = shutil.which("redis-server")
    if redis is None:
        print("workers: skipped, no redis-server here", file=sys.stderr)
        return
    plugin.use(around, [around.loopback["none"]], "none")
    by_chance = random.Random(1)
    runs = []
    with ExitStack() as stack:
        found = systems(stack.enter_context(RedisServer(redis)).port)
        requests = {system.name: stack.enter_context(Requests(system)) for system in found}
        order = [(system, number) for system in found for number in PROCESSES]
        for _ in range(ROUNDS):
            for system, number in by_chance.sample(order, len(order)):
                runs.append(_run(system, number, requests[system.name], by_chance))
    yield _rates(runs, "messages", lambda run: run.messages)
    with_tasks = [run for run in runs if run.tasks]
    yield _rates(with_tasks, "tasks that find nothing to send", lambda run: run.tasks)
    yield _times(runs, "Processor time to send a message", lambda run: [run.processor_of_message])
    yield _times(
        with_tasks, "Processor time of a task without mail", lambda run: [run.processor_of_task]
    )
    yield _times(runs, "Time to queue a message and its task", lambda run: run.queued)
    yield _times(runs, "Time until an idle worker has sent a message", lambda run: run.waited)


def _run(system: System, processes: int, requests: Requests, by_chance: random.Random) -> Run:
    """Messages one by one, then many that were queued while all workers were suspended."""
    from wagtail_smtp.models import LogEntry, OutboxMessage

    LogEntry.objects.all().delete()
    system.forget()

    def until(is_so: Callable[[], bool], pause: float = 0.02, seconds: float = 300) -> float:
        while not is_so() and time.perf_counter() < began + seconds:
            # Looking costs processor time too.
            time.sleep(pause)
        return time.perf_counter() - began

    def is_empty() -> bool:
        return not OutboxMessage.objects.exists()

    waited = []
    with Workers(system, processes) as workers:
        for _ in range(LONE):
            time.sleep(by_chance.uniform(0, _POLL))
            began = time.perf_counter()
            requests.queue(1)
            waited.append(until(is_empty, 0.002))
            until(lambda: not system.left())
        workers.signal(signal.SIGSTOP)
        queued = requests.queue(COUNT)
        # Then no worker sleeps any longer when it goes on.
        time.sleep(_POLL)
        workers.signal(signal.SIGCONT)
        began, used = time.perf_counter(), workers.processor_time()
        rate = COUNT / until(is_empty)
        processor = (workers.processor_time() - used) / COUNT
        run = Run(system.name, processes, rate, processor, queued, waited)
        if left := system.left():
            began, used = time.perf_counter(), workers.processor_time()
            seconds = until(lambda: not system.left(), seconds=_SECONDS)
            done = left - system.left()
            processor = (workers.processor_time() - used) / done
            run = replace(run, tasks=done / seconds, processor_of_task=processor)
    sent = LogEntry.objects.filter(state="sent").count()
    assert sent == LONE + COUNT, f"{system.name} sent {sent}"
    return run


def _rates(runs: list[Run], what: str, value: Callable[[Run], float]) -> Table:
    found: dict[str, list[float]] = {}
    for run in sorted(runs, key=lambda run: (run.name, run.processes)):
        found.setdefault(f"{run.name}, {run.processes}", []).append(value(run))
    rows = tuple(Row(name, median(values)) for name, values in found.items())
    return Table(
        f"Workers by number of processes, 2 KB, plain text and AUTH, loopback, "
        f"{plugin.database_name()}: {what} a second",
        f"{what.split()[0]}/s",
        rows,
        base="django-tasks-db, 1",
        more_is_better=True,
        note=f"{ROUNDS} rounds of {COUNT} messages, each queued in a transaction of its own",
    )


def _times(runs: list[Run], title: str, values: Callable[[Run], list[float]]) -> Table:
    found: dict[str, list[float]] = {}
    for run in sorted(runs, key=lambda run: run.name):
        found.setdefault(run.name, []).extend(value * 1000 for value in values(run))
    rows = tuple(Row(name, median(times), most=max(times)) for name, times in found.items())
    return Table(f"{title}, {plugin.database_name()}", "ms", rows)
