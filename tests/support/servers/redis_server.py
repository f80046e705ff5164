"""A real Redis server on a free loopback port, its data in a temporary directory."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.servers.smtp_server import free_port


def required_program() -> str:
    """Where ``redis-server`` is; skips the test without it, or fails if it is required."""
    found = shutil.which("redis-server")
    if found is None:
        reason = "no redis-server on PATH"
        if os.environ.get("WAGTAIL_SMTP_REQUIRE_REDIS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class RedisServer:
    """Start with ``with``; :meth:`kill` in between is an outage."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RedisServer":
        self.directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.port = free_port()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        shutil.rmtree(self.directory)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [
            *(self._program, "--bind", "127.0.0.1", "--port", str(self.port)),
            *("--dir", str(self.directory), "--save", "", "--appendonly", "no"),
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.directory / "log").read_text())
            time.sleep(0.05)

    def kill(self) -> None:
        """As a crash does; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False
