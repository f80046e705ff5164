"""A site under load for a long time: does it grow, lose a message, or let one past a redirect?

``python -m tests.soak --minutes 30 --database postgresql`` runs processes that send as web servers
do and workers of the outbox against a server that fails now and then. Meanwhile the application is
reloaded, a redirect goes on and off, and the database server is restarted. At the end it prints a
table, and fails if a process has grown or a message isn't accounted for.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.soak.run import Run
from tests.soak.table import failures, table
from tests.support.servers import mariadb, postgres

DATABASES = ("sqlite", "postgresql", "mariadb")


@contextmanager
def database(kind: str) -> Iterator[tuple[dict[str, str], Any]]:
    """The environment that selects a new, empty database, and its server if it has one."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            file = str(Path(folder, "database.sqlite3"))
            yield {"WAGTAIL_SMTP_TEST_DATABASE": "", "WAGTAIL_SMTP_TEST_SQLITE": file}, None
        return
    programs = _programs(kind)
    assert programs is not None
    server: Any = postgres.PostgreSQL(programs)
    if kind == "mariadb":
        # Not the tests' own setting, with which a killed server loses what it has confirmed.
        server = mariadb.MariaDB(programs, "innodb-flush-log-at-trx-commit=2")
    with server:
        yield server.create_database(), server


def _programs(kind: str) -> Path | None:
    """The programs of a database server; None if they or the driver are missing."""
    if kind == "postgresql":
        return postgres.programs()
    return mariadb.programs() if importlib.util.find_spec("MySQLdb") else None


def main() -> int:
    """Run on each database; 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="on each database")
    parser.add_argument("--database", nargs="*", choices=DATABASES, default=[])
    options = parser.parse_args()
    runs = []
    for kind in options.database or DATABASES:
        if kind != "sqlite" and _programs(kind) is None:
            print(f"{kind}: left out, because its server or driver is not installed")
            continue
        with ExitStack() as stack:
            environment, server = stack.enter_context(database(kind))
            run = Run(kind, environment, server, options.minutes * 60)
            run.run()
        runs.append(run)
        print(f"{kind}: {'; '.join(failures(run)) or 'nothing is wrong'}", flush=True)
    print(table(runs))
    return int(any(map(failures, runs)))


if __name__ == "__main__":
    sys.exit(main())
