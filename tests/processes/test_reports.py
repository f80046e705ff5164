"""The same reports at the same time, while the entry they are about is being written."""

import pytest

from tests.processes.programs.reports_console import ReportsConsole

pytestmark = pytest.mark.same_on_all_versions


def test_reports_that_race_are_kept_once_and_nothing_is_lost(database: dict[str, str]) -> None:
    rounds, recipients, threads = 5, 10, 4
    with ReportsConsole(database) as console:
        console("migrate")
        result = console("race", rounds=rounds, recipients=recipients, threads=threads)
    assert result == {
        "codes": [200] * (rounds * threads),
        "events": rounds * recipients * 3,
        "unmatched": 0,
        "recipients": {"bounced": rounds * recipients},
        "entries": {"bounced": rounds},
    }
