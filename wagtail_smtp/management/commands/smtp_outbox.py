"""manage.py smtp_outbox: show the outbox, deliver it, or decide about held messages."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Min, QuerySet

from wagtail_smtp.conf import ENVIRONMENT_VARIABLE, conf
from wagtail_smtp.diagnostics.status import outbox
from wagtail_smtp.live import current, environments
from wagtail_smtp.management import EmailCommand
from wagtail_smtp.models import OutboxMessage
from wagtail_smtp.outbox import held
from wagtail_smtp.outbox import processes as worker_processes
from wagtail_smtp.outbox.claims import rows
from wagtail_smtp.outbox.processes import Supervisor
from wagtail_smtp.outbox.worker import WorkerPool, is_held

#: Maximum number of processes by default: each needs database connections and memory.
_MAX_PROCESSES = 8
#: How many messages are sent at the same time by default. Mail servers limit the number of
#: connections from one client.
_MESSAGES = 4


class Command(EmailCommand):
    """Show the outbox, run a worker, or release or delete held messages."""

    help = (
        "Show the messages in the outbox. With --work, run a worker that delivers them until it is "
        "stopped by a signal. Messages that came with a copied database are held until you release "
        "or delete them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--work", action="store_true", help="Deliver messages until stopped.")
        group.add_argument(
            "--once", action="store_true", help="Deliver the messages that are due now, then stop."
        )
        group.add_argument(
            "--release-held",
            action="store_true",
            help="Send the held messages from here, except security messages.",
        )
        group.add_argument("--delete-held", action="store_true", help="Delete the held messages.")
        parser.add_argument(
            "--yes", action="store_true", help="Release or delete without asking, for scripts."
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

    def handle(self, *args: Any, work: bool, once: bool, **options: Any) -> None:
        if work or once:
            self._work(options["processes"], options["threads"], once=once)
        elif options["release_held"]:
            self._decide("release", held.can_be_released(), held.release_all, options["yes"])
        elif options["delete_held"]:
            self._decide("delete", held.rows(), held.delete_all, options["yes"])
        else:
            self._show()

    def _work(self, processes: int | None, threads: int | None, *, once: bool) -> None:
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
                self._warn_if_held()
            else:
                self._warn_if_held()
                pool.work()
        except ChildProcessError as error:
            raise CommandError(str(error)) from error

    def _warn_if_held(self) -> None:
        if is_held():
            text = environments.held_text(current().held_from)
            self.stdout.write(self.style.WARNING(text))

    def _single(self, threads: int) -> WorkerPool:
        pool = WorkerPool(threads)
        if threading.current_thread() is threading.main_thread():
            for name in worker_processes.STOP_SIGNALS:
                # Messages being sent are finished and recorded first.
                signal.signal(name, lambda *_: pool.stop())
        return pool

    def _show(self) -> None:
        counts, _overdue = outbox()
        if not counts:
            self.stdout.write("The outbox is empty.")
        due = dict(rows().order_by().values_list("state").annotate(Min("due_at")))
        for state, label in OutboxMessage.State.choices:
            if number := counts.get(state):
                when = ""
                if state != OutboxMessage.State.HELD:
                    when = f", next due {due[state].isoformat(timespec='seconds')}"
                self.stdout.write(f"{label}: {number}{when}")

    def _decide(
        self,
        verb: str,
        wanted: "QuerySet[OutboxMessage]",
        act: Callable[[], int],
        is_confirmed: bool,
    ) -> None:
        """Release or delete the ``wanted`` messages, once that is confirmed."""
        number = wanted.count()
        if number and not conf.environment():
            # It may be a console of the site that queued them.
            raise CommandError(
                "The environment of this process has no name, so it can't tell which messages came "
                f"with a copy. Set {ENVIRONMENT_VARIABLE}."
            )
        if not number:
            self.stdout.write(f"There are no held messages to {verb}.")
            return
        if not is_confirmed:
            if sys.stdin is None or not sys.stdin.isatty():
                raise CommandError(f"This would {verb} {number} messages. To confirm, add --yes.")
            if input(f"{verb.capitalize()} {number} held messages? [y/N] ").lower() != "y":
                raise CommandError("Nothing was changed.")
        self.stdout.write(self.style.SUCCESS(f"Messages {verb}d: {act()}"))


def _cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
