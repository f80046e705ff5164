"""The demo as its users start it, and Debian's Chromium looking at it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

# A busy machine may need more than the default of 5 seconds for a page.
expect.set_options(timeout=30_000)

ROOT = Path(__file__).resolve().parents[2]
#: --no-sandbox for containers where Chromium runs as root; the rest keeps it off the network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def browser_path() -> str:
    """Chromium's path; without one the test is skipped, or fails where it must not be."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "no Chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("WAGTAIL_SMTP_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row that are free."""
    for first in range(20000 + os.getpid() % 5000, 32000, count):
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports in a row")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show the page on which a test failed."""
    report = yield
    person = getattr(item, "funcargs", {}).get("person")
    if report.when == "call" and report.failed and person is not None:
        try:
            page = person.page
            report.sections.append(("The page", f"{page.url}\n{page.inner_text('body')}"))
        except Exception as error:  # the browser may be what failed
            report.sections.append(("The page", repr(error)))
    return report


def text_of(page: Any, selector: str = "main") -> str:
    """The text of an element once the page has loaded; a click doesn't wait for all of it."""
    page.wait_for_load_state()
    return str(page.inner_text(selector))


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo keeps its data."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="session")
def demo(demo_folder: Path) -> Iterator[str]:
    """The running demo's address, with data of its own."""
    with running_demo(demo_folder) as url:
        yield url


@contextmanager
def running_demo(folder: Path, program: str = "example_site", **environment: str) -> Iterator[str]:
    """Run a program that is the demo, with its data in ``folder``; its address."""
    browser_path()
    port = free_ports(4)
    inherited = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    log = folder / "output.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", program],
            cwd=ROOT,
            env=inherited | {"DEMO_DIR": str(folder), "PORT": str(port)} | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def run_in_demo(folder: Path, code: str, **environment: str) -> None:
    """Run code in the project of the demo whose data is in ``folder``."""
    inherited = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(
        [sys.executable, "-m", "example_site", "shell", "-c", code],
        cwd=ROOT,
        env=inherited | {"DEMO_DIR": str(folder)} | environment,
        check=True,
    )


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(url + "/admin/login/", timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"The demo didn't start:\n{log.read_text()}")
