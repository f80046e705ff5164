"""A long suppression list: its pages beside Wagtail's emptiest, and what a message waits for it."""

import os
import time
from collections.abc import Iterator

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from benchmarks.measure import Contender, interleaved
from benchmarks.pages import beside_the_emptiest
from benchmarks.plugin import database_name
from benchmarks.report import Row, Table, rows
from benchmarks.services import LOG_ENTRIES, Around
from wagtail_smtp import suppression
from wagtail_smtp.suppression import SuppressionReason

ROUNDS = 200
#: The domain of two fifths of the addresses.
COMMON = "mail.example"
PAGES = {
    "the newest addresses": "",
    "the last page of 1,000": "?p=40",
    "a common reason": "?reason=bounced",
    "a rare reason": "?reason=complained",
    "a reason without addresses": "?reason=unsubscribed",
    "an address": f"?q=user7@{COMMON}",
    "the start of an address": "?q=user77",
    "a domain of two fifths": f"?q={COMMON}",
    "the same and a rare reason": f"?q={COMMON}&reason=complained",
    "an address that is not on the list": "?q=nobody@nowhere.example",
    "the start of no address": "?q=nowhere",
}


def measure(around: Around) -> Iterator[Table]:
    """The tables of the database that this process uses, and of one length of the list."""
    count = int(os.environ[LOG_ENTRIES])
    name = f"Suppression list, {count:,} addresses, {database_name()}"
    yield Table(f"{name}, added", "addresses a second", (Row("suppress_all()", _write(count)),))
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    yield beside_the_emptiest(client, name, reverse("wagtail_smtp_suppressed:index"), PAGES)
    some = [_address(number) for number in range(0, count, count // 500)][:500]
    contenders = [
        Contender("one recipient, on the list", lambda: suppression.find(some[:1])),
        Contender("one recipient, not on the list", lambda: suppression.find(["a@b.example"])),
        Contender("500 recipients, on the list", lambda: suppression.find(some)),
    ]
    found = interleaved(contenders, ROUNDS).values()
    yield Table(f"{name}, for a message", "ms", rows(found), note=f"{ROUNDS} rounds")


def _address(number: int) -> str:
    domain = COMMON if number % 5 < 2 else f"example{number * 7919 % 5000}.org"
    return f"user{number}@{domain}"


def _write(count: int) -> float:
    """Add the addresses, a hundredth of them complaints; return how many in a second."""
    began = time.perf_counter()
    for reason, wanted in (
        (SuppressionReason.BOUNCED, False),
        (SuppressionReason.COMPLAINED, True),
    ):
        suppression.suppress_all(
            (_address(number) for number in range(count) if (number % 100 == 0) is wanted), reason
        )
    return count / (time.perf_counter() - began)
