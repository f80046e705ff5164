"""What a run came to: a table for the documentation, and what is wrong."""

from collections.abc import Sequence

from tests.soak.run import Run
from tests.soak.samples import NAMES, Growth

#: By how many per cent memory may grow from after the warm-up to the end. A short run has hardly
#: warmed up. After a peak, such as all threads in an error when the database server is restarted,
#: the C library keeps memory; blocks are what is in use.
GROWTH = {"memory": 6, "blocks": 1}
GROWTH_OF_A_SHORT_RUN = 12
#: Minutes from which on a run is long.
LONG = 10
#: By how many sockets, files, threads or connections: sessions come and go, and after a restart of
#: the database server, some are missing for a while.
MORE, MORE_OF_A_SHORT_RUN = 3, 8


def growths(run: Run) -> dict[str, dict[str, Growth]]:
    """By process and by what was measured."""
    return {
        process: {
            name: Growth.of([(at, float(getattr(sample, name))) for at, sample in taken])
            for name in NAMES
        }
        for process, taken in sorted(run.samples.items())
        if len(taken) >= 8
    }


def failures(run: Run) -> list[str]:
    """What is wrong; empty if nothing is."""
    is_long = run.seconds >= LONG * 60
    more = MORE if is_long else MORE_OF_A_SHORT_RUN
    found = []
    for process, numbers in growths(run).items():
        for name in NAMES:
            per_cent = GROWTH.get(name) if is_long or name not in GROWTH else GROWTH_OF_A_SHORT_RUN
            bound = more if per_cent is None else numbers[name].early * per_cent / 100
            if numbers[name].late - numbers[name].early > bound:
                found.append(
                    f"{process} had {numbers[name].early:.0f} {name}, "
                    f"and {numbers[name].late:.0f} at the end"
                )
    connections = Growth.of(run.connections)
    if connections.late - connections.early > more:
        found.append(f"{connections.late - connections.early:.0f} more database connections")
    account = run.account
    for what in ("lost", "repeated", "leaked", "unlogged"):
        if subjects := getattr(account, what):
            found.append(f"{len(subjects)} messages {what}, for example {subjects[0]}")
    if account.left:
        found.append(f"{account.left} messages left in the outbox")
    if run.ended:
        found.append("a process has ended")
    if not (account.states["sent"] and account.redirected):
        found.append("nothing was sent, or nothing was redirected")
    return found


def table(runs: Sequence[Run]) -> str:
    """A column for each database; of what was measured: after the warm-up, and at the end."""
    lines = [
        ("", [run.kind for run in runs]),
        ("minutes", [f"{run.seconds / 60:g}" for run in runs]),
        ("messages", [f"{run.account.told:,}" for run in runs]),
        ("of them sent", [f"{run.account.states['sent']:,}" for run in runs]),
        ("redirected", [f"{run.account.redirected:,}" for run in runs]),
        ("refused, failed or unknown", [f"{_others(run):,}" for run in runs]),
        ("errors for their senders", [f"{run.account.errors.total():,}" for run in runs]),
        ("reloads, database restarts", [f"{run.reloads}, {run.restarts}" for run in runs]),
    ]
    for what in ("lost", "repeated", "leaked", "unlogged"):
        lines.append((what, [str(len(getattr(run.account, what))) for run in runs]))
    measured = [growths(run) for run in runs]
    for process in dict.fromkeys(name for each in measured for name in each):
        for name in NAMES:
            unit = {"memory": ", MB", "blocks": ", thousands"}.get(name, "")
            cells = [_cell(each.get(process, {}).get(name)) for each in measured]
            lines.append((f"{process}: {name}{unit}", cells))
    lines.append(("database connections", [_cell(Growth.of(run.connections)) for run in runs]))
    rows = ["| " + " | ".join([title, *cells]) + " |" for title, cells in lines]
    return "\n".join([rows[0], "|---" * (len(runs) + 1) + "|", *rows[1:]])


def _others(run: Run) -> int:
    return run.account.states.total() - run.account.states["sent"]


def _cell(growth: Growth | None) -> str:
    return "–" if growth is None else f"{growth.early:.0f} → {growth.late:.0f}"
