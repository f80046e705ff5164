"""A queue of mail that waits: how fast its command sends it, with all processes and with one."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from benchmarks import plugin
from benchmarks.plugin import database_name
from benchmarks.queues import (
    MAILER,
    OURS,
    POST_OFFICE,
    Celery,
    Mailer,
    Outbox,
    PostOffice,
    Queue,
    Statements,
)
from benchmarks.report import Goal, Row, Table
from benchmarks.services import Around

ROUNDS = 3
COUNT = 2000
#: Those that need three to ten times as long get fewer.
FEWER = 100
#: Messages at a 20 ms round trip.
DELAYED = 200
#: Messages of the round in which statements are counted.
COUNTED = 300


def measure(around: Around) -> Iterator[Table]:
    """Rates, processor time and statements on loopback, then rates at a round trip."""
    plugin.use(around, [around.loopback["none"]], "none")
    outbox, post_office, mailer = Outbox(), PostOffice(), Mailer()
    single = Outbox(processes=1, threads=1)
    # Of threads beside the first nothing is counted.
    statements = [Row(queue.name, _statements(queue)) for queue in (single, post_office, mailer)]
    counts: dict[Queue, int] = {outbox: COUNT, single: COUNT, post_office: COUNT, mailer: FEWER}
    celery = Celery()
    celery.fill(COUNTED)
    celery.drain()
    table, processor = _tables(
        "Queue drained, 2 KB, plain text and AUTH, loopback",
        counts | {celery: FEWER},
        f"{ROUNDS} rounds of {COUNT} messages; {MAILER} and {celery.name}, whose broker is in "
        f"memory, {FEWER}",
    )
    factor = table.times_better(OURS, POST_OFFICE)
    yield table.with_goals(Goal(f"against {POST_OFFICE}", factor, 4, at_least=True))
    share = processor.value(single.name) / processor.value(POST_OFFICE)
    # A child's processor time isn't counted.
    rows = tuple(row for row in processor.rows if row.name in (single.name, POST_OFFICE))
    yield replace(processor, rows=rows).with_goals(Goal(f"of {POST_OFFICE}'s", share, 0.4))
    yield Table(f"SQL statements for a message, {database_name()}", "", tuple(statements))

    several: dict[Queue, int] = {
        Outbox(processes=number, threads=1): COUNT for number in (1, 2, 4, 8)
    }
    yield _tables(
        "Outbox drained by several processes, 2 KB, plain text and AUTH, loopback",
        several,
        f"{ROUNDS} rounds of {COUNT} messages",
        base=next(iter(several)).name,
    )[0]

    delayed = around.delayed["none"]
    plugin.use(around, [delayed], "none")
    with plugin.settings_of(EMAIL_PORT=delayed):
        table, _processor = _tables(
            "Queue drained, 2 KB, plain text and AUTH, 20 ms round trip",
            {outbox: DELAYED, single: DELAYED, post_office: DELAYED},
            f"{ROUNDS} rounds of {DELAYED} messages",
        )
    factor = table.times_better(OURS, POST_OFFICE)
    yield table.with_goals(Goal(f"against {POST_OFFICE}", factor, 2.5, at_least=True))


def _tables(
    title: str, counts: dict[Queue, int], note: str, base: str = POST_OFFICE
) -> tuple[Table, Table]:
    """Messages a second of each queue, and the processor time of a message in this process."""
    by_chance = random.Random(1)
    order = list(counts)
    rates: dict[Queue, list[float]] = {queue: [] for queue in counts}
    processor: dict[Queue, list[float]] = {queue: [] for queue in counts}
    for _ in range(ROUNDS):
        by_chance.shuffle(order)
        for queue in order:
            queue.fill(counts[queue])
            before = time.process_time()
            rates[queue].append(counts[queue] / _drained(queue, counts[queue]))
            processor[queue].append((time.process_time() - before) / counts[queue] * 1e6)
    title = f"{title}, {database_name()}"
    return (
        Table(
            f"{title}: messages a second",
            "msg/s",
            tuple(Row(queue.name, median(rates[queue])) for queue in counts),
            base=base,
            more_is_better=True,
            note=note,
        ),
        Table(
            f"{title}: processor time for a message",
            "µs",
            tuple(Row(queue.name, median(processor[queue])) for queue in counts),
            base=base,
        ),
    )


def _drained(queue: Queue, count: int) -> float:
    """Seconds in which it was drained."""
    began = time.perf_counter()
    own = queue.drain()
    taken = time.perf_counter() - began
    assert queue.sent() == count, f"{queue.name} sent {queue.sent()} of {count}"
    return own or taken


def _statements(queue: Queue) -> float:
    queue.fill(COUNTED)
    with Statements() as statements:
        _drained(queue, COUNTED)
    return statements.count / COUNTED
