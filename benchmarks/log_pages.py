"""A long delivery log: each page beside Wagtail's emptiest, and messages while it is pruned."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from benchmarks import long_log, plugin
from benchmarks.measure import Action, Contender, Sample, interleaved
from benchmarks.messages import small
from benchmarks.pages import beside_the_emptiest, get
from benchmarks.plugin import database_name
from benchmarks.report import Goal, Table, rows
from benchmarks.services import KEEP_LOG_DAYS, LOG_ENTRIES, Around

#: Rounds with the plain listings, which take seconds each, and the longest log for them.
PLAIN_ROUNDS, PLAIN_ENTRIES = 5, 1_000_000
#: Milliseconds that a message may take while pruning.
BLOCKED = 50
#: Seconds of messages, each with and without pruning.
SECONDS = 20
OURS = "wagtail-smtp"
PLAIN = "Django's admin: exact count, offset, icontains"
WAGTAIL = "Wagtail's generic listing: the same"


def _days_ago(days: int) -> str:
    return (timezone.now() - timedelta(days=days)).date().isoformat()


def _pages() -> dict[str, str]:
    """The pages of the log by what they show: paths below its own."""
    old = _days_ago(80)
    return {
        "the newest entries": "",
        "the last page of 1,000": "?p=40",
        "a common state": "?state=sent",
        "a rare state": "?state=failed",
        "a state without entries": "?state=blocked",
        "a category": "?category=security",
        "sent through standard delivery": "?via=standard",
        "tracking": "?reported=bounced",
        "two filters without an entry in common": "?state=failed&category=security",
        "a day 80 days ago": f"?created_at_from={old}&created_at_to={old}",
        "an address": f"?recipient={long_log.RECIPIENT}",
        "a domain of two fifths": f"?recipient={long_log.COMMON}",
        "a domain and a state": f"?recipient={long_log.COMMON}&state=failed",
        "part of an address, of one entry": f"?recipient={long_log.PART}",
        "the same in 90 days": f"?recipient={long_log.PART}&created_at_from={_days_ago(90)}",
        "part of an address, of none": "?recipient=nowhere",
        "a common word": "?q=registration",
        "a word that no entry has": "?q=nowhere",
        "the same and a state": "?q=nowhere&state=failed",
        "before an export": "export/",
        "before an export of a search": "export/?q=nowhere",
    }


@dataclass(frozen=True)
class Page:
    """The same question asked of several listings; ``shows`` is what the answer has."""

    title: str
    ours: str
    plain: str
    wagtail: str | None = None
    site: str = "plain"
    shows: str = "Your registration"


PLAIN_PAGES = (
    Page("the newest entries", "", "", ""),
    Page("filter by state", "?state=failed", "?state__exact=failed", "?state=failed"),
    Page(
        "filter by recipient",
        f"?recipient={long_log.RECIPIENT}",
        f"?q={long_log.RECIPIENT}",
        site="plain_recipients",
    ),
)


def measure(around: Around) -> Iterator[Table]:
    """The tables of the database that this process uses, and of one length of the log."""
    count = int(os.environ[LOG_ENTRIES])
    long_log.write(count)
    name = f"Delivery log, {count:,} entries, {database_name()}"
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    index = reverse("wagtail_smtp_log:index")
    yield beside_the_emptiest(client, name, index, _pages())
    if count <= PLAIN_ENTRIES:
        for page in PLAIN_PAGES:
            yield _beside_plain(client, page, name)
    yield _while_pruning(around, name)


def _beside_plain(client: Client, page: Page, name: str) -> Table:
    ours = reverse("wagtail_smtp_log:index") + page.ours
    plain = reverse(f"{page.site}:wagtail_smtp_logentry_changelist") + page.plain
    contenders = [
        Contender(PLAIN, get(client, plain, page.shows)),
        Contender(OURS, get(client, ours, page.shows)),
    ]
    if page.wagtail is not None:
        theirs = reverse("plain_wagtail") + page.wagtail
        contenders.append(Contender(WAGTAIL, get(client, theirs, page.shows)))
    samples = interleaved(contenders, PLAIN_ROUNDS)
    note = f"{PLAIN_ROUNDS} rounds, the whole page"
    return Table(f"{name}, {page.title}", "ms", rows(samples.values()), base=PLAIN, note=note)


def _while_pruning(around: Around, name: str) -> Table:
    """Messages one after the other, without and with a command that prunes nearly all entries."""
    plugin.use(around, [around.loopback["none"]], "none")
    send = plugin.Ours(small)
    send()
    alone = _messages("alone", send, SECONDS)
    command = [sys.executable, "-m", "django", "smtp_prune"]
    with subprocess.Popen(
        command, env=os.environ | {KEEP_LOG_DAYS: "1"}, stdout=subprocess.DEVNULL
    ) as pruning:
        pruned = _messages("while smtp_prune runs", send, SECONDS, pruning)
        pruning.terminate()
    table = Table(
        f"{name}, one message after the other",
        "ms",
        rows([alone, pruned]),
        note=f"{len(alone.times):,} and {len(pruned.times):,} messages",
    )
    return table.with_goals(
        Goal("longest while pruning", table.rows[1].most or 0, BLOCKED, unit=" ms")
    )


def _messages(
    name: str, send: Action, seconds: float, during: "subprocess.Popen[bytes] | None" = None
) -> Sample:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end and (during is None or during.poll() is None):
        send()
        times.append(time.perf_counter() - began)
        time.sleep(0.005)
    return Sample(name, tuple(times))
