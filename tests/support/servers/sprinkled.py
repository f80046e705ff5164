"""Faults that strike a server by chance."""

import random
import threading

from tests.support.servers.hostile_faults import Fault, Faults, Phase

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
