"""A site whose messages are queued, its SMTP server, and the account of what became of them."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from tests.processes.programs.console import set_for
from tests.processes.programs.outbox_console import OutboxConsole
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault, Faults, Phase

#: The states in which nothing more happens to a message by itself.
FINAL = ("sent", "refused", "failed", "unknown")


class Held(Faults):
    """Holds who comes to a phase, the first or after ``skip`` others, until :meth:`release`."""

    def __init__(self, phase: Phase, skip: int = 0) -> None:
        super().__init__(())
        self._phase = phase
        self._left = skip
        self._lock = threading.Lock()
        self._reached = threading.Event()
        self._released = threading.Event()

    def at(self, phase: Phase, connection: int) -> Fault | None:
        if phase == self._phase:
            with self._lock:
                self._left -= 1
                is_held = self._left == -1
            if is_held:
                self._reached.set()
                self._released.wait(30)
        return None

    def until_reached(self) -> None:
        """Wait until a message has come so far."""
        assert self._reached.wait(15)

    def release(self) -> None:
        """Let the server go on as if nothing had been."""
        self._released.set()


@dataclass
class Site:
    """``console`` queues and has workers; ``prefix`` begins the subjects of one test."""

    console: OutboxConsole
    server: HostileServer
    prefix: str = field(default_factory=lambda: uuid4().hex[:8])

    def queue(self, count: int, octets: int = 0, **options: object) -> None:
        """Queue that many messages."""
        self._queued = getattr(self, "_queued", 0) + count
        first = self._queued - count
        subjects = [f"{self.prefix}-{number}" for number in range(first, self._queued)]
        assert self.console("queue", subjects=subjects, octets=octets, **options) == count

    def finish(self, timeout: float = 15, workers: int = 1) -> None:
        """Have workers go on until nothing is left, and stop them."""
        pids = [self.console("fork_worker") for _ in range(workers)]
        assert self.console("until_empty", prefix=self.prefix, timeout=timeout) == []
        for pid in pids:
            assert self.console("end", pid=pid) == 0

    @property
    def arrived(self) -> Counter[str]:
        """How often each message was taken by the server."""
        subjects = (str(received.message["Subject"]) for received in self.server.received)
        return Counter(subject for subject in subjects if subject.startswith(self.prefix))

    def account(self) -> Counter[str]:
        """How many messages ended in each state; all that is promised of them holds."""
        entries = self.console("states", prefix=self.prefix)
        arrived = self.arrived
        final = {subject: state for subject, state, _attempts in entries}
        assert len(entries) == len(final) == self._queued
        assert set(final.values()) <= set(FINAL)
        assert set(arrived) <= set(final)
        for subject, state in final.items():
            count = arrived[subject]
            is_right = {"sent": count == 1, "unknown": count <= 1}.get(state, count == 0)
            assert is_right, f"{subject} is {state} and arrived {count} times"
        return Counter(final.values())


@contextmanager
def site(database: dict[str, str], **chosen: object) -> Iterator[Site]:
    """A new site; see :class:`OutboxConsole`."""
    with HostileServer() as server, OutboxConsole(database, **chosen) as console:
        console("migrate")
        console("make_sets", servers=[set_for(server) | {"timeout": 5}])  # type: ignore[arg-type]
        try:
            yield Site(console, server)
        finally:
            console("end_all")
