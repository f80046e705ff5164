"""Bounces that Postfix pipes into smtp_bounces, as the documentation says."""

import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes.programs.console import Console, child_environment, set_for
from tests.support.servers.postfix import Postfix, require_postfix

pytestmark = pytest.mark.same_on_all_versions

_HOW_TO = Path(__file__).parents[2] / "docs/how-to/read-bounces.md"

#: Postfix runs no command as root, and no one else may be able to read the project and its Python.
#: So the command hands everything to the test, and waits for the exit code.
_HAND_OVER = """\
#!/bin/sh
umask 0
at={directory}/handed-over/$$
cat > $at.message || exit 70
echo "$@" > $at.new && mv $at.new $at.arguments
while [ ! -e $at.code ]; do sleep 0.1; done
exit "$(cat $at.code)"
"""


class _Piped:
    """What Postfix pipes into the command of the documentation."""

    def __init__(self, postfix: Postfix) -> None:
        self._directory = postfix.directory / "handed-over"
        self._directory.mkdir()
        self._directory.chmod(0o777)
        command = postfix.directory / "manage.py"
        command.write_text(_HAND_OVER.format(directory=postfix.directory))
        command.chmod(0o755)

    def run_next(self, environment: Mapping[str, str], returns: int | None = None) -> int:
        """Run the command with the next message, and return its exit code.

        Args:
            returns: the exit code in place of the command's, which isn't run.
        """
        _until(lambda: any(self._directory.glob("*.arguments")))
        [arguments] = self._directory.glob("*.arguments")
        if returns is None:
            with arguments.with_suffix(".message").open("rb") as message:
                returns = subprocess.run(
                    [sys.executable, "-m", "django", *arguments.read_text().split()],
                    env=child_environment(dict(environment)),
                    stdin=message,
                ).returncode
        arguments.unlink()
        new = arguments.with_suffix(".new")
        new.write_text(str(returns))
        new.rename(arguments.with_suffix(".code"))
        return returns


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def postfix() -> Iterator[Postfix]:
    require_postfix()
    [line] = re.findall(r"^bounces: .*$", _HOW_TO.read_text(), re.MULTILINE)
    python, project = "/srv/example/venv/bin/python", "/srv/example/manage.py"
    assert f"{python} {project} " in line
    with Postfix(aliases=line.replace(f"{python} {project}", "{directory}/manage.py")) as server:
        yield server


def test_bounces_by_a_pipe(postfix: Postfix, tmp_path: Path) -> None:
    """Postfix keeps a bounce until the command has recorded it, and returns it to no one."""
    path = tmp_path / "database.sqlite3"
    database = {"WAGTAIL_SMTP_TEST_DATABASE": "", "WAGTAIL_SMTP_TEST_SQLITE": str(path)}
    piped = _Piped(postfix)
    with Console(database) as console:
        console("migrate")
        bounces = {"bounce_address": "bounces@example.org", "bounce_separator": "+"}
        console("make_sets", servers=[set_for(postfix) | bounces])  # type: ignore[arg-type]
        console("send", subject="Hello")  # to someone whom Postfix doesn't know
    # A virtual environment that is being replaced, and a database that can't be reached.
    piped.run_next(database, returns=127)
    lost = {"WAGTAIL_SMTP_TEST_SQLITE": str(tmp_path / "gone" / "database.sqlite3")}
    assert piped.run_next(database | lost) == 75
    assert piped.run_next(database) == 0
    assert postfix.messages() == []  # waits until the queue is empty
    assert re.findall(r"relay=local,.* status=(\w+)", postfix.log) == [
        "bounced", "deferred", "deferred", "sent",
    ]  # fmt: skip
    with closing(sqlite3.connect(path)) as connection:
        recipients = "SELECT address, reported FROM wagtail_smtp_logrecipient WHERE role = ?"
        found = connection.execute(recipients, ["envelope"]).fetchall()
        assert found == [("someone@example.org", "bounced")]
        sources = connection.execute("SELECT recorded, unverified FROM wagtail_smtp_bouncesource")
        assert sources.fetchall() == [(1, 0)]
