"""The account at the end of a long run."""

from typing import Any

from tests.fuzz.cases import CASES, TALLIES


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many cases each target got, in how many seconds."""
    if not (CASES and TALLIES):
        return
    write = terminalreporter.write_line
    write("| target | cases | seconds |")
    write("|---|---|---|")
    for name, tally in sorted(TALLIES.items()):
        write(f"| {name} | {tally.cases:,} | {tally.ended - tally.began:.0f} |")
    total = sum(tally.cases for tally in TALLIES.values())
    seconds = sum(tally.ended - tally.began for tally in TALLIES.values())
    failed = len(terminalreporter.stats.get("failed", ()))
    write(f"| all, {failed} targets failed | {total:,} | {seconds:.0f} |")
