"""manage.py smtp_outbox: show the outbox. With --work, deliver it."""

import signal
from typing import Any

from django.core.management.base import CommandParser
from django.db.models import Count, Min

from wagtail_smtp.management import EmailCommand
from wagtail_smtp.models import OutboxMessage
from wagtail_smtp.outbox.claims import rows
from wagtail_smtp.outbox.worker import WorkerPool


class Command(EmailCommand):
    """Show the outbox, or run a worker."""

    help = (
        "Show the messages in the outbox. With --work, run a worker that delivers them until it is "
        "stopped by a signal."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--work", action="store_true", help="Deliver messages until stopped.")
        group.add_argument(
            "--once", action="store_true", help="Deliver the messages that are due now, then stop."
        )
        parser.add_argument(
            "--threads",
            type=int,
            default=4,
            choices=range(1, 33),
            metavar="1–32",
            help="How many messages to send at the same time. Default: %(default)s. To use more "
            "processor cores, run several workers.",
        )

    def handle(self, *args: Any, work: bool, once: bool, threads: int, **options: Any) -> None:
        if not (work or once):
            self._show()
            return
        pool = WorkerPool(threads)
        for name in (signal.SIGTERM, signal.SIGINT):
            # Messages being sent are finished and recorded first.
            signal.signal(name, lambda *_: pool.stop())
        if once:
            self.stdout.write(f"Messages processed: {pool.drain()}")
        else:
            pool.work()

    def _show(self) -> None:
        found = rows().values("state").annotate(count=Count("pk"), due=Min("due_at"))
        if not found:
            self.stdout.write("The outbox is empty.")
        labels = dict(OutboxMessage.State.choices)
        for row in found:
            due = row["due"].isoformat(timespec="seconds")
            self.stdout.write(f"{labels[row['state']]}: {row['count']}, next due {due}")
