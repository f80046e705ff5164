"""A project from Wagtail's own template, with the plugin installed as the README says."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from html import unescape
from pathlib import Path
from socket import create_connection, create_server
from urllib.parse import urljoin

import requests

ROOT = Path(__file__).resolve().parents[2]
#: A page of the admin that belongs to the plugin.
OURS = re.compile(r"/admin/(email|snippets/wagtail_smtp)\b")
#: Seconds that a page may take.
_ANSWER = 60
#: What answers with a file or ends the session, or isn't a page of the plugin's own.
_LEFT_OUT = re.compile(r"export|download|logout|history|usage")


class Project:
    """What ``wagtail start`` made, in ``folder``, with the plugin installed.

    Its settings are those of production: ``DEBUG`` off, and static files with a manifest.

    Args:
        python: runs the project. This process's own finds the plugin in the repository; another
            must have it installed.
    """

    def __init__(self, folder: Path, installed: bool = True, python: str = sys.executable) -> None:
        self.folder = folder
        self.python = python
        #: What every process of the project has in its environment.
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "mysite.settings.production",
            "PYTHONPATH": str(ROOT) if python == sys.executable else "",
        }
        folder.mkdir()
        code = "from wagtail.bin.wagtail import main; main()"
        self.run("-c", code, "start", "mysite", str(folder)).check_returncode()
        self.write("settings/local.py", _LOCAL.format(key=secrets.token_hex(32)))
        if installed:
            self.install()

    def install(self) -> None:
        """The app above all others, and the backend."""
        base = self.folder / "mysite/settings/base.py"
        text = base.read_text()
        begin = "INSTALLED_APPS = [\n"
        assert begin in text
        text = text.replace(begin, f'{begin}    "wagtail_smtp",\n')
        base.write_text(f'{text}\nEMAIL_BACKEND = "wagtail_smtp.backend.EmailBackend"\n')

    def copied_to(self, folder: Path) -> "Project":
        """A copy, with a copy of its SQLite database."""
        shutil.copytree(self.folder, folder)
        copied = copy(self)
        copied.folder = folder
        return copied

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the project's Python in its folder; its output and exit code."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env=os.environ | self.environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def write(self, name: str, text: str) -> None:
        """Write a file of the project's package."""
        (self.folder / "mysite" / name).write_text(text)

    def append(self, name: str, text: str) -> None:
        """Add to the end of a file of the project's package."""
        self.write(name, f"{(self.folder / 'mysite' / name).read_text()}\n{text}")

    def manage(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py``; its output and exit code."""
        return self.run("manage.py", *arguments, **environment)

    def succeeds(self, *arguments: str, **environment: str) -> str:
        """Run ``manage.py``, which must succeed; what it printed."""
        done = self.manage(*arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def served(self, *server: str) -> Iterator["Browser"]:
        """The site; a browser that is logged in as a superuser.

        Args:
            server: the command, with ``ADDRESS`` and ``PORT`` where these belong. None: gunicorn.
        """
        server = server or ("-m", "gunicorn", "mysite.wsgi", "--bind", "ADDRESS")
        self.succeeds(
            "createsuperuser",
            "--noinput",
            "--username=admin",
            "--email=admin@example.com",
            DJANGO_SUPERUSER_PASSWORD="password of the tests",
        )
        with create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        address = f"127.0.0.1:{port}"
        command = [part.replace("ADDRESS", address).replace("PORT", port) for part in server]
        log = self.folder / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [self.python, *command],
                cwd=self.folder,
                env=os.environ | self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            _wait_for_port(process, int(port))
            with Browser(f"http://{address}") as browser:
                yield browser
        except BaseException as error:
            _stop(process, at_once=True)
            error.add_note(_end_of(log))
            raise
        stopped_itself = _stop(process)
        assert stopped_itself, f"The server did not stop: {_end_of(log)}"


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-10_000:]


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            return create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("The server did not start") from None
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes], at_once: bool = False) -> bool:
    """Stop a server and all that it started; whether a signal to terminate was enough."""
    if not at_once:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    stopped_itself = process.poll() is not None
    # Its workers are in its group, even if it's gone.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    return stopped_itself


class Browser:
    """A session of somebody who is logged in to the admin."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._session = requests.Session()

    def __enter__(self) -> "Browser":
        self.submit("/admin/login/", username="admin", password="password of the tests")
        return self

    def __exit__(self, *raised: object) -> None:
        self._session.close()

    def get(self, path: str) -> requests.Response:
        """A page."""
        return self._session.get(urljoin(self._site, path), timeout=_ANSWER)

    def submit(self, path: str, **values: str) -> requests.Response:
        """Send the form of a page; where that leads."""
        page = self.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token is not None
        return self._session.post(
            page.url,
            {"csrfmiddlewaretoken": token[1], **values},
            headers={"Referer": page.url},
            timeout=_ANSWER,
        )

    def plugin_pages(self) -> dict[str, requests.Response]:
        """Every page of the plugin that a link leads to, from the home page on."""
        pages: dict[str, requests.Response] = {}
        waiting = ["/admin/"]
        while waiting:
            path = waiting.pop()
            if path in pages or len(pages) > 60:
                continue
            pages[path] = page = self.get(path)
            for found in re.findall(r'(?:href|"url")(?:=|: ?)"([^"#?]+)', unescape(page.text)):
                if OURS.match(found) and not _LEFT_OUT.search(found):
                    waiting.append(found)
        return pages


_LOCAL = """
from pathlib import Path

SECRET_KEY = "{key}"
ALLOWED_HOSTS = ["127.0.0.1"]
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", 9
WAGTAILADMIN_BASE_URL = "http://127.0.0.1"
"""
