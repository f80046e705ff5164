"""A real PgBouncer before a PostgreSQL server, reachable through a socket beside the server's."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.support.servers.postgres import USER, PostgreSQL, as_somebody

_PORT = "6432"


def required_program() -> Path:
    """The path of ``pgbouncer``. Without it, skips the test, or fails if it is required."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        reason = "no pgbouncer on PATH"
        if os.environ.get("WAGTAIL_SMTP_REQUIRE_PGBOUNCER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(found)


class PgBouncer:
    """Start with ``with``, inside the server's.

    Args:
        mode: ``session`` or ``transaction``: after what a connection to the server goes back to
            the pool. Connections are taken from it in turn.
    """

    def __init__(self, program: Path, server: PostgreSQL, mode: str) -> None:
        self._program = program
        self._directory = server.directory
        self._mode = mode
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "PgBouncer":
        settings = self._directory / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host={self._directory} port=5432 user={USER}\n[pgbouncer]\n"
            f"listen_addr =\nlisten_port = {_PORT}\nunix_socket_dir = {self._directory}\n"
            f"auth_type = any\npool_mode = {self._mode}\nserver_round_robin = 1\n"
        )
        with (self._directory / "pgbouncer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program), str(settings)], stdout=log, stderr=log, **as_somebody()
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def through(self, environment: dict[str, str]) -> dict[str, str]:
        """The environment that selects a database, but by way of PgBouncer."""
        return environment | {"PGPORT": _PORT}

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 20
        while True:
            try:
                return psycopg.connect(
                    host=str(self._directory), port=_PORT, user=USER, dbname="postgres"
                ).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log = (self._directory / "pgbouncer.log").read_text()
                    raise RuntimeError(log) from error
            time.sleep(0.05)
