"""Contenders in turn, one message each a round, so that drift of the machine hits all alike."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Action = Callable[[], object]


@dataclass(frozen=True)
class Contender:
    """What is measured: ``send``."""

    name: str
    send: Action


@dataclass(frozen=True)
class Sample:
    """The times of one contender, in seconds."""

    name: str
    times: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.times)

    @property
    def p95(self) -> float:
        """The time that the slowest 5 % exceed."""
        return self._percentile(95)

    @property
    def p99(self) -> float:
        """The time that the slowest 1 % exceed."""
        return self._percentile(99)

    def _percentile(self, per_cent: int) -> float:
        return quantiles(self.times, n=100, method="inclusive")[per_cent - 1]


def interleaved(
    contenders: Sequence[Contender],
    rounds: int,
    *,
    warm: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Sample]:
    """Measure all contenders in rounds; in each round all send once, in an order by chance.

    Args:
        warm: rounds before the first that counts.
        clock: seconds; of the wall, or of the processor.
    """
    order = list(contenders)
    by_chance = random.Random(1)
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(-warm, rounds):
        by_chance.shuffle(order)
        for contender in order:
            started = clock()
            contender.send()
            taken = clock() - started
            if number >= 0:
                times[contender.name].append(taken)
    return {name: Sample(name, tuple(taken)) for name, taken in times.items()}
