"""One message by send_mail(): how long a web request waits for it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from benchmarks import plugin
from benchmarks.contenders import (
    AIO,
    COLD,
    KEPT,
    LIMIT,
    OURS,
    PING,
    STOCK,
    Aiosmtplib,
    Kept,
    Raw,
    Stock,
)
from benchmarks.measure import Contender, interleaved
from benchmarks.messages import SIZES
from benchmarks.plugin import database_name
from benchmarks.report import Goal, Table, rows
from benchmarks.services import Around


@dataclass(frozen=True)
class Case:
    """One table. ``full``: all peers and the cold session, else stock, ours and the limit."""

    encryption: str
    size: str
    delayed: bool
    rounds: int
    full: bool = False

    @property
    def title(self) -> str:
        where = "20 ms round trip" if self.delayed else "loopback"
        name = {"starttls": "STARTTLS", "ssl": "implicit TLS", "none": "plain text"}[
            self.encryption
        ]
        return f"One message, {self.size}, {name} and AUTH, {where}, {database_name()}"


CASES = (
    Case("starttls", "2 KB", delayed=True, rounds=40, full=True),
    Case("starttls", "30 KB", delayed=True, rounds=30),
    Case("starttls", "1 MB", delayed=True, rounds=30),
    Case("ssl", "2 KB", delayed=True, rounds=30),
    Case("none", "2 KB", delayed=True, rounds=30),
    Case("starttls", "2 KB", delayed=False, rounds=300, full=True),
    Case("starttls", "30 KB", delayed=False, rounds=300),
    Case("starttls", "1 MB", delayed=False, rounds=100),
    Case("ssl", "2 KB", delayed=False, rounds=300),
    Case("none", "2 KB", delayed=False, rounds=300),
)


def measure(around: Around) -> Iterator[Table]:
    """A table for each case."""
    for case in CASES:
        yield _table(around, case)


def _table(around: Around, case: Case) -> Table:
    port = (around.delayed if case.delayed else around.loopback)[case.encryption]
    plugin.use(around, [port], case.encryption, cold=True)
    with ExitStack() as stack:
        contenders = _contenders(stack, port, case)
        samples = interleaved(contenders, case.rounds)
    table = Table(
        case.title,
        "ms",
        rows(samples[contender.name] for contender in contenders),
        base=STOCK,
        limit=LIMIT,
        note=f"{case.rounds} rounds",
    )
    return table.with_goals(*_goals(table, case))


def _contenders(stack: ExitStack, port: int, case: Case) -> list[Contender]:
    from wagtail_smtp.transports import mime

    build = SIZES[case.size]
    server = (port, case.encryption)
    raw = stack.enter_context(closing(Raw(*server)))
    message = build(None)
    found = [Contender(STOCK, Stock(*server, build))]
    if case.full:
        kept = stack.enter_context(closing(Kept(*server, build)))
        aio = stack.enter_context(closing(Aiosmtplib(*server, build)))
        found += [
            Contender(AIO, aio),
            Contender(KEPT, kept),
            Contender(COLD, plugin.Cold(build)),
        ]
    found.append(Contender(OURS, plugin.Ours(build)))
    found.append(Contender(LIMIT, raw.sending(message, mime.to_bytes(message))))
    if case.delayed:
        found.append(Contender(PING, raw.noop()))
    return found


def _goals(table: Table, case: Case) -> Iterator[Goal]:
    factor = table.times_better(OURS, STOCK)
    if case.full and case.delayed:
        yield Goal("against stock Django", factor, 13, at_least=True)
        yield Goal("against the limit", table.times_better(LIMIT, OURS), 1.10)
        yield Goal("cold, against stock", table.times_better(COLD, STOCK), 1.6, at_least=True)
    elif case.full:
        yield Goal("against stock Django", factor, 40, at_least=True)
    elif case.encryption == "none" and not case.delayed:
        yield Goal("against stock Django", factor, 2, at_least=True)
