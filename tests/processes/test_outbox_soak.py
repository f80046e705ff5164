"""Many messages, several workers, a server that fails now and then: the account is right."""

import os
import random
import threading

import pytest

from tests.processes.programs.outbox_site import site
from tests.support.servers.hostile_faults import Fault, Faults, Phase

pytestmark = pytest.mark.same_on_all_versions

#: `make soak` asks for 10,000.
MESSAGES = int(os.environ.get("WAGTAIL_SMTP_SOAK_MESSAGES", "300"))
WORKERS = 4
#: How many of 10,000 visits to a phase meet what; about 5 % of the messages meet something.
SPRINKLED: dict[Phase, list[tuple[int, Fault]]] = {
    "mail": [(50, Fault("mail", "close")), (50, Fault("mail", "refuse", "451 4.3.0 Later"))],
    "rcpt": [(100, Fault("rcpt", "refuse", "450 4.2.1 Later"))],
    "body": [(50, Fault("body", "reset"))],
    "end": [
        (100, Fault("end", "refuse", "554 5.7.1 Never")),
        (50, Fault("end", "close", taken=True)),
        (50, Fault("end", "close")),
        (20, Fault("end", "slow", taken=True, delay=0.01)),
        (20, Fault("end", "hang", taken=True)),
        (10, Fault("end", "hang")),
    ],
}


class Sprinkled(Faults):
    """Faults that strike by chance, the same at each run."""

    def __init__(self) -> None:
        super().__init__(())
        self._lock = threading.Lock()
        # One sequence for each phase: how often others are visited doesn't shift it.
        self._draws = {phase: random.Random(f"20261123 {phase}") for phase in SPRINKLED}

    def at(self, phase: Phase, connection: int) -> Fault | None:
        if phase not in SPRINKLED:
            return None
        with self._lock:
            drawn = self._draws[phase].randrange(10_000)
        for weight, fault in SPRINKLED[phase]:
            if drawn < weight:
                return fault
            drawn -= weight
        return None


@pytest.mark.parametrize("workers", [WORKERS] if MESSAGES > 1000 else [2, WORKERS])
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
