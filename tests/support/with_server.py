"""Run a command with a database server of its own.

``python -m tests.support.with_server mariadb pytest``

The command is a module of this Python's, with its arguments; tests/settings.py uses the server.
"""

import os
import subprocess
import sys

from tests.support.servers import mariadb, postgres


def main(kind: str, *command: str) -> int:
    """The exit code of the command."""
    server: postgres.PostgreSQL | mariadb.MariaDB
    if kind == "postgresql":
        server = postgres.PostgreSQL(postgres.required_programs())
    elif kind == "mariadb":
        server = mariadb.MariaDB(mariadb.required_programs())
    else:
        raise SystemExit(f"No such database: {kind}")
    with server:
        environment = os.environ | server.environment
        return subprocess.run([sys.executable, "-m", *command], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
