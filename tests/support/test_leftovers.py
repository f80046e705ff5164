"""The plugin that fails tests that leave something behind: it finds each kind."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import socket
import ssl
import threading
import time

import pytest
from django.db import connections

kept = []


@pytest.fixture(scope="module")
def shared():
    kept.append(socket.socket())


def test_left_thread():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def test_left_socket():
    kept.append(socket.socket())


@pytest.mark.django_db(transaction=True)
def test_left_connection():
    def query():
        connections["default"].ensure_connection()
        kept.append(connections["default"])

    thread = threading.Thread(target=query)
    thread.start()
    thread.join()


def test_left_contexts():
    kept.extend(ssl.create_default_context() for _ in range(6))


def test_clean_by_itself():
    threading.Timer(0.2, time.sleep, (0.1,)).start()


def test_clean_for_the_module(shared):
    pass
"""


def test_each_kind_is_found(tmp_path):
    (tmp_path / "conftest.py").write_text(
        "from tests.support import leftovers\nleftovers.GRACE = 2\nleftovers.MOST_CONTEXTS = 5\n"
    )
    (tmp_path / "test_project.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir=.", "--ds=tests.settings"]
    # In a database of its own, in memory.
    env = {k: v for k, v in os.environ.items() if not k.startswith("WAGTAIL_SMTP_TEST_")}
    result = subprocess.run(
        [*command, "-p", "no:randomly", "-p", "tests.support.leftovers"],
        cwd=tmp_path,
        env=env | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    errors = [line for line in result.stdout.splitlines() if line.startswith("ERROR")]
    names = sorted(line.split("::")[1].split()[0] for line in errors)
    kinds = ["connection", "contexts", "socket", "thread"]
    assert names == [f"test_left_{kind}" for kind in kinds], result.stdout + result.stderr
    assert "6 passed, 4 errors" in result.stdout
