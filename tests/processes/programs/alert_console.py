"""A process of a site that raises and delivers alerts, in its real thread."""

import json
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import django

from tests.processes.programs.console import Console, make_sets, migrate

__all__ = ["AlertConsole", "make_sets", "migrate"]


class AlertConsole(Console):
    """Runs the functions of this module's lower half in a process of its own.

    Args:
        database: the environment that selects it.
        chosen: keys of WAGTAIL_SMTP.
    """

    module = "tests.processes.programs.alert_console"

    def __init__(self, database: dict[str, str], **chosen: Any) -> None:
        super().__init__(
            database
            | {
                "DJANGO_SETTINGS_MODULE": "tests.processes.programs.alert_settings",
                "WAGTAIL_SMTP_TEST_ALERTS": json.dumps(chosen),
            }
        )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def start(self, name: str, **arguments: Any) -> None:
        """Call the function and don't wait for its result."""
        assert self._process.stdin is not None
        print(json.dumps([name, arguments]), file=self._process.stdin, flush=True)

    def wait(self, timeout: float = 30) -> int:
        """Wait until the process has ended; its exit code."""
        return self._process.wait(timeout)

    def hang_up(self) -> None:
        """Close its input, so that it ends as programs do."""
        assert self._process.stdin is not None
        self._process.stdin.close()


def fail(at: float = 0) -> float:
    """Send a message through a set that fails, at a moment; return how many seconds it took."""
    from django.core.mail import send_mail

    time.sleep(max(at - time.time(), 0))
    began = time.monotonic()
    with suppress(OSError):
        send_mail("Hi", "Body", None, ["someone@example.org"])
    return time.monotonic() - began


def fail_in_transaction(*, roll_back: bool, seconds: float = 0) -> None:
    """Send a message through a set that fails, in a transaction that takes longer."""
    from django.db import transaction

    from wagtail_smtp.models import PeriodicRun

    with transaction.atomic():
        PeriodicRun.objects.create(name="the caller's", ran_at="2026-01-01T00:00Z")
        fail()
        time.sleep(seconds)
        transaction.set_rollback(roll_back)


def report(cause: str, times: int = 1, kind: str = "waiting") -> list[str]:
    """Raise an alert; return the names of the threads that run then."""
    from wagtail_smtp import alerts

    for _ in range(times):
        alerts.report(alerts.AlertKind(kind), cause, f"Subject {cause}", "Text")
    return [thread.name for thread in threading.enumerate()]


def report_without_threads(cause: str) -> str:
    """Raise an alert while the process can't start threads; return the warning."""
    from wagtail_smtp import alerts

    start, warnings = threading.Thread.start, []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("wagtail_smtp").addHandler(handler)
    threading.Thread.start = _refuse  # type: ignore[method-assign]
    try:
        alerts.report(alerts.AlertKind.WAITING, cause, f"Subject {cause}", "Text")
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]
        logging.getLogger("wagtail_smtp").removeHandler(handler)
    return "\n".join(warnings)


def _refuse(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def settle(timeout: float = 30) -> list[tuple[str, str, dict[str, str]]]:
    """Wait until no thread delivers; kind, state and outcomes of each alert."""
    from wagtail_smtp.models import Alert

    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not any("wagtail_smtp alerts" in each.name for each in threading.enumerate()):
            break
        time.sleep(0.05)
    return [
        (alert.kind, alert.state, {name: each["state"] for name, each in alert.outcomes.items()})
        for alert in Alert.objects.order_by("pk")
    ]


def lapse() -> None:
    """Let the claims of processes that died end."""
    from wagtail_smtp.live.db import expressions
    from wagtail_smtp.models import Alert

    Alert.objects.filter(state="open").update(lease_until=expressions.now(-1))


def take_over() -> None:
    """Run the periodic task."""
    from wagtail_smtp.channels import courier

    courier.take_over()


def fork() -> int:
    """Raise an alert in a forked child; its exit code."""
    from wagtail_smtp.channels import courier

    report("in the parent")
    courier.finish()
    assert threading.active_count() == 1
    child = os.fork()
    if child == 0:
        from django.db import connections

        connections.close_all()
        report("in the child")
        settle()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
