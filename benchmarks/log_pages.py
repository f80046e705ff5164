"""Pages of a delivery log with a million entries, beside Django's own admin on the same data."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from benchmarks import million
from benchmarks.measure import Action, Contender, interleaved
from benchmarks.report import Goal, Table, rows
from benchmarks.services import Around

ROUNDS = 5
#: Ours of the plain one's time.
PART = 0.125
OURS = "wagtail-smtp"
PLAIN = "Django's admin: exact count, offset, icontains"
EMPTY = "wagtail-smtp, a page without any entry"
WAGTAIL = "Wagtail's generic listing: the same"
FRAME = "Wagtail's listing of its only site: nobody's page costs less"


@dataclass(frozen=True)
class Page:
    """The same question asked of both listings; ``shows`` is what the answer has."""

    title: str
    ours: str
    plain: str
    wagtail: str | None = None
    site: str = "plain"
    shows: str = "Your registration"


PAGES = (
    Page("the newest entries", "", "", ""),
    Page("filter by state", "?state=failed", "?state__exact=failed", "?state=failed"),
    Page(
        "filter by recipient",
        f"?recipient={million.RECIPIENT}",
        f"?q={million.RECIPIENT}",
        site="plain_recipients",
    ),
    Page(
        "search for something rare",
        f"?q={million.RARE}",
        f"?q={million.RARE}",
        f"?q={million.RARE}",
        shows=f"one {million.RARE}",
    ),
)


def measure(around: Around) -> Iterator[Table]:
    """A table for each page, of the database that this process uses."""
    million.write()
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    for page in PAGES:
        ours = reverse("wagtail_smtp_log:index") + page.ours
        plain = reverse(f"{page.site}:wagtail_smtp_logentry_changelist") + page.plain
        contenders = [
            Contender(PLAIN, _get(client, plain, page.shows)),
            Contender(OURS, _get(client, ours, page.shows)),
        ]
        if page.wagtail is not None:
            theirs = reverse("plain_wagtail") + page.wagtail
            contenders.append(Contender(WAGTAIL, _get(client, theirs, page.shows)))
        if not page.ours:
            nobody = f"{ours}?recipient=nobody@example.net"
            contenders.append(Contender(EMPTY, _get(client, nobody, "No email matches")))
            site = reverse("wagtailsites:index")
            contenders.append(Contender(FRAME, _get(client, site, "Sites")))
        samples = interleaved(contenders, ROUNDS)
        table = Table(
            f"Delivery log, {million.COUNT:,} entries, {page.title}, {connection.display_name}",
            "ms",
            rows(samples.values()),
            base=PLAIN,
            note=f"{ROUNDS} rounds, the whole page",
        )
        part = table.value(OURS) / table.value(PLAIN)
        yield table.with_goals(Goal("of the plain listing's", part, PART))


def _get(client: Client, url: str, shows: str) -> Action:
    def get() -> None:
        answer = client.get(url)
        assert answer.status_code == 200, (url, answer.status_code)
        assert shows in answer.content.decode(), url

    return get
