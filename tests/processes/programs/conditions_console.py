"""A process of a site that looks for conditions that deserve an alert."""

import json
import sys
import time

import django

from tests.processes.programs.alert_console import AlertConsole, make_sets, migrate, settle

__all__ = ["ConditionsConsole", "make_sets", "migrate", "settle"]


class ConditionsConsole(AlertConsole):
    """Runs the functions of this module's lower half in a process of its own."""

    module = "tests.processes.programs.conditions_console"


def neglect_the_outbox() -> None:
    """A message has been due for long."""
    from tests.support.log_entries import fill_outbox
    from wagtail_smtp.live.db import expressions
    from wagtail_smtp.models import OutboxMessage

    fill_outbox(1, "")
    OutboxMessage.objects.update(due_at=expressions.now(-3600))


def look(at: float = 0) -> None:
    """Run the tasks that are due, at a moment."""
    from wagtail_smtp.maintenance import periodic

    time.sleep(max(at - time.time(), 0))
    periodic.run_due_tasks()


def look_again(at: float = 0) -> None:
    """Look although another process has just done so, as if its clock had stopped."""
    from wagtail_smtp.diagnostics.conditions.outbox import overdue_outbox
    from wagtail_smtp.maintenance import conditions

    time.sleep(max(at - time.time(), 0))
    conditions.report(overdue_outbox)


def certificates_after_a_message() -> list[str]:
    """Send a message; the servers whose certificates are stored then."""
    from django.core.mail import send_mail

    from wagtail_smtp.models import ServerCertificate

    send_mail("Hi", "Body", None, ["someone@example.org"])
    return list(ServerCertificate.objects.values_list("server", flat=True))


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
