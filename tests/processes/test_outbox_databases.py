"""What the outbox promises on each database: clocks, locks, deadlocks and collations."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import Environment
from tests.processes.programs.outbox_site import Site, site

pytestmark = pytest.mark.same_on_all_versions

OPTIONS = "WAGTAIL_SMTP_TEST_MARIADB_OPTIONS"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgres),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Environment:
    """The environment that selects a new, empty database of each kind."""
    if request.param == "sqlite":
        path = str(tmp_path / "database.sqlite3")
        return {"WAGTAIL_SMTP_TEST_DATABASE": "", "WAGTAIL_SMTP_TEST_SQLITE": path}
    server = request.getfixturevalue(request.param)
    made: Environment = server.create_database()
    return made


@pytest.fixture
def server_database(any_database: Environment) -> Environment:
    """One on a server, where transactions run side by side."""
    if not any_database["WAGTAIL_SMTP_TEST_DATABASE"]:
        pytest.skip("SQLite has one writer")
    return any_database


@pytest.fixture
def server_site(server_database: Environment) -> Iterator[Site]:
    with site(server_database, conf={"OUTBOX_LEASE": 60}) as made:
        yield made


@pytest.mark.parametrize("use_tz", [True, False])
def test_one_clock(any_database: Environment, use_tz: bool) -> None:
    """The database writes due times; whether one is overdue is told by the same clock."""
    chosen: dict[str, Any] = {} if use_tz else {"USE_TZ": False, "TIME_ZONE": "America/New_York"}
    any_database = any_database | {
        OPTIONS: json.dumps({"init_command": "SET time_zone = '-05:00'"})
    }
    with site(any_database, settings=chosen) as made:
        made.queue(1)
        # Times of the database can be compared with those that Django writes.
        assert all(abs(seconds) < 60 for seconds in made.console("since_entry"))
        overdue, alarms = made.console("overdue")
        assert overdue < 60
        assert alarms == []
        made.console("age", seconds=7200)
        overdue, alarms = made.console("overdue")
        assert 7200 <= overdue < 7260
        assert len(alarms) == 1
        made.finish()
        assert made.account() == {"sent": 1}


def test_a_long_transaction_keeps_no_message_waiting(server_site: Site) -> None:
    """An import that has queued a message and goes on for minutes; others' messages are sent."""
    server_site.queue(3)
    server_site.console("hold", subject=f"{server_site.prefix}-3")
    try:
        done, seconds = server_site.console("drain")
    finally:
        server_site.console("let_go")
    assert (done, seconds < 5) == (3, True)
    assert len(server_site.arrived) == 3
    assert server_site.console("drain")[0] == 1


def test_what_somebody_has_locked_is_looked_at_later(server_site: Site) -> None:
    server_site.console("hold", subject=f"{server_site.prefix}-0")
    began = time.monotonic()
    try:
        assert server_site.console("drain")[0] == 0
    finally:
        server_site.console("let_go")
    assert time.monotonic() - began < 5


def test_a_transaction_is_done_again_if_the_database_asks(server_site: Site) -> None:
    assert server_site.console("meet") == ["done at 1", "done at 2"]


def test_an_address_is_compared_byte_by_byte(any_database: Environment) -> None:
    """What a collation takes for equal are different people."""
    others = [
        "m\u00fcller@example.org",
        "mullere\u0301@example.org",
        "stra\u00dfe@example.org",
        "strasse@example.org",
        "muller@example.org ",
    ]
    with site(any_database) as made:
        left = made.console(
            "erase", addresses=[*others, "muller@example.org"], address="muller@example.org"
        )
    assert left == others
