"""A process that sends as a web server does; it prints what it was told of each message.

A line is JSON: the subject, when sending began and ended (monotonic time, which all processes
share), how it was sent, and the name of the error or an empty text.
"""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle

import django
from django.core.mail import EmailMessage, get_connection
from django.db import close_old_connections

from tests.soak import blocks

THREADS = 3
#: Seconds between two sends of a thread.
PAUSE = 0.1
RECIPIENT = "real@example.org"
_printing = threading.Lock()
_stopping = threading.Event()


def _message(subject: str, octets: int = 0) -> EmailMessage:
    message = EmailMessage(subject, "Text\n", None, [RECIPIENT])
    if octets:
        message.attach("file.bin", bytes(range(256)) * (octets // 256), "application/octet-stream")
    return message


def _now(subjects: Iterator[str]) -> list[EmailMessage]:
    return [_message(next(subjects))]


def _with_file(subjects: Iterator[str]) -> list[EmailMessage]:
    return [_message(next(subjects), 300_000)]


def _batch(subjects: Iterator[str]) -> list[EmailMessage]:
    return [_message(next(subjects)) for _ in range(5)]


#: How messages are sent, in turn: immediately, queued, and several in one call.
WAYS: tuple[tuple[str, Callable[[Iterator[str]], list[EmailMessage]]], ...] = (
    ("immediate", _now),
    ("queued", _now),
    ("immediate", _with_file),
    ("immediate", _now),
    ("queued", _with_file),
    ("immediate", _batch),
    ("queued", _batch),
)


def _send(name: str) -> None:
    subjects = (f"{name}-{number}" for number in range(sys.maxsize))
    for how, make in cycle(WAYS):
        if _stopping.is_set():
            return
        messages = make(subjects)
        delivery = get_connection(delivery=how)
        # One after the other, so that each has its own answer; a batch shares the connection.
        try:
            delivery.open()
            for message in messages:
                _send_one(delivery, message, how)
        finally:
            delivery.close()
        close_old_connections()  # as at the end of a request
        time.sleep(PAUSE)


def _send_one(delivery: object, message: EmailMessage, how: str) -> None:
    began, error = time.monotonic(), ""
    try:
        delivery.send_messages([message])  # type: ignore[attr-defined]
    except Exception as raised:
        error = type(raised).__name__
    line = json.dumps([message.subject, began, time.monotonic(), how, error])
    with _printing:
        print(line, flush=True)


def main() -> None:
    """Send until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_args: _stopping.set())
    django.setup()
    blocks.report()
    threads = [
        threading.Thread(target=_send, args=(f"{sys.argv[1]}-{number}",))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
