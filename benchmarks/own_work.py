"""What the plugin does for a message beside writing it down and sending it."""

from collections.abc import Iterator

from django.core.mail import EmailMessage, get_connection
from django.db import connection

from benchmarks import plugin
from benchmarks.measure import Action, Contender, interleaved
from benchmarks.messages import small
from benchmarks.report import Goal, Row, Table, rows
from benchmarks.services import USERNAME, Around

ROUNDS = 1000
#: Milliseconds by Django's name of the database.
GOALS = {"sqlite": 0.6, "postgresql": 1.5}

WHOLE = "backend.send_messages()"
BARE = "the transport's send alone"
CHECK = "the version check alone"


def measure(around: Around) -> Iterator[Table]:
    """One table, of the database that this process uses."""
    from wagtail_smtp.live import current

    plugin.use(around, [around.loopback["none"]], "none")
    message = small(None)
    contenders = [
        Contender(WHOLE, lambda: get_connection().send_messages([message])),
        Contender(BARE, _bare(message)),
        Contender(CHECK, current),
    ]
    samples = interleaved(contenders, ROUNDS, warm=50)
    own = (samples[WHOLE].median - samples[BARE].median) * 1000
    yield Table(
        f"Own work for a message, {connection.display_name}, loopback",
        "ms",
        (*rows(samples.values()), Row("own work: the difference of the first two", own)),
        note=f"{ROUNDS} rounds, 2 KB, plain text",
        goals=(Goal("own work", own, GOALS[connection.vendor], unit=" ms"),),
    )


def _bare(message: EmailMessage) -> Action:
    """What sends the message through the live transport and does nothing else."""
    from wagtail_smtp.delivery.shape import prepare, shape
    from wagtail_smtp.live import current
    from wagtail_smtp.transports.base import Letter

    live = current()
    item = live.configuration.sets[0]
    shaped, envelope = shape(prepare(message), item, None, USERNAME)
    transport = live.transport(item)
    return lambda: transport.send(Letter(shaped, envelope), 60)
