"""Pages of the admin beside Wagtail's emptiest listing."""

from collections.abc import Mapping

from django.test import Client
from django.urls import reverse

from benchmarks.measure import Action, Contender, interleaved
from benchmarks.report import Goal, Table, rows

ROUNDS = 30
#: Milliseconds that a page may take more than the emptiest.
MORE = 15
FRAME = "Wagtail's listing of its only site: no listing costs less"


def beside_the_emptiest(client: Client, title: str, index: str, pages: Mapping[str, str]) -> Table:
    """Measure pages with their goal.

    Args:
        index: the path of a listing.
        pages: what follows that path, by what it shows.
    """
    contenders = [Contender(FRAME, get(client, reverse("wagtailsites:index"), "Sites"))]
    for name, path in pages.items():
        contenders.append(Contender(name, get(client, index + path, "")))
    samples = interleaved(contenders, ROUNDS)
    table = Table(title, "ms", rows(samples.values()), note=f"{ROUNDS} rounds, the whole page")
    goals = (
        Goal(f"{name}, more", table.value(name) - table.value(FRAME), MORE, unit=" ms")
        for name in pages
    )
    return table.with_goals(*goals)


def get(client: Client, url: str, shows: str) -> Action:
    """An action that opens a page and checks that it shows a text."""

    def open_page() -> None:
        answer = client.get(url)
        assert answer.status_code == 200, (url, answer.status_code)
        assert shows in answer.content.decode(), url

    return open_page
