"""A process in which many confirm the same resend at once."""

import json
import subprocess
import sys
import threading
from contextlib import ExitStack

import django

from tests.processes.programs.console import Console, child_environment, migrate

__all__ = ["ResendConsole", "migrate"]


class ResendConsole(Console):
    """Runs the functions of this module's lower half in a process of its own."""

    def __enter__(self) -> "ResendConsole":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.programs.resend_console"],
            env=child_environment(self._environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self


def claim_at_once(count: int, atomic: bool, in_bulk: bool = False) -> list[int]:
    """How many of ``count`` were first, and how many claims the audit log has.

    Half of them claim the message, the others a resend of it.

    Args:
        in_bulk: as runs over many messages do.
        atomic: each in a transaction, as with ATOMIC_REQUESTS, which is rolled back.
    """
    from django.db import connection, transaction
    from wagtail.models import ModelLogEntry

    from wagtail_smtp.maintenance import resend
    from wagtail_smtp.models import LogEntry

    entry = LogEntry.objects.create(state="failed", category="form")
    copy = LogEntry.objects.create(state="failed", category="form", resend_of=entry)
    together = threading.Barrier(count)
    was_first = []

    def click(one: LogEntry) -> None:
        together.wait(20)
        with ExitStack() as stack:
            stack.callback(connection.close)
            if atomic:
                stack.enter_context(transaction.atomic())
            was_first.append(resend.claim(one, None, 0, in_bulk=in_bulk))
            if atomic:
                transaction.set_rollback(True)

    clicks = [threading.Thread(target=click, args=([entry, copy][n % 2],)) for n in range(count)]
    for each in clicks:
        each.start()
    for each in clicks:
        each.join()
    numbers = [str(entry.pk), str(copy.pk)]
    claims = ModelLogEntry.objects.filter(action="wagtail_smtp.resend", object_id__in=numbers)
    return [sum(was_first), claims.count()]


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
