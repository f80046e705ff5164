"""What a process has at one time, and whether it has more and more of it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

from tests.soak import blocks


@dataclass(frozen=True)
class Sample:
    """One process: memory in MB, thousands of blocks of Python's allocator, and numbers."""

    memory: float
    blocks: float
    sockets: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int, blocks_folder: Path) -> "Sample":
        """What the system and the process itself say; OSError if it has ended."""
        process = Path("/proc", str(pid))
        lines = (process / "status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        if "VmRSS" not in status:
            raise ProcessLookupError(f"{pid} has ended and waits for its parent")
        targets = []
        for file in (process / "fd").iterdir():
            try:
                targets.append(os.readlink(file))
            except FileNotFoundError:  # closed since
                continue
        sockets = sum(target.startswith("socket:") for target in targets)
        memory = int(status["VmRSS"].split()[0]) / 1024
        files, threads = len(targets) - sockets, int(status["Threads"])
        return cls(memory, blocks.read(blocks_folder, pid), sockets, files, threads)


#: Errors that mean that a process or thread has ended.
ENDED = (FileNotFoundError, ProcessLookupError)
NAMES = tuple(field.name for field in fields(Sample))


def tree(pid: int) -> Iterator[int]:
    """A process and its descendants, in the order in which they began."""
    yield pid
    children: list[str] = []
    with suppress(*ENDED):  # the process
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(*ENDED):  # the thread
                children += (thread / "children").read_text().split()
    for child in children:
        yield from tree(int(child))


@dataclass(frozen=True)
class Growth:
    """How a number was after warming up, and at the end; and its slope in an hour."""

    early: float
    late: float
    slope: float

    @classmethod
    def of(cls, taken: Sequence[tuple[float, float]]) -> "Growth":
        """From pairs of seconds and a value. The first quarter is for warming up."""
        warm = taken[len(taken) // 4 :]
        third = max(1, len(warm) // 3)
        early, late = (
            median(value for _at, value in part) for part in (warm[:third], warm[-third:])
        )
        return cls(early, late, _slope(warm) * 3600)


def _slope(taken: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between pairs (Theil and Sen): single peaks don't count."""
    step = max(1, len(taken) // 200)
    points = taken[::step]
    slopes = [
        (later - earlier) / (then - at)
        for number, (at, earlier) in enumerate(points)
        for then, later in points[number + 1 :]
        if then > at
    ]
    return median(slopes) if slopes else 0.0
