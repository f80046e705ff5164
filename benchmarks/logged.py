"""Messages sent at once that also leave an entry in a log: the plugin and its peers."""

from collections.abc import Iterator

from django.conf import settings
from django.core.mail import get_connection

from benchmarks import plugin
from benchmarks.contenders import KEPT, STOCK, Kept, Stock
from benchmarks.measure import Action, Contender, interleaved
from benchmarks.messages import small
from benchmarks.plugin import database_name
from benchmarks.report import Table, rows
from benchmarks.services import Around

ROUNDS = 400
OURS = "wagtail-smtp"
POST_OFFICE = "django-post-office, priority now"


def measure(around: Around) -> Iterator[Table]:
    """One table, of the database that this process uses."""
    port = around.loopback["none"]
    plugin.use(around, [port], "none")
    settings.POST_OFFICE["DEFAULT_PRIORITY"] = "now"
    kept = Kept(port, "none", small)
    contenders = [
        Contender(f"{STOCK}, no log", Stock(port, "none", small)),
        Contender(f"{KEPT}, no log", kept),
        Contender(POST_OFFICE, _post_office()),
        Contender(OURS, plugin.Ours(small)),
    ]
    try:
        samples = interleaved(contenders, ROUNDS)
    finally:
        kept.close()
    yield Table(
        f"One message and its log entry, 2 KB, plain text and AUTH, loopback, {database_name()}",
        "ms",
        rows(samples.values()),
        base=POST_OFFICE,
        note=f"{ROUNDS} rounds",
    )


def _post_office() -> Action:
    from post_office.models import STATUS, Email

    def send() -> None:
        assert get_connection("post_office.EmailBackend").send_messages([small(None)]) == 1

    send()
    assert Email.objects.get().status == STATUS.sent
    return send
