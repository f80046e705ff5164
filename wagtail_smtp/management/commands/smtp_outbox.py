"""manage.py smtp_outbox: what waits in the outbox; --work: deliver it."""

import signal
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Count, Min

from wagtail_smtp.management.base import EmailCommand
from wagtail_smtp.models import OutboxMessage
from wagtail_smtp.outbox.claims import rows
from wagtail_smtp.outbox.worker_pool import WorkerPool


class Command(EmailCommand):
    """Show the outbox, or be a worker of it."""

    help = "Show what waits in the outbox. With --work, deliver it until stopped by a signal."

    def add_arguments(self, parser: CommandParser) -> None:
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--work", action="store_true", help="Deliver until stopped.")
        group.add_argument("--once", action="store_true", help="Deliver what is due now.")
        parser.add_argument(
            "--threads",
            type=int,
            default=4,
            choices=range(1, 33),
            metavar="1–32",
            help="How many messages are sent at the same time; %(default)s unless told.",
        )

    def handle(self, *args: Any, work: bool, once: bool, threads: int, **options: Any) -> None:
        if not (work or once):
            self._show()
            return
        crew = WorkerPool(threads)
        for name in (signal.SIGTERM, signal.SIGINT):
            # What is being sent is finished and written down first.
            signal.signal(name, lambda *_: crew.stop())
        if once:
            self.stdout.write(f"{crew.drain()} messages were worked off.")
        else:
            crew.work()

    def _show(self) -> None:
        found = rows().values("state").annotate(count=Count("pk"), due=Min("due_at"))
        if not found:
            self.stdout.write("The outbox is empty.")
        labels = dict(OutboxMessage.State.choices)
        for row in found:
            due = row["due"].isoformat(timespec="seconds")
            self.stdout.write(f"{labels[row['state']]}: {row['count']}, the first due {due}")
