"""The reload promise: what begins after a reload returned leaves through the new settings."""

import bisect
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes.programs.console import Console, child_environment, set_for, subjects
from tests.support.servers.smtp_server import SMTPServer, free_port

pytestmark = pytest.mark.same_on_all_versions

SWITCHES = 20
PAUSE = 0.2
SENDERS = ("each", "opened", "loop")


@dataclass(frozen=True)
class Sent:
    """A message and when sending it began and ended."""

    subject: str
    began: float
    ended: float


class Senders:
    """Processes that send, each as fast as it can, until the ``with`` block ends."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self._environment = child_environment(environment)
        self._directory = directory
        self._errors: list[str] = []
        self.sent: list[Sent] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        with ExitStack() as stack:
            for kind in SENDERS:
                stack.enter_context(self._script(kind))
            stack.enter_context(self._site())
            yield
        assert self._errors == []

    def until_all_have_sent(self) -> None:
        """Wait until each has begun a message after now, which takes long on a busy machine."""
        before = self._lines()
        deadline = time.monotonic() + 20
        # The first may have been on its way already.
        while any(now < then + 2 for now, then in zip(self._lines(), before, strict=True)):
            assert time.monotonic() < deadline, "somebody doesn't send any more"
            time.sleep(0.02)

    def _lines(self) -> list[int]:
        """How many messages each has sent."""
        scripts = [(self._directory / kind).read_text().count("\n") for kind in SENDERS]
        return [*scripts, len(self.sent)]

    @contextmanager
    def _script(self, kind: str) -> Iterator[None]:
        path = self._directory / kind
        with path.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.processes.programs.sender", kind],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
            )
        with process:
            try:
                yield
                assert process.poll() is None, f"sender {kind} ended early"
                process.communicate(timeout=10)
                assert process.returncode == 0
            finally:
                process.kill()
        self.sent += [Sent(**json.loads(line)) for line in path.read_text().splitlines()]

    @contextmanager
    def _site(self) -> Iterator[None]:
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "tests.processes.programs.site:application"]
        command += ["-b", f"127.0.0.1:{port}", "-w", "2", "-k", "gthread", "--threads", "2"]
        command += ["--log-level", "warning"]
        stop = threading.Event()
        threads = [threading.Thread(target=self._visit, args=(port, n, stop)) for n in range(3)]
        with subprocess.Popen(command, env=self._environment) as process:
            try:
                wait_for(port, process)
                for thread in threads:
                    thread.start()
                yield
            finally:
                stop.set()
                for thread in threads:
                    if thread.ident:
                        thread.join()
                process.send_signal(signal.SIGTERM)

    def _visit(self, port: int, visitor: int, stop: threading.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            subject = f"site-{visitor}-{number}"
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request("GET", f"/send?subject={subject}")
                response = connection.getresponse()
                if response.status == 200:
                    self.sent.append(Sent(subject, **json.loads(response.read())))
                else:
                    self._errors.append(f"{subject}: {response.status}")
            except OSError as error:
                self._errors.append(f"{subject}: {error!r}")
            finally:
                connection.close()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers at the port."""
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("GET", "/nothing")
            connection.getresponse().read()
            return
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        finally:
            connection.close()


def broken_promises(
    sent: list[Sent], arrived_at: dict[str, int], reloads: list[tuple[float, float]]
) -> list[str]:
    """Messages that left through neither the newest settings nor ones made live meanwhile.

    Before the reloads, server 0 is in force; the reload with index 0 switches to server 1.
    """
    returned = [moment for _, moment in reloads]
    broken = []
    for message in sent:
        in_force = bisect.bisect_right(returned, message.began)
        meanwhile = in_force < len(reloads) and reloads[in_force][0] <= message.ended
        if arrived_at[message.subject] != in_force % 2 and not meanwhile:
            late = message.began - returned[in_force - 1] if in_force else 0
            broken.append(f"{message.subject}, begun {late:.3f} s after reload {in_force}")
    return broken


def test_no_message_leaves_through_old_settings(
    database: dict[str, str],
    smtp_server: SMTPServer,
    other_server: SMTPServer,
    tmp_path: Path,
) -> None:
    senders = Senders(database, tmp_path)
    with Console(database) as console:
        console("migrate")
        console("make_sets", servers=[set_for(smtp_server), set_for(other_server)])
        reloads = []
        with senders.running():
            for _ in range(SWITCHES):
                time.sleep(PAUSE)
                senders.until_all_have_sent()
                reloads.append(tuple(console("switch")))
            time.sleep(PAUSE)
            senders.until_all_have_sent()

    servers = [subjects(smtp_server), subjects(other_server)]
    count = Counter(servers[0] + servers[1])
    assert [subject for subject, times in count.items() if times > 1] == []
    assert {message.subject for message in senders.sent} == set(count)
    arrived_at = {subject: n for n in (0, 1) for subject in servers[n]}
    assert broken_promises(senders.sent, arrived_at, reloads) == []
    # Each kind of sender sent between any two reloads, or little was shown.
    for kind in (*SENDERS, "site"):
        began = sorted(m.began for m in senders.sent if m.subject.startswith(kind))
        between = {bisect.bisect_right([moment for _, moment in reloads], at) for at in began}
        assert len(between) > SWITCHES // 2, f"{kind} sent {len(began)} messages only"


@pytest.mark.parametrize(("late", "server", "broken"), [(0.5, 0, 1), (0.5, 1, 0), (-0.5, 0, 0)])
def test_the_check_itself(late: float, server: int, broken: int) -> None:
    """A message after the only reload at the old server is found, others are not."""
    sent = [Sent("one", 10 + late, 10.2 + late)]

    assert len(broken_promises(sent, {"one": server}, [(9.9, 10.0)])) == broken
