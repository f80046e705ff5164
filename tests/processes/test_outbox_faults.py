"""Many messages, several workers, a server that fails now and then: the account is right."""

import pytest

from tests.processes.programs.outbox_site import site
from tests.support.servers.sprinkled import Sprinkled

pytestmark = pytest.mark.same_on_all_versions

MESSAGES = 300


@pytest.mark.parametrize("workers", [2, 4])
def test_each_message_ends_in_one_state(database: dict[str, str], workers: int) -> None:
    # A lease that no machine is too slow for: nobody dies here.
    conf = {
        "OUTBOX_LEASE": 60,
        "FINAL_REPLY_TIMEOUT_IN_WORKERS": 1,
        "ALERT_INTERVAL": 3600,
    }
    with site(database, conf=conf) as made:
        made.server.plan = Sprinkled()
        made.queue(MESSAGES)

        made.finish(timeout=120, workers=workers)

        ends = made.account()
        struck = len(made.server.struck)
    assert ends.total() == MESSAGES
    assert ends["failed"] == 0
    assert ends["sent"] > 0.9 * MESSAGES
    assert ends["refused"] > 0
    assert ends["unknown"] > 0
    assert 0.02 * MESSAGES < struck < 0.09 * MESSAGES
