"""Clocks that are days off: leases, waits and ages of messages are counted by the database."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.programs.outbox_site import Site, site
from tests.support.servers.hostile_faults import Fault, Faults

pytestmark = pytest.mark.same_on_all_versions

#: More than the age at which the outbox gives a message up.
DAYS = 3 * 24 * 3600


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path: Path = tmp_path_factory.mktemp("clock") / "database.sqlite3"
    environment = {"WAGTAIL_SMTP_TEST_DATABASE": "", "WAGTAIL_SMTP_TEST_SQLITE": str(path)}
    with site(environment) as one:
        yield one


@pytest.fixture
def a_site(made: Site) -> Iterator[Site]:
    later = Fault("rcpt", "refuse", "450 4.2.1 Later", times=1)
    made.server.plan = Faults((later,))
    yield Site(made.console, made.server)
    made.console("reset")


@pytest.mark.parametrize("skew", [-DAYS, DAYS])
def test_a_worker_whose_clock_is_off(a_site: Site, skew: int) -> None:
    a_site.queue(12)
    pid = a_site.console("fork_worker", skew=skew)

    assert a_site.console("until_empty", prefix=a_site.prefix, timeout=10) == []

    assert a_site.account() == {"sent": 12}
    assert len(a_site.server.struck) == 1
    assert a_site.console("end", pid=pid) == 0


@pytest.mark.parametrize("skew", [-DAYS, DAYS])
def test_a_site_whose_clock_is_off(a_site: Site, skew: int) -> None:
    a_site.queue(3, skew=skew)

    a_site.finish(timeout=10)

    assert a_site.account() == {"sent": 3}


@pytest.mark.parametrize("skew", [-DAYS, DAYS])
def test_status_of_a_process_whose_clock_is_off(a_site: Site, skew: int) -> None:
    """A message that was just queued raises no alarm, and one that waits raises one."""
    a_site.queue(1)
    overdue, alarms = a_site.console("overdue", skew=skew)
    assert (overdue < 60, alarms) == (True, [])
    a_site.console("age", seconds=7200)
    overdue, alarms = a_site.console("overdue", skew=skew)
    assert (7200 <= overdue < 7260, len(alarms)) == (True, 1)


def test_a_clock_that_jumps_while_a_worker_has_messages(a_site: Site) -> None:
    """No other worker takes them before their lease is over."""
    a_site.queue(12)
    pid = a_site.console("fork_worker", pause="sending", OUTBOX_LEASE=20)
    assert a_site.console("until_paused", pid=pid, timeout=15)
    other = a_site.console("fork_worker", skew=DAYS)

    # The other worker sends the rest.
    until = time.monotonic() + 15
    while len(a_site.console("until_empty", prefix=a_site.prefix, timeout=0.5)) > 1:
        assert time.monotonic() < until
    left = a_site.console("until_empty", prefix=a_site.prefix, timeout=1)
    assert [state for _key, state, _tries in left] == ["sending"]
    a_site.console("resume", pid=pid)

    assert a_site.console("until_empty", prefix=a_site.prefix, timeout=10) == []
    assert a_site.account() == {"sent": 12}
    assert [a_site.console("end", pid=one) for one in (pid, other)] == [0, 0]
