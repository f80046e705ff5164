"""manage.py smtp_outbox: show the outbox. With --work, deliver it."""

import os
import signal
import threading
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Count, Min

from wagtail_smtp.management import EmailCommand
from wagtail_smtp.models import OutboxMessage
from wagtail_smtp.outbox import processes as worker_processes
from wagtail_smtp.outbox.claims import rows
from wagtail_smtp.outbox.processes import Supervisor
from wagtail_smtp.outbox.worker import WorkerPool

#: Maximum number of processes by default: each needs database connections and memory.
_MAX_PROCESSES = 8
#: How many messages are sent at the same time by default. Mail servers limit the number of
#: connections from one client.
_MESSAGES = 4


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
            "--processes",
            type=int,
            choices=range(1, 65),
            metavar="1–64",
            help="How many worker processes to run. Default: one for each processor core, at most "
            f"{_MAX_PROCESSES}. One if this process has several threads already.",
        )
        parser.add_argument(
            "--threads",
            type=int,
            choices=range(1, 33),
            metavar="1–32",
            help="How many messages each process sends at the same time. Default: "
            f"{_MESSAGES}, divided among the processes.",
        )

    def handle(
        self,
        *args: Any,
        work: bool,
        once: bool,
        processes: int | None,
        threads: int | None,
        **options: Any,
    ) -> None:
        if not (work or once):
            self._show()
            return
        if processes is None:
            processes = min(_cores(), _MAX_PROCESSES) if worker_processes.are_safe() else 1
        if not worker_processes.are_possible():
            # Other threads don't see this outbox either.
            processes, threads = 1, threads or 1
        threads = threads or max(1, _MESSAGES // processes)
        pool = self._single(threads) if processes == 1 else Supervisor(processes, threads)
        try:
            if once:
                self.stdout.write(f"Messages processed: {pool.drain()}")
            else:
                pool.work()
        except ChildProcessError as error:
            raise CommandError(str(error)) from error

    def _single(self, threads: int) -> WorkerPool:
        pool = WorkerPool(threads)
        if threading.current_thread() is threading.main_thread():
            for name in worker_processes.STOP_SIGNALS:
                # Messages being sent are finished and recorded first.
                signal.signal(name, lambda *_: pool.stop())
        return pool

    def _show(self) -> None:
        found = rows().values("state").annotate(count=Count("pk"), due=Min("due_at"))
        if not found:
            self.stdout.write("The outbox is empty.")
        labels = dict(OutboxMessage.State.choices)
        for row in found:
            due = row["due"].isoformat(timespec="seconds")
            self.stdout.write(f"{labels[row['state']]}: {row['count']}, next due {due}")


def _cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
