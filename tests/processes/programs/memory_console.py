"""A process that measures by how much sending a message with an attachment makes it grow."""

import json
import os
import resource
import sys
from typing import Any

import django

from tests.processes.programs.console import Console, make_sets, migrate

__all__ = ["MemoryConsole", "make_sets", "migrate"]


class MemoryConsole(Console):
    """Runs the functions of this module's lower half in a process of their own.

    Args:
        conf: for WAGTAIL_SMTP.
    """

    module = "tests.processes.programs.memory_console"

    def __init__(self, database: dict[str, str], **conf: Any) -> None:
        # Long enough for a slow machine.
        chosen = {"conf": {"OUTBOX_LEASE": 60, **conf}}
        super().__init__(
            database
            | {
                "DJANGO_SETTINGS_MODULE": "tests.processes.programs.outbox_settings",
                "WAGTAIL_SMTP_TEST_OUTBOX": json.dumps(chosen),
            }
        )


def _message(content: bytes) -> Any:
    from django.core.mail import EmailMessage

    message = EmailMessage("Map", "See the map.", None, ["someone@example.org"])
    message.attach("map.bin", content, "application/octet-stream")
    return message


def _warm_up() -> None:
    """Send a small message: imports and connections don't count."""
    from django.core.mail import get_connection

    assert get_connection(delivery="immediate").send_messages([_message(b"x")]) == 1


def _grown(before: int) -> int:
    return _peak() - before


def _peak() -> int:
    """The largest resident set so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def send(size: int) -> int:
    """Send or queue a message with an attachment of ``size`` bytes; return the growth in bytes."""
    _warm_up()
    message = _message(os.urandom(size))
    before = _peak()
    assert message.send() == 1
    return _grown(before)


def drain() -> int:
    """Deliver the outbox; return the growth in bytes."""
    from wagtail_smtp.outbox.worker import Worker

    _warm_up()
    before = _peak()
    worker = Worker()
    assert worker.drain() == 1
    worker.close()
    return _grown(before)


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
