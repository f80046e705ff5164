"""A process of a site of one environment, which sends in every way there is."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import django

from tests.processes.programs.console import make_sets, migrate
from tests.processes.programs.outbox_console import (
    OutboxConsole,
    age,
    drain,
    end,
    end_all,
    fork_worker,
    rows,
    states,
    until_empty,
)

__all__ = [
    "SiteConsole",
    "age",
    "drain",
    "end",
    "fork_worker",
    "make_sets",
    "migrate",
    "rows",
    "states",
    "until_empty",
]


class SiteConsole(OutboxConsole):
    """Runs the functions of this module's lower half in a process of their own."""

    def __enter__(self) -> "SiteConsole":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.programs.copy_console"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self


def send(subject: str, category: str = "other", delivery: str = "immediate") -> str:
    """Send a message; the name of the error, if there is one."""
    from django.core.mail import EmailMessage

    from wagtail_smtp import email_category
    from wagtail_smtp.backend import EmailBackend

    message = EmailMessage(subject, "Body", None, ["someone@example.org"])
    try:
        with email_category(category):
            EmailBackend(delivery=delivery).send_messages([message])
    except OSError as error:
        return type(error).__name__
    return ""


def send_in_every_way(prefix: str) -> dict[str, str]:
    """What came of each way to send; subjects begin with ``prefix``."""
    from django.core.mail import mail_admins
    from django.core.management import call_command

    from wagtail_smtp import alerts
    from wagtail_smtp.categories import BUILT_IN
    from wagtail_smtp.diagnostics.check_set import send_test_email, try_set
    from wagtail_smtp.maintenance.resend import ResendSummary, resend, resend_several
    from wagtail_smtp.models import LogEntry, OutboxMessage, SettingsSet
    from wagtail_smtp.outbox import outcomes

    failed = LogEntry.objects.get(state="failed", subject="production-failed")
    came_along = OutboxMessage.objects.exclude(environment="staging").select_related("entry")
    ways: dict[str, Callable[[], Any]] = {
        **{slug: lambda slug=slug: send(f"{prefix}-{slug}", slug) for slug in BUILT_IN},  # type: ignore[misc]
        "queued": lambda: send(f"{prefix}-queued", delivery="queued"),
        "admins": lambda: mail_admins(f"{prefix}-admins", "Body"),
        "alert of a failure": lambda: alerts.given_up(1, prefix),
        "alert of waiting": lambda: alerts.messages_waiting(prefix),
        "test email": lambda: send_test_email("someone@example.org").reason[:5],
        "test of a set": lambda: [*try_set(SettingsSet.objects.get(), "someone@example.org")],
        "resend": lambda: resend(failed),
        "resend of several": lambda: resend_several([failed.pk], ResendSummary()),
        "resend by command": lambda: call_command("smtp_resend", since="1d"),
        "try now": lambda: [outcomes.try_now(row.entry) for row in came_along],
        "worker": drain,
        "worker by command": lambda: call_command(
            "smtp_outbox", once=True, processes=1, threads=1, stdout=sys.stderr
        ),
    }
    return {name: _outcome(way) for name, way in ways.items()}


def _outcome(way: Callable[[], Any]) -> str:
    try:
        return str(way())
    except Exception as error:
        return type(error).__name__


def reload_redirected(address: str) -> tuple[int, str]:
    """Redirect all email to an address, and reload; number and environment of the version."""
    from wagtail_smtp import live
    from wagtail_smtp.models import ReportEmail, SettingsSet

    item = SettingsSet.objects.get()
    item.redirect = True
    item.report_emails = [ReportEmail(address=address, sort_order=0)]
    item.save()
    version = live.reload()
    assert version is not None
    return version.number, version.environment


def held() -> list[str]:
    """The subjects of the messages that are held."""
    from wagtail_smtp.outbox import held as held_messages

    return sorted(row.entry.subject for row in held_messages.rows().select_related("entry"))


def release(subject: str) -> bool:
    """Release a message."""
    from wagtail_smtp.models import LogEntry
    from wagtail_smtp.outbox import held as held_messages

    return held_messages.release(LogEntry.objects.get(subject=subject))


def delete_held() -> int:
    """Delete the messages that are held."""
    from wagtail_smtp.outbox import held as held_messages

    return held_messages.delete_all()


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
    end_all()
