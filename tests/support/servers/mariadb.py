"""A real MariaDB server in a temporary directory, reachable through a socket in it."""

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

import pytest
from django.db import connections

USER = "wagtail_smtp"


def programs() -> Path | None:
    """The path of ``mariadbd``; None without a server."""
    for name in ("mariadbd", "mysqld"):
        if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
            return Path(found)
    return None


def required_programs() -> Path:
    """As :func:`programs`, but skips the test without a server, or fails if one is required."""
    found = programs()
    reason = "no MariaDB server: no mariadbd on PATH"
    if found is not None:
        try:
            import MySQLdb  # noqa: F401
        except ImportError:
            reason = "no driver for MariaDB: mysqlclient is not installed"
        else:
            return found
    if os.environ.get("WAGTAIL_SMTP_REQUIRE_MARIADB") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _as_somebody() -> dict[str, Any]:
    """Arguments for a process that is not root, which MariaDB refuses to run as."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("mysql") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def taken_for_mariadb(is_mariadb: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Django take the server for MariaDB, or for MySQL, in this and in new threads."""
    connection = connections["default"]
    monkeypatch.setattr(type(connection), "mysql_is_mariadb", is_mariadb)
    # The property is cached in a connection that has used it.
    monkeypatch.setitem(vars(connection), "mysql_is_mariadb", is_mariadb)


class MariaDB:
    """Start with ``with``; :meth:`stop` and :meth:`start` in between are an outage.

    Args:
        options: more of the server's own, without the dashes: ``max_allowed_packet=1M``.
    """

    def __init__(self, program: Path, *options: str) -> None:
        self._program = program
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._somebody = _as_somebody()

    def __enter__(self) -> "MariaDB":
        # Not below pytest's directory: the path of a socket may have 107 characters only.
        self.directory = Path(tempfile.mkdtemp(prefix="my-"))
        try:
            if self._somebody:
                os.chown(self.directory, self._somebody["user"], self._somebody["group"])
            self._install()
            self.start()
            self.execute(f"CREATE USER '{USER}'@'localhost'")
            self.execute(f"GRANT ALL ON *.* TO '{USER}'@'localhost'")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return str(self.directory / "socket")

    @property
    def environment(self) -> dict[str, str]:
        """What tests/settings.py needs to use the database."""
        return {
            "WAGTAIL_SMTP_TEST_DATABASE": "mariadb",
            "WAGTAIL_SMTP_TEST_MARIADB_SOCKET": self.socket,
            "WAGTAIL_SMTP_TEST_MARIADB_NAME": "test",
        }

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [
            *(str(self._program), "--no-defaults", f"--datadir={self.directory / 'data'}"),
            *(f"--socket={self.socket}", "--skip-networking", f"--pid-file={self.socket}.pid"),
            # Its own defaults, but for what only costs time here.
            *("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", "--skip-log-bin"),
            *(f"--{option}" for option in self._options),
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.directory, stdout=log, stderr=log, **self._somebody
            )
        import MySQLdb

        deadline = time.monotonic() + 120
        while True:
            try:
                return self.execute("SELECT 1")
            except MySQLdb.Error as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.directory / "log").read_text()) from error
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server immediately, even with open connections, as in a crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(20)
            self._process = None

    def create_database(self) -> dict[str, str]:
        """Create an empty database; returns the environment that selects it.

        Its name is new each time: tests that run in parallel may set up a module twice.
        """
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return self.environment | {"WAGTAIL_SMTP_TEST_MARIADB_NAME": name}

    def execute(self, statement: str) -> None:
        """Execute a statement without a result, as root and outside any transaction."""
        import MySQLdb

        connection = MySQLdb.connect(unix_socket=self.socket, user="root", autocommit=True)
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def _install(self) -> None:
        install = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db")
        assert install, "MariaDB's server is there, but not mariadb-install-db"
        command = [install, "--no-defaults", f"--datadir={self.directory / 'data'}"]
        subprocess.run(
            [*command, "--auth-root-authentication-method=normal", "--skip-test-db"],
            cwd=self.directory,
            capture_output=True,
            check=True,
            **self._somebody,
        )
