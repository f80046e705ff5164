"""Sends without pause until its standard input is closed, as a worker of a site would.

Prints a line of JSON for each message: its subject, and when sending began and ended.
"""

import asyncio
import itertools
import json
import select
import sys
import time
from collections.abc import Callable

import django
from django.core.mail import EmailMessage, send_mail

Send = Callable[[str], object]


def each(subject: str) -> None:
    """A backend, and a session, of its own for each message."""
    send_mail(subject, "Body", None, ["someone@example.org"])


def opened() -> Send:
    """One backend that stays open, whose sessions live on between messages."""
    from wagtail_smtp.backend import EmailBackend

    backend = EmailBackend()
    backend.open()
    return lambda subject: backend.send_messages(
        [EmailMessage(subject, "Body", None, ["someone@example.org"])]
    )


def run(name: str, send: Send) -> None:
    """Send until standard input is closed."""
    for number in itertools.count():
        if select.select([sys.stdin], [], [], 0)[0]:
            return
        subject = f"{name}-{number}"
        began = time.monotonic()
        send(subject)
        ended = time.monotonic()
        line = json.dumps({"subject": subject, "began": began, "ended": ended})
        print(line, flush=True)  # noqa: T201


async def run_on_loop(name: str, send: Send) -> None:
    """Send from code that runs on an event loop, where Django refuses queries."""
    run(name, send)


if __name__ == "__main__":
    django.setup()
    kind = sys.argv[1]
    if kind == "each":
        run(kind, each)
    elif kind == "opened":
        run(kind, opened())
    else:
        asyncio.run(run_on_loop(kind, each))
