"""One long run: starts the processes, disturbs them, and takes samples."""

import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from tests.processes.programs.console import Console, child_environment, set_for
from tests.soak import blocks
from tests.soak.accounts import Account, Arrivals, Told
from tests.soak.samples import ENDED, Sample, tree
from tests.support.servers.hostile import HostileServer
from tests.support.servers.sprinkled import Sprinkled

#: Seconds between two samples.
INTERVAL = 3.0
SENDERS = 2
#: Seconds that processes may take to begin and to end, on the busiest machine.
PATIENCE = 900


class SoakConsole(Console):
    """Changes the site from a process of its own."""

    module = "tests.soak.console"


class Run:
    """A run on one database. Afterwards ``samples`` and ``account`` say what was seen."""

    def __init__(self, kind: str, database: dict[str, str], server: Any, seconds: float) -> None:
        self.kind = kind
        self.seconds = seconds
        #: Samples by the name of the process: seconds since the start, and what it had.
        self.samples: dict[str, list[tuple[float, Sample]]] = defaultdict(list)
        #: Connections to the database, as its server counts them.
        self.connections: list[tuple[float, float]] = []
        self.reloads = self.redirects = self.restarts = self.ended = 0
        self.account: Account
        self._environment = child_environment(
            database | {"DJANGO_SETTINGS_MODULE": "tests.soak.settings"}
        )
        self._database_server = server
        #: From when to when all email was redirected, and the database was away.
        self._redirected: list[tuple[float, float]] = []
        self._away: list[tuple[float, float]] = []

    def run(self) -> None:
        """Run, and account for every message."""
        arrivals = Arrivals()
        with ExitStack() as stack:
            self._blocks = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blocks-")))
            self._environment[blocks.FOLDER] = str(self._blocks)
            server = stack.enter_context(HostileServer(received=arrivals))
            server.plan = Sprinkled()
            self._console = stack.enter_context(SoakConsole(self._environment))
            self._console("migrate")
            self._console("make_set", **set_for(server))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
            self._log = stack.enter_context((folder / "log").open("ab+"))
            outputs = self._start(stack, folder)
            self._disturb()
            self._stop()
            left = self._console("drain", patience=180)
            states = self._console("states")
            told = [Told.read(line) for path in outputs for line in path.open()]
        self.account = Account(told, dict(states), arrivals, self._redirected, self._away, left)

    def _start(self, stack: ExitStack, folder: Path) -> list[Path]:
        outputs = [folder / f"sender {number}" for number in range(1, SENDERS + 1)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for output in outputs:
            command = ["-m", "tests.soak.sender", output.name.replace(" ", "")]
            self._begin(output.name, command, stack.enter_context(output.open("wb")))
        command = ["-m", "django", "smtp_outbox", "--work", "--processes", "2", "--threads", "2"]
        self._begin("worker", command, stack.enter_context((folder / "worker").open("wb")))
        stack.callback(self._stop)
        self._wait_for(outputs)
        return outputs

    def _wait_for(self, outputs: list[Path]) -> None:
        """Until all processes send."""
        deadline = time.monotonic() + PATIENCE
        worker = self._processes["worker"].pid
        while len(list(tree(worker))) < 3 or not all(path.stat().st_size for path in outputs):
            ended = [
                name for name, process in self._processes.items() if process.poll() is not None
            ]
            assert not ended, f"{ended} ended"
            assert time.monotonic() < deadline, "the processes don't begin"
            time.sleep(0.2)

    def _begin(self, name: str, command: list[str], output: IO[bytes]) -> None:
        self._processes[name] = subprocess.Popen(
            [sys.executable, *command],
            env=self._environment,
            stdout=output,
            # Each fault is a line; only how a process ends is worth reading.
            stderr=self._log,
        )

    def _disturb(self) -> None:
        """Reload, redirect and restart until the time is over; the last third without restarts."""
        self._began = time.monotonic()
        period = min(60.0, self.seconds / 3)
        restarts = [self.seconds * part for part in (0.4, 0.6)] if self._database_server else []
        turn = 0
        while (now := time.monotonic() - self._began) < self.seconds:
            if restarts and now > restarts[0]:
                restarts.pop(0)
                self._restart()
            elif now > turn * period / 2:
                self._switch(redirect=turn % 2 == 1)
                turn += 1
            self._sample()
            time.sleep(max(0.0, INTERVAL - (time.monotonic() - self._began - now)))

    def _switch(self, *, redirect: bool) -> None:
        asked = time.monotonic()
        self._console("switch", redirect=redirect)
        self.reloads += 1
        if redirect:
            self.redirects += 1
            # From the answer on; until the end is asked for, which the next switch says.
            self._redirected.append((time.monotonic(), float("inf")))
        elif self._redirected and self._redirected[-1][1] == float("inf"):
            self._redirected[-1] = (self._redirected[-1][0], asked)

    def _restart(self) -> None:
        began = time.monotonic()
        self._database_server.stop()
        time.sleep(1)
        self._database_server.start()
        self._console("reconnect")
        self.restarts += 1
        self._away.append((began, time.monotonic()))

    def _sample(self) -> None:
        at = time.monotonic() - self._began
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} has ended: {Path(self._log.name).read_text()[-3000:]}")
            for number, pid in enumerate(tree(process.pid)):
                label = name if not number else f"{name}, child {number}"
                try:
                    self.samples[label].append((at, Sample.of(pid, self._blocks)))
                except ENDED:
                    self.ended += 1
        self.connections.append((at, self._console("connections")))

    def _stop(self) -> None:
        """End the processes as a deployment does, and wait for what they have begun."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(PATIENCE)
