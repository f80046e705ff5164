"""How much memory a message with an attachment takes at its peak, each time in a fresh process.

The attachment and the process with its connections are there before; what counts is by how much
the largest resident set grows from then on.
"""

import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import django
from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection

from benchmarks.messages import RECIPIENT, SUBJECT
from benchmarks.report import Goal, Row, Table
from benchmarks.services import Around

MEGABYTE = 1024 * 1024
SIZES = (1, 10, 100)
STOCK = "stock Django"
#: The largest size's goals, in sizes of the attachment.
AT_ONCE, QUEUED = 3, 4
#: Messages ahead of the first that counts: the plugin's fast way is earned by the first ones.
WARM = 3
_PLUGIN = "wagtail_smtp.backend.EmailBackend"
_STOCK = "django.core.mail.backends.smtp.EmailBackend"
_ANYMAIL = "anymail.backends.postmark.EmailBackend"

Step = Callable[[EmailMessage], object]


def measure(around: Around) -> Iterator[Table]:
    """A table for each size."""
    from benchmarks import plugin

    for size in SIZES:
        found = []
        for name, (encryption, way, values) in WAYS.items():
            port = _port(around, encryption, values)
            if values.get("esp"):
                _use_provider()
            else:
                plugin.use(around, [port], encryption)
            found.append((name, values, _grown(way, size, port, encryption, values)))
        rows = tuple(Row(name, grown / (size * MEGABYTE)) for name, _values, grown in found)
        table = Table(
            f"Memory at the peak for an attachment of {size} MB, {plugin.database_name()}",
            "× its size",
            rows,
            note="growth of the process, in addition to the attachment that the caller holds",
        )
        yield (
            table
            if size != SIZES[-1]
            else table.with_goals(
                *(
                    Goal(name, table.value(name), values["goal"])
                    for name, values, _grown in found
                    if "goal" in values
                )
            )
        )


def _port(around: Around, encryption: str, values: dict[str, Any]) -> int:
    return around.data_only if values.get("data") else around.loopback[encryption]


def _grown(way: str, size: int, port: int, encryption: str, values: dict[str, Any]) -> int:
    """Bytes by which a fresh process grew."""
    if way == "deliver":
        _run("enqueue", size, port, encryption, values)
    return _run(way, size, port, encryption, values)


def _run(way: str, size: int, port: int, encryption: str, values: dict[str, Any]) -> int:
    arguments = [way, str(size), str(port), encryption, json.dumps(values)]
    command = [sys.executable, "-m", "benchmarks.memory", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


def _use_provider() -> None:
    """Make a set of an email provider live."""
    from tests.processes.programs.console import make_sets
    from wagtail_smtp.models import SettingsSet

    SettingsSet.objects.all().delete()
    make_sets(
        [
            {
                "transport": "postmark",
                "password": json.dumps({"server_token": "token"}),
                "authentication": "none",
            }
        ]
    )


def _answer_for_provider() -> None:
    """Let every HTTP request end where it would leave this process."""
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter

    def send(
        self: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        accepted = {"ErrorCode": 0, "Message": "OK", "MessageID": "1", "To": RECIPIENT}
        raw = urllib3.HTTPResponse(
            io.BytesIO(json.dumps(accepted).encode()),
            headers={"Content-Type": "application/json"},
            status=200,
            preload_content=False,
        )
        return self.build_response(request, raw)

    HTTPAdapter.send = send  # type: ignore[method-assign]


def _message(content: bytes) -> EmailMessage:
    message = EmailMultiAlternatives(SUBJECT, "See the map.\n" * 20, None, [RECIPIENT])
    message.attach("map.bin", content, "application/octet-stream")
    return message


def _sends_with(backend: str, **options: Any) -> Step:
    return lambda message: get_connection(backend, **options).send_messages([message])


def _enqueues(message: EmailMessage) -> None:
    settings.WAGTAIL_SMTP["DELIVERY"] = "queued"
    try:
        _sends_with(_PLUGIN)(message)
    finally:
        del settings.WAGTAIL_SMTP["DELIVERY"]


def _drains(_message: EmailMessage) -> None:
    from wagtail_smtp.models import LogEntry, OutboxMessage
    from wagtail_smtp.outbox.worker import Worker

    while OutboxMessage.objects.exists():
        assert Worker().drain()
    assert not LogEntry.objects.exclude(state="sent").exists(), LogEntry.objects.values()


def _child(way: str, size: int, port: int, encryption: str, values: dict[str, Any]) -> None:
    """Take one way with one size, and print the growth in bytes."""
    django.setup()
    if values.get("esp"):
        _answer_for_provider()
    if values.get("stored"):
        settings.WAGTAIL_SMTP["STORE_MESSAGES"] = "all"
    steps: dict[str, Step] = {
        "plugin": _sends_with(_PLUGIN),
        "stock": _sends_with(_STOCK, port=port, **_OPTIONS[encryption]),
        "anymail": _sends_with(_ANYMAIL, server_token="token"),
        "enqueue": _enqueues,
        "deliver": _drains,
    }
    # What is in the outbox must still be there when it counts.
    warm_up = steps["plugin" if way in ("enqueue", "deliver") else way]
    for _ in range(WARM):
        warm_up(_message(b"x"))
    message = _message(b"" if way == "deliver" else os.urandom(size * MEGABYTE))
    held = _peak()
    steps[way](message)
    print(_peak() - held)


_OPTIONS: dict[str, dict[str, Any]] = {
    "none": {"use_tls": False},
    "starttls": {"use_tls": True},
}


def _peak() -> int:
    """The largest resident set so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


#: What is measured: encryption, way, and more.
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    f"{STOCK}, plain text": ("none", "stock", {}),
    f"{STOCK}, STARTTLS": ("starttls", "stock", {}),
    "wagtail-smtp, plain text": ("none", "plugin", {"goal": AT_ONCE}),
    "wagtail-smtp, STARTTLS": ("starttls", "plugin", {"goal": AT_ONCE}),
    "wagtail-smtp, a server without CHUNKING": (
        "none",
        "plugin",
        {"goal": AT_ONCE, "data": True},
    ),
    "wagtail-smtp, stored in the log": (
        "starttls",
        "plugin",
        {"goal": AT_ONCE, "stored": True},
    ),
    "wagtail-smtp, put into the outbox": ("starttls", "enqueue", {"goal": QUEUED}),
    "wagtail-smtp, delivered from the outbox": (
        "starttls",
        "deliver",
        {"goal": QUEUED, "stored": True},
    ),
    "django-anymail, Postmark": ("none", "anymail", {"esp": True}),
    "wagtail-smtp, Postmark": ("none", "plugin", {"esp": True}),
    "wagtail-smtp, Postmark from the outbox": ("none", "deliver", {"esp": True}),
}

if __name__ == "__main__":
    _way, _size, _port_number, _encryption, _values = sys.argv[1:]
    _child(_way, int(_size), int(_port_number), _encryption, json.loads(_values))
