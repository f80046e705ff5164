"""A real PostgreSQL server in a temporary directory, reachable through a socket in it."""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

USER = "wagtail_smtp"


def programs() -> Path | None:
    """The directory with ``initdb`` and ``postgres``: the newest one; None without a server."""
    found = shutil.which("initdb")
    if found and (Path(found).parent / "postgres").exists():
        return Path(found).parent
    candidates = [Path(path).parent for path in glob.glob("/usr/lib/postgresql/*/bin/initdb")]
    return max(candidates, key=lambda path: float(path.parent.name), default=None)


def required_programs() -> Path:
    """As :func:`programs`, but skips the test without a server, or fails if one is required."""
    found = programs()
    if found is None:
        reason = "no PostgreSQL server: neither initdb on PATH nor /usr/lib/postgresql/*/bin"
        if os.environ.get("WAGTAIL_SMTP_REQUIRE_POSTGRES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def as_somebody() -> dict[str, Any]:
    """Arguments for a process that must not be root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class PostgreSQL:
    """Start with ``with``; :meth:`stop` and :meth:`start` in between are an outage."""

    def __init__(self, directory: Path) -> None:
        self._programs = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._somebody = as_somebody()

    def __enter__(self) -> "PostgreSQL":
        # Not below pytest's directory: the path of a socket may have 107 characters only.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-"))
        try:
            if self._somebody:
                os.chown(self.directory, self._somebody["user"], self._somebody["group"])
            self._initdb()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    @property
    def environment(self) -> dict[str, str]:
        """What tests/settings.py needs to use the database."""
        return {
            "WAGTAIL_SMTP_TEST_DATABASE": "postgresql",
            "PGHOST": str(self.directory),
            "PGPORT": "5432",
            "PGUSER": USER,
            "PGDATABASE": "postgres",
        }

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [
            *(str(self._programs / "postgres"), "-D", "data", "-k", str(self.directory)),
            *("-c", "listen_addresses=", "-c", "port=5432", "-c", "fsync=off"),
            # It would count a table while a test fills it, see no committed row, and then make the
            # planner read it whole for each row.
            *("-c", "autovacuum=off"),
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.directory, stdout=log, stderr=log, **self._somebody
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                return self.execute("SELECT 1")
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.directory / "log").read_text()) from error
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server immediately, even with open connections, as in a crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
            self._process = None

    def create_database(self) -> dict[str, str]:
        """Create an empty database; returns the environment that selects it.

        Its name is new each time: tests that run in parallel may set up a module twice.
        """
        name = f"test_{uuid4().hex}"
        self.execute(f'CREATE DATABASE "{name}"')
        return self.environment | {"PGDATABASE": name}

    def copy_database(self, original: dict[str, str]) -> dict[str, str]:
        """Copy a database as it is now, while it is used, into a new one; its environment."""
        copied = self.create_database()
        # The programs on PATH may be links to some of them.
        programs = (self._programs / "initdb").resolve().parent
        options = ["-h", str(self.directory), "-p", "5432", "-U", USER]
        dump = [programs / "pg_dump", *options, original["PGDATABASE"]]
        dumped = subprocess.run(dump, check=True, capture_output=True)
        restore = [programs / "psql", *options, "-q", "-v", "ON_ERROR_STOP=1"]
        subprocess.run(
            [*restore, copied["PGDATABASE"]], input=dumped.stdout, check=True, capture_output=True
        )
        return copied

    def execute(self, statement: str) -> None:
        """Execute a statement without a result, outside any transaction."""
        with psycopg.connect(
            host=str(self.directory), port=5432, user=USER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def _initdb(self) -> None:
        command = [str(self._programs / "initdb"), "-D", "data", "-U", USER, "-A", "trust"]
        subprocess.run(
            [*command, "-E", "UTF8", "--locale=C.UTF-8", "-N"],
            cwd=self.directory,
            capture_output=True,
            check=True,
            **self._somebody,
        )
