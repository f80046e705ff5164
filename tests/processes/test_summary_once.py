"""Several processes send summaries at the same time: each recipient gets one."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.processes.conftest import Environment
from tests.processes.programs.console import set_for
from tests.processes.programs.summary_console import SummaryConsole
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.smtp_server import SMTPServer

pytestmark = pytest.mark.same_on_all_versions

USERS = 8
EVERYONE = Counter({f"user{number}@example.com": 1 for number in range(USERS)})


def _arrived(server: SMTPServer) -> Counter[str]:
    received = [*server.received]
    addresses = (address for each in received for address in each.recipients)
    return Counter(address for address in addresses if address != "admin@example.com")


def _until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_each_gets_one_from_many_processes(database: Environment) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(SMTPServer())
        consoles = [stack.enter_context(SummaryConsole(database)) for _each in range(3)]
        first = consoles[0]
        first("migrate")
        first("make_sets", servers=[set_for(server)])
        first("subscribe", count=USERS)
        for console in consoles:
            console("start", prefix="/below/")
        for console in consoles:
            assert console("wait", seconds=60)
        assert _arrived(server) == EVERYONE
        assert b"http://testserver/below/admin/email/" in server.received[0].content
        for console in consoles:
            console("start")
            assert console("wait", seconds=60)
        assert _arrived(server) == EVERYONE


def test_a_process_that_dies_loses_at_most_one(database: Environment) -> None:
    hangs = Fault("data", "hang", on_connection=1, skip=2)
    with ExitStack() as stack:
        server = stack.enter_context(HostileServer(faults=[hangs]))
        dying, other = (stack.enter_context(SummaryConsole(database)) for _each in range(2))
        dying("migrate")
        dying("make_sets", servers=[set_for(server)])
        dying("subscribe", count=USERS)
        dying("start")
        _until(lambda: sum(_arrived(server).values()) == 2)
        assert not dying("wait", seconds=1)
        dying._process.kill()
        dying._process.wait(20)
        other("start")
        assert other("wait", seconds=60)
        arrived = _arrived(server)
        assert set(arrived.values()) == {1}
        assert len(arrived) == USERS - 1


def test_no_request_waits_for_a_server_that_hangs(database: Environment) -> None:
    with HostileServer(faults=[Fault("banner", "hang")]) as server:
        with SummaryConsole(database) as console:
            console("migrate")
            console("make_sets", servers=[set_for(server)])  # type: ignore[arg-type]
            console("subscribe", count=2)
            assert console("end_request") < 5
            assert not console("wait", seconds=0.2)
            # A look while the first one is still sending starts no second thread.
            console("start")
            assert not console("wait", seconds=0.2)
        assert _arrived(server) == Counter()
