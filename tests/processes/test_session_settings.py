"""The log changes no setting of a database session that a pool hands on to the project."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.processes.programs.console import set_for
from tests.processes.programs.log_console import LogConsole
from tests.support.servers.hostile import HostileServer
from tests.support.servers.pgbouncer import PgBouncer, required_program
from tests.support.servers.postgres import PostgreSQL

pytestmark = [pytest.mark.postgres, pytest.mark.same_on_all_versions]


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with HostileServer() as one:
        yield one


@contextmanager
def _console(environment: dict[str, str], server: HostileServer) -> Iterator[LogConsole]:
    with LogConsole(environment, conf={"DELIVERY": "immediate"}) as console:
        console("migrate")
        console("make_sets", servers=[set_for(server)])  # type: ignore[arg-type]
        yield console


def _pooled(environment: dict[str, str], **pool: float) -> dict[str, str]:
    options = {"pool": {"min_size": 0, **pool}}
    return environment | {"WAGTAIL_SMTP_TEST_POSTGRESQL_OPTIONS": json.dumps(options)}


@pytest.fixture(params=["pool", "PgBouncer"])
def shared(
    request: pytest.FixtureRequest,
    postgresql: PostgreSQL,
    postgresql_database: dict[str, str],
    server: HostileServer,
) -> Iterator[LogConsole]:
    """A process whose connections are handed on."""
    if request.param == "pool":
        with _console(_pooled(postgresql_database, max_size=4), server) as console:
            yield console
    else:
        with (
            PgBouncer(required_program(), postgresql, "transaction") as bouncer,
            _console(bouncer.through(postgresql_database), server) as console,
        ):
            yield console


@pytest.mark.threat(30)
def test_nothing_is_left_in_a_session(shared: LogConsole) -> None:
    subject = uuid4().hex[:8]
    for number in range(2):
        _took, warnings = shared("send_in_transaction", subject=f"{subject}-{number}")
        assert warnings == []
    shared("send", subject=f"{subject}-2")
    assert shared("send_on_loop", subject=f"{subject}-3") == []
    found = shared("timeouts", count=3)
    assert len({pid for pid, *_bounds in found}) == 3
    assert {tuple(bounds) for _pid, *bounds in found} == {("0", "0")}
    logged = {name: state for name, state, _ in shared("states", prefix=subject)}
    assert logged == {f"{subject}-{number}": "sent" for number in range(4)}


def test_no_connection_of_a_pool_is_free(
    postgresql_database: dict[str, str], server: HostileServer
) -> None:
    """The caller has the only one, and waits no longer than for anything else."""
    subject = uuid4().hex[:8]
    with _console(_pooled(postgresql_database, max_size=1, timeout=12), server) as console:
        took, [warning] = console("send_in_transaction", subject=subject)
        assert took < 9
        assert "can't be written now" in warning
        deadline = time.monotonic() + 40
        found = []
        while not found and time.monotonic() < deadline:
            # At its end, as after a request, the connection goes back.
            console("timeouts", count=1)
            time.sleep(0.1)
            found = console("states", prefix=subject)
        assert [state for _name, state, _ in found] == ["sent"]
