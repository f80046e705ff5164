"""What stands around a measurement, in processes of its own: servers, delay, certificates."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

USERNAME = "user@example.com"
PASSWORD = "secret of the benchmarks"
ENCRYPTIONS = ("starttls", "ssl", "none")
#: Variable in which the processes that measure find their :class:`Around`.
VARIABLE = "WAGTAIL_SMTP_BENCHMARK"
#: Variable with Django settings that a process has of its own, as JSON.
SETTINGS = "WAGTAIL_SMTP_BENCHMARK_SETTINGS"
#: With any value in this variable SQLite writes ahead, as projects with many writers set it up.
WRITE_AHEAD = "WAGTAIL_SMTP_BENCHMARK_WRITE_AHEAD"
#: Variables with the length of the delivery log, and with the days after which it is pruned.
LOG_ENTRIES = "WAGTAIL_SMTP_BENCHMARK_LOG_ENTRIES"
KEEP_LOG_DAYS = "WAGTAIL_SMTP_BENCHMARK_KEEP_LOG_DAYS"
ROUND_TRIP = 0.020
#: Seconds by which the measured round trip may differ from it.
_TOLERANCE = 0.0005
_PINGS = 30


@dataclass(frozen=True)
class Around:
    """Where things are: ports by encryption, files as paths.

    ``data_only`` is a server in plain text without CHUNKING. ``subjects`` are files in which the
    first two of the ports in ``recording`` write the subjects of what arrives.
    """

    loopback: dict[str, int]
    delayed: dict[str, int]
    recording: list[int]
    data_only: int
    subjects: list[str]
    authority: str
    directory: str

    @classmethod
    def from_environment(cls) -> "Around":
        """What the process that started this one has set up."""
        return cls(**json.loads(os.environ[VARIABLE]))

    @property
    def authority_pem(self) -> str:
        """The certificate of the throwaway authority."""
        return Path(self.authority).read_text()

    @property
    def bundle(self) -> str:
        """The machine's authorities and the throwaway one, as OpenSSL reads them."""
        return str(Path(self.directory) / "bundle.pem")


class Services:
    """Start with ``with``; gives an :class:`Around`."""

    def __enter__(self) -> Around:
        with ExitStack() as stack:
            directory = Path(tempfile.mkdtemp(prefix="bench-"))
            stack.callback(shutil.rmtree, directory)
            make_certificates(directory)
            server = ["benchmarks.server", "--certificate", str(directory / "server.pem")]
            loopback = {
                encryption: start(stack, *server, "--encryption", encryption)
                for encryption in ENCRYPTIONS
            }
            delay = calibrated_delay(loopback["none"])
            delayed = {
                encryption: start(stack, *_delayed(port, delay))
                for encryption, port in loopback.items()
            }
            data_only = start(stack, *server, "--encryption", "none", "--no-chunking")
            subjects = [str(directory / f"subjects-{number}") for number in (0, 1)]
            recording = [start(stack, *server, "--subjects", path) for path in subjects]
            self._stack = stack.pop_all()
        return Around(
            loopback,
            delayed,
            recording,
            data_only,
            subjects,
            str(directory / "ca.pem"),
            str(directory),
        )

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


def start(stack: ExitStack, module: str, *arguments: str) -> int:
    """Start a module that prints its port and ends with its standard input; the port."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(process)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{module} did not start"
    return int(line)


def make_certificates(directory: Path) -> None:
    """A throwaway authority, a server's certificate, and the machine's bundle with both."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        directory / "server.pem"
    )
    machine = ssl.get_default_verify_paths().cafile
    authorities = Path(machine).read_bytes() if machine else b""
    (directory / "bundle.pem").write_bytes(authorities + authority.cert_pem.bytes())


def environment(around: Around) -> dict[str, str]:
    """The environment of a process that measures.

    Stock Django has no option for a private authority, so all that read the machine's
    bundle read the copy that has it: the same work as in production.
    """
    return os.environ | {VARIABLE: json.dumps(asdict(around)), "SSL_CERT_FILE": around.bundle}


def _delayed(port: int, delay: float) -> list[str]:
    return ["benchmarks.delay", "--to", str(port), "--delay", str(delay)]


def calibrated_delay(port: int) -> float:
    """Seconds each way that give the round trip: processes wake up late, and that counts too."""
    wanted = ROUND_TRIP / 2
    with ExitStack() as stack:
        found = round_trip(start(stack, *_delayed(port, wanted)))
    return wanted - (found - ROUND_TRIP) / 2


def round_trip(port: int) -> float:
    """Median seconds of a NOOP on the plain server behind ``port``."""
    times = []
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.recv(1000)
        for _ in range(_PINGS):
            started = time.perf_counter()
            sock.sendall(b"NOOP\r\n")
            sock.recv(1000)
            times.append(time.perf_counter() - started)
    return median(times)


def checked_round_trip(around: Around) -> float:
    """Median seconds of the delayed round trip.

    Raises:
        RuntimeError: it isn't what it should be, so nothing could be said of any message.
    """
    found = round_trip(around.delayed["none"])
    if abs(found - ROUND_TRIP) > _TOLERANCE:
        raise RuntimeError(f"the round trip is {found * 1000:.2f} ms, not {ROUND_TRIP * 1000} ms")
    return found


def measured_context(bundle: str) -> dict[str, float]:
    """How long building an SSL context takes, and how many authorities it has."""
    times = []
    for _ in range(_PINGS):
        started = time.perf_counter()
        context = ssl.create_default_context(cafile=bundle)
        times.append(time.perf_counter() - started)
    return {"ms": median(times) * 1000, "authorities": context.cert_store_stats()["x509"]}
