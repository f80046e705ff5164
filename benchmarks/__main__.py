"""Measure all questions, or those named, print tables and write them as JSON."""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.machine import facts
from benchmarks.report import Table
from benchmarks.services import (
    LOG_ENTRIES,
    WRITE_AHEAD,
    Services,
    checked_round_trip,
    environment,
    measured_context,
)
from tests.support.servers import mariadb
from tests.support.servers.postgres import PostgreSQL, programs

#: The questions and the databases each is asked with; "write-ahead" is SQLite set up so.
QUESTIONS = {
    "cpu": ("sqlite",),
    "memory": ("write-ahead", "postgresql"),
    "round_trip": ("sqlite", "write-ahead", "postgresql"),
    "threads": ("sqlite", "write-ahead", "postgresql"),
    "own_work": ("sqlite", "write-ahead", "postgresql"),
    "logged": ("sqlite", "write-ahead", "postgresql"),
    "telemetry": ("write-ahead",),
    "drain": ("sqlite", "write-ahead", "postgresql"),
    "workers": ("postgresql",),
    "reload_fire": ("sqlite", "postgresql"),
    "log_pages": ("write-ahead", "postgresql", "mariadb"),
    "suppressed": ("write-ahead", "postgresql", "mariadb"),
}
#: They need no round trip, so the machine may be busy.
_WITHOUT_ROUND_TRIP = {"log_pages", "suppressed", "workers"}
#: Questions about something long, and its lengths.
_LONG = {"log_pages", "suppressed"}
ENTRIES = [10_000, 1_000_000]
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("questions", nargs="*", metavar="question", help=", ".join(QUESTIONS))
    parser.add_argument(
        "--log-entries",
        type=int,
        nargs="+",
        default=ENTRIES,
        help="for log_pages and suppressed; a log of ten million takes 7 GB on each database",
    )
    options = parser.parse_args()
    questions = options.questions or list(QUESTIONS)
    if unknown := set(questions) - set(QUESTIONS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    started = time.monotonic()
    with ExitStack() as stack:
        around = stack.enter_context(Services())
        servers = environment(around)
        about = facts() | {"ssl_context": measured_context(around.bundle)}
        if not _WITHOUT_ROUND_TRIP.issuperset(questions):
            about["round_trip_ms"] = checked_round_trip(around) * 1000
        for name, value in about.items():
            print(f"{name}: {value}")
        databases = Databases(stack, Path(around.directory))
        tables = []
        for question in questions:
            for kind in QUESTIONS[question]:
                for count in options.log_entries if question in _LONG else [0]:
                    database = databases.new(kind, f"{question}-{count}")
                    if database is None:
                        print(f"\n{question} on {kind}: skipped, no server or driver here")
                        break
                    database |= {LOG_ENTRIES: str(count)}
                    for table in _answers(question, servers | database):
                        tables.append(table)
                        print(table.text(), flush=True)
    print(f"\n{time.monotonic() - started:.0f} s. As JSON: {RESULTS}")
    RESULTS.parent.mkdir(exist_ok=True)
    content = {"about": about, "tables": [table.to_json() for table in tables]}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


class Databases:
    """New, empty databases; a server is started when it is first asked for."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self._stack = stack
        self._directory = directory
        self._servers: dict[str, PostgreSQL | mariadb.MariaDB] = {}

    def new(self, kind: str, name: str) -> dict[str, str] | None:
        """The environment that selects a new database; None without a server."""
        if kind not in ("postgresql", "mariadb"):
            return {
                "WAGTAIL_SMTP_TEST_DATABASE": "",
                "WAGTAIL_SMTP_TEST_SQLITE": str(self._directory / f"{name}-{kind}.sqlite3"),
                WRITE_AHEAD: "1" if kind == "write-ahead" else "",
            }
        if kind not in self._servers:
            server = _server(kind)
            if server is None:
                return None
            self._stack.enter_context(server)
            self._servers[kind] = server
        return self._servers[kind].create_database()


def _server(kind: str) -> PostgreSQL | mariadb.MariaDB | None:
    found = mariadb.programs() if kind == "mariadb" else programs()
    if found is None:
        return None
    if kind == "postgresql":
        return PostgreSQL(found)
    if importlib.util.find_spec("MySQLdb") is None:
        return None
    # The indexes of a long log don't fit into the default, 128 MB.
    return mariadb.MariaDB(found, "innodb-buffer-pool-size=1G")


def _answers(question: str, environment: dict[str, str]) -> Iterator[Table]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.child", question],
        env=environment | {"DJANGO_SETTINGS_MODULE": "benchmarks.settings"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield Table.from_json(json.loads(line))
    if process.returncode:
        raise SystemExit(f"{question} failed")


if __name__ == "__main__":
    main()
