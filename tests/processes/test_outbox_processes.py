"""Several worker processes and their supervisor, any of which may be killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes.conftest import EACH
from tests.processes.programs.outbox_site import Site, site
from tests.support.servers.hostile_faults import Fault, Faults, Phase
from tests.support.servers.mariadb import MariaDB
from tests.support.servers.postgres import PostgreSQL

pytestmark = pytest.mark.same_on_all_versions


#: So long that no lease ends during a test.
LEASE = {"OUTBOX_LEASE": 600}


class AllHeld(Faults):
    """Lets some messages pass and holds all others at their end, until :meth:`release`.

    Later ones take ``seconds`` each.
    """

    def __init__(self, passing: int, seconds: float = 0) -> None:
        super().__init__(())
        self._seconds = seconds
        self._passing = passing
        self._lock = threading.Lock()
        self._released = threading.Event()
        self.count = 0

    def at(self, phase: Phase, connection: int) -> Fault | None:
        if phase == "end":
            with self._lock:
                self._passing -= 1
                is_held = self._passing < 0
                self.count += is_held
            if is_held and self._released.is_set():
                time.sleep(self._seconds)
            elif is_held:
                self._released.wait(30)
        return None

    def release(self) -> None:
        self._released.set()


@pytest.fixture(scope="module", params=EACH)
def module_site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("outbox") / "database.sqlite3"
        database = {"WAGTAIL_SMTP_TEST_DATABASE": "", "WAGTAIL_SMTP_TEST_SQLITE": str(path)}
    else:
        server: PostgreSQL | MariaDB = request.getfixturevalue(request.param)
        database = server.create_database()
    with site(database, conf=LEASE) as made:
        yield made


@pytest.fixture
def a_site(module_site: Site) -> Iterator[Site]:
    yield Site(module_site.console, module_site.server)
    module_site.server.plan = Faults(())
    module_site.console("reset")


@contextmanager
def command(a_site: Site, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The real command, which is ended however the test ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "django", "smtp_outbox", "--skip-checks", *options],
        env=a_site.console.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a function returns something true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def finish_waiting(a_site: Site) -> None:
    """Deliver what stopped workers have left: they stopped before they had sent all."""
    a_site.server.plan = Faults(())
    rows = a_site.console("rows", prefix=a_site.prefix)
    assert {state for _subject, state, _tries in rows} == {"waiting"}
    a_site.finish()


def test_once(a_site: Site) -> None:
    a_site.queue(60)
    with command(a_site, "--once", "--processes", "3") as process:
        output, errors = process.communicate(timeout=60)
    assert (output.strip(), errors, process.returncode) == ("Messages processed: 60", "", 0)
    assert a_site.account() == {"sent": 60}


def test_killed_workers_are_replaced_and_what_they_had_not_begun_is_sent(a_site: Site) -> None:
    a_site.server.plan = held = AllHeld(passing=6)
    a_site.queue(30)
    with command(a_site, "--work", "--processes", "2", "--threads", "1") as process:
        until(lambda: held.count == 2)
        killed = children(process.pid)
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        held.release()
        left = a_site.console("until_empty", prefix=a_site.prefix, timeout=20)
        until(lambda: len(children(process.pid)) == 2)
        process.terminate()
        _output, errors = process.communicate(timeout=20)
    assert (left, process.returncode) == ([], 0), errors
    assert "killed by SIGKILL" in errors
    # Messages that they had sent, or were sending, can't be told apart.
    unknown = a_site.account()["unknown"]
    assert 2 <= unknown <= 8
    assert len(a_site.arrived) == 30


def test_workers_stop_without_their_supervisor(a_site: Site) -> None:
    a_site.server.plan = held = AllHeld(passing=6, seconds=0.3)
    a_site.queue(100)
    with command(a_site, "--work", "--processes", "2", "--threads", "1") as process:
        until(lambda: held.count == 2)
        workers = children(process.pid)
        process.kill()
        process.wait(10)
        held.release()
        until(lambda: not any(map(is_running, workers)))
    finish_waiting(a_site)
    assert a_site.account() == {"sent": 100}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_workers_after_their_messages(a_site: Site, number: int) -> None:
    a_site.server.plan = held = AllHeld(passing=6, seconds=0.3)
    a_site.queue(100)
    with command(a_site, "--work", "--processes", "2", "--threads", "1") as process:
        until(lambda: held.count == 2)
        process.send_signal(number)
        held.release()
        _output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    finish_waiting(a_site)
    assert a_site.account() == {"sent": 100}


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ("worker", "A worker process ended with code 1."),
        ("supervisor", "The supervisor fails."),
    ],
)
def test_a_failure_stops_all_workers(a_site: Site, fails: str, expected: str) -> None:
    assert a_site.console("supervise_failing", fails=fails) == expected
