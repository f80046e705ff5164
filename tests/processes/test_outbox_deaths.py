"""A worker that is killed, or loses its database: no message is lost, and none arrives twice."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.processes.conftest import EACH
from tests.processes.programs.outbox_site import Held, Site, site
from tests.support.servers.hostile_faults import Faults
from tests.support.servers.mariadb import MariaDB
from tests.support.servers.postgres import PostgreSQL, required_programs

pytestmark = pytest.mark.same_on_all_versions

#: Where a worker can die while it has 12 messages: in its first window, of one, or in its third, of
#: four. And how many messages are unknown then: no more than had begun and were not written down.
DEATHS = {
    ("claimed", 1): 0,
    ("sending", 1): 1,
    ("body", 1): 1,
    ("end", 1): 1,
    ("answered", 1): 1,
    ("settled", 1): 1,
    ("claimed", 4): 2,
    ("sending", 4): 4,
    ("body", 4): 4,
    ("end", 4): 4,
    ("answered", 4): 4,
    ("settled", 4): 4,
}
#: Messages in the windows before.
BEFORE = {1: 0, 4: 3}
#: More than the buffers between two sockets hold.
LARGE = 20_000_000


@pytest.fixture(scope="module")
def sqlite_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path = tmp_path_factory.mktemp("outbox") / "database.sqlite3"
    environment = {"WAGTAIL_SMTP_TEST_DATABASE": "", "WAGTAIL_SMTP_TEST_SQLITE": str(path)}
    with site(environment) as made:
        yield made


@pytest.fixture(scope="module")
def postgresql_site(postgresql: PostgreSQL) -> Iterator[Site]:
    with site(postgresql.create_database()) as made:
        yield made


@pytest.fixture(scope="module")
def mariadb_site(mariadb: MariaDB) -> Iterator[Site]:
    with site(mariadb.create_database()) as made:
        yield made


@pytest.fixture(params=EACH)
def a_site(request: pytest.FixtureRequest) -> Iterator[Site]:
    made = request.getfixturevalue(f"{request.param}_site")
    yield Site(made.console, made.server)
    made.server.plan = Faults(())
    made.console("reset")


@pytest.fixture
def on_postgresql(postgresql_site: Site) -> Iterator[Site]:
    yield Site(postgresql_site.console, postgresql_site.server)
    postgresql_site.server.plan = Faults(())
    postgresql_site.console("reset")


@pytest.fixture
def own_postgresql() -> Iterator[PostgreSQL]:
    """A server that no other test uses, so that it may be stopped."""
    with PostgreSQL(required_programs()) as server:
        yield server


def worker_at(a_site: Site, phase: str, window: int = 1, **conf: object) -> tuple[int, Held | None]:
    """A worker with 12 messages that has come to the phase, and what holds it there."""
    if phase in ("body", "end"):
        before = BEFORE[window]
        a_site.server.plan = held = Held(phase, skip=before)  # type: ignore[arg-type]
        if before:
            a_site.queue(before)
        a_site.queue(1, octets=LARGE if phase == "body" else 0)
        a_site.queue(11 - before)
        pid = a_site.console("fork_worker", window=window, **conf)
        held.until_reached()
        return pid, held
    a_site.queue(12)
    pid = a_site.console("fork_worker", pause=phase, window=window, **conf)
    assert a_site.console("until_paused", pid=pid, timeout=15)
    return pid, None


@pytest.mark.parametrize(("phase", "window"), DEATHS)
def test_a_killed_worker(a_site: Site, phase: str, window: int) -> None:
    pid, held = worker_at(a_site, phase, window)
    assert a_site.console("end", pid=pid, by=signal.SIGKILL) == -signal.SIGKILL
    if held is not None:
        held.release()

    a_site.finish()

    unknown = DEATHS[phase, window]
    assert a_site.account() == Counter(sent=12 - unknown, unknown=unknown)
    if phase in ("claimed", "answered", "settled"):
        assert len(a_site.arrived) == 12
    if phase in ("sending", "body"):
        assert len(a_site.arrived) == 12 - unknown


@pytest.mark.postgres
@pytest.mark.parametrize(("phase", "window"), DEATHS)
def test_a_killed_connection(on_postgresql: Site, phase: str, window: int) -> None:
    """The worker lives, so it knows what it sent and writes it down afterwards."""
    pid, held = worker_at(on_postgresql, phase, window, OUTBOX_LEASE=4)
    if held is not None:
        time.sleep(1.1)  # its lease is to be renewed before the next message
    assert on_postgresql.console("terminate_backends") >= 1
    if held is not None:
        held.release()
    else:
        on_postgresql.console("resume", pid=pid)

    left = on_postgresql.console("until_empty", prefix=on_postgresql.prefix, timeout=15)

    assert left == []
    assert on_postgresql.account() == {"sent": 12}
    assert on_postgresql.console("end", pid=pid) == 0


@pytest.mark.postgres
def test_a_database_that_is_down_for_a_while(own_postgresql: PostgreSQL) -> None:
    """What is being sent is sent, written down afterwards, and never sent again."""
    with site(own_postgresql.environment) as made:
        pid, held = worker_at(made, "end", OUTBOX_LEASE=20)
        own_postgresql.stop()
        assert held is not None
        held.release()
        deadline = time.monotonic() + 10
        while not made.arrived:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        own_postgresql.start()

        assert made.console("until_empty", prefix=made.prefix, timeout=15) == []

        assert made.account() == {"sent": 12}
        assert made.console("end", pid=pid) == 0


def test_the_command_finishes_what_it_has_begun(a_site: Site) -> None:
    """SIGTERM to the real command: the message in hand is written down, the rest given back."""
    # Some of a window, the third, were sent, others were to come.
    a_site.server.plan = held = Held("end", skip=4)
    a_site.queue(25)
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "django",
            "smtp_outbox",
            "--work",
            "--processes",
            "1",
            "--threads",
            "1",
        ],
        env=a_site.console.environment,
    ) as process:
        held.until_reached()
        process.send_signal(signal.SIGTERM)
        held.release()
        assert process.wait(15) == 0

    assert len(a_site.arrived) == 5
    rows = a_site.console("rows", prefix=a_site.prefix)
    assert [state for _subject, state, _tries in rows] == ["waiting"] * 20
    a_site.finish()
    assert a_site.account() == {"sent": 25}


def test_a_server_that_becomes_slow(a_site: Site) -> None:
    """What of a window has not begun after a second goes back, and is sent once."""
    a_site.server.plan = held = Held("end", skip=4)
    a_site.queue(12)
    pid = a_site.console("fork_worker", OUTBOX_LEASE=60)
    held.until_reached()
    time.sleep(1.1)
    held.release()

    # Long before the lease is over.
    assert a_site.console("until_empty", prefix=a_site.prefix, timeout=20) == []
    assert a_site.account() == {"sent": 12}
    assert a_site.console("end", pid=pid) == 0
