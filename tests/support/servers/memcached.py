"""A real memcached on a free loopback port."""

import os
import shutil
import socket
import subprocess
import time
from typing import Any

import pytest

from tests.support.servers.smtp_server import free_port


def required_program() -> str:
    """Where ``memcached`` is; skips the test without it, or fails if it is required."""
    found = shutil.which("memcached")
    if found is None:
        reason = "no memcached on PATH"
        if os.environ.get("WAGTAIL_SMTP_REQUIRE_MEMCACHED") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Memcached:
    """Start with ``with``; :meth:`kill` in between is an outage."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def __enter__(self) -> "Memcached":
        command = [self._program, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0"]
        if os.geteuid() == 0:
            command += ["-u", "nobody"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                assert time.monotonic() < deadline, "memcached did not start"
                time.sleep(0.05)

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def kill(self) -> None:
        """As a crash does; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def cache(self) -> dict[str, Any]:
        """What ``CACHES`` says of it."""
        return {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": f"127.0.0.1:{self.port}",
        }
