"""What the plugin does for a message beside writing it down and sending it."""

import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

from django.core.mail import EmailMessage, get_connection
from django.db import connection, transaction

from benchmarks import plugin
from benchmarks.measure import Action, Contender, interleaved
from benchmarks.messages import small
from benchmarks.plugin import database_name
from benchmarks.report import Goal, Row, Table, rows
from benchmarks.services import USERNAME, Around

ROUNDS = 1000
#: Milliseconds by Django's name of the database.
GOALS = {"sqlite": 0.6, "postgresql": 1.0}

WHOLE = "backend.send_messages()"
BARE = "the transport's send alone"
CHECK = "the version check alone"
ENTRY = "the log entry alone"


def measure(around: Around) -> Iterator[Table]:
    """Two tables of the database that this process uses.

    Inside a transaction SQLite's entry is written into that. On other databases it is
    written by a thread of its own, on a second connection.
    """
    plugin.use(around, [around.loopback["none"]], "none")
    contenders = _contenders(small(None))
    for is_inside in (False, True):
        with transaction.atomic() if is_inside else nullcontext():
            yield _table(contenders, is_inside)


def _table(contenders: list[Contender], is_inside: bool) -> Table:
    samples = interleaved(contenders, ROUNDS, warm=50)
    own = (samples[WHOLE].median - samples[BARE].median) * 1000
    where = "in a transaction of the caller's" if is_inside else "outside any transaction"
    return Table(
        f"Own work for a message, {database_name()}, {where}",
        "ms",
        (*rows(samples.values()), Row("own work: the difference of the first two", own)),
        note=f"{ROUNDS} rounds, 2 KB, plain text, loopback",
        goals=(Goal("own work", own, GOALS[connection.vendor], unit=" ms"),),
    )


def _contenders(message: EmailMessage) -> list[Contender]:
    from wagtail_smtp.live import current

    return [
        Contender(WHOLE, lambda: get_connection().send_messages([message])),
        Contender(BARE, _bare(message)),
        Contender(CHECK, current),
        Contender(ENTRY, _entry(message)),
    ]


def _bare(message: EmailMessage) -> Action:
    """What sends the message through the live transport and does nothing else."""
    from wagtail_smtp.delivery.outgoing import build_outgoing, prepare
    from wagtail_smtp.live import current
    from wagtail_smtp.transports.base import OutgoingMessage

    live = current()
    item = live.configuration.sets[0]
    transport = live.transport(item)
    outgoing = build_outgoing(prepare(message), item, transport, None, username=USERNAME)
    message, envelope = outgoing.message, outgoing.envelope
    return lambda: transport.send(OutgoingMessage(message, envelope), 60)


def _entry(message: EmailMessage) -> Action:
    """What writes the entry of the message, which was sent before."""
    from wagtail_smtp.delivery.log import entries
    from wagtail_smtp.delivery.pipeline import DeliveryPipeline

    line = DeliveryPipeline()
    passage = line.try_deliver(message, line.classify(message))
    assert passage.outcome is not None
    # Each entry has a key of its own.
    return lambda: entries.record(replace(passage, key=uuid.uuid4()))
