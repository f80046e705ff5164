"""A limit is exact for all processes and threads of a site, and what is over it goes elsewhere."""

import pytest

from tests.processes.conftest import Environment
from tests.processes.programs.console import set_for
from tests.processes.programs.outbox_console import OutboxConsole
from tests.processes.programs.outbox_site import Site
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault

pytestmark = pytest.mark.same_on_all_versions

#: Given back, and tried again.
LATER = Fault("rcpt", "refuse", "451 4.3.0 Later", skip=5, times=3)


def test_eight_processes_keep_to_a_limit(database: Environment) -> None:
    with (
        HostileServer(faults=[LATER]) as first,
        HostileServer() as second,
        OutboxConsole(database, conf={"OUTBOX_LEASE": 60}) as console,
    ):
        console("migrate")
        sets = [set_for(first) | {"max_per_hour": 40}, set_for(second)]  # type: ignore[arg-type]
        console("make_sets", servers=sets)
        assert console("reserve_at_once", threads=8, limit=60) == 60
        site = Site(console, first)
        try:
            site.queue(90)
            site.finish(timeout=60, workers=8)
        finally:
            console("end_all")
        # No more than the limit, and no fewer, because there was more email than that.
        assert len(first.received) == 40
        assert len(second.received) == 50
        subjects = {str(item.message["Subject"]) for item in (*first.received, *second.received)}
        assert len(subjects) == 90
        assert {state for _subject, state, _n in console("states", prefix=site.prefix)} == {"sent"}
