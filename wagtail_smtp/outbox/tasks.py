"""The outbox's task in the project's own task system."""

import logging
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.utils import timezone

from wagtail_smtp.live.db import autonomous
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.runtime import error_logging

try:
    from django.tasks import task
except ImportError:  # Django 5.2; Wagtail brings the backport
    from django_tasks import task

logger = logging.getLogger(__name__)

#: Seconds that one run of the task may take; what is left is the next one's.
_SECONDS = 50
#: How much later than a message is due the task looks after it. Too early it would find nothing,
#: and nobody would look again: the message is due by the database's clock, read a bit later.
_MARGIN = timedelta(seconds=1)

_thread = threading.local()


@task()
def deliver_outbox() -> int:
    """Deliver what is due, and return how many messages that were."""
    from wagtail_smtp.outbox.worker import Worker

    worker = Worker()
    try:
        done = worker.drain(seconds=_SECONDS)
    finally:
        worker.close()
        for due in moments(worker.again_at):
            _run_at(due)
    # A task that runs where it is enqueued would never end.
    if not worker.is_through and not _is_enqueueing():
        _run()
    return done


def run_after_commit() -> None:
    """Have the task run once the open transaction is committed, once for all its messages."""
    alias = db_connections.write_alias()
    connection = connections[alias]
    # A savepoint that is rolled back takes its callbacks along.
    open_now = set(connection.savepoint_ids)
    for savepoints, callback, *_rest in connection.run_on_commit:
        if callback is _run and savepoints <= open_now:
            return
    transaction.on_commit(_run, using=alias, robust=True)


def run_apart() -> None:
    """Have the task run, enqueued in a thread of its own, which ends with that."""

    def run() -> None:
        try:
            _run()
        finally:
            db_connections.close_all()

    try:
        threading.Thread(target=run, name="wagtail_smtp outbox").start()
    except RuntimeError:
        # There are too many. The message is accepted anyway, so its sender gets no error.
        error_logging.failure(logger, "The task that delivers the outbox could not be enqueued.")


def run_later(wait: timedelta) -> None:
    """Have the task run after ``wait``, where the project's task system can wait.

    Beside the caller's transaction, whose rollback doesn't concern it.
    """
    due = timezone.now() + wait
    try:
        autonomous.write(lambda: _run_at(due), db_connections.write_alias())
    except Exception:
        error_logging.failure(
            logger, "The task that delivers the outbox later could not be enqueued."
        )


def moments(due: Iterable[datetime]) -> Iterator[datetime]:
    """When to look after messages that are due then: few moments, and each a bit later at most."""
    now = timezone.now()
    latest: datetime | None = None
    until = now
    for moment in sorted(due):
        if latest is not None and moment > until:
            yield latest
            latest = None
        if latest is None:
            # The waits of one batch differ by half, see settle.wait_after().
            until = now + (moment - now) * 1.5
        latest = moment
    if latest is not None:
        yield latest


def _is_enqueueing() -> bool:
    return getattr(_thread, "is_enqueueing", False)


def _run() -> None:
    _thread.is_enqueueing = True
    try:
        deliver_outbox.enqueue()
    except Exception:
        # The message is in the outbox anyway; a worker or the next task delivers it.
        error_logging.failure(logger, "The task that delivers the outbox could not be enqueued.")
    finally:
        _thread.is_enqueueing = False


def _run_at(due: datetime) -> None:
    try:
        if deliver_outbox.get_backend().supports_defer:
            deliver_outbox.using(run_after=due + _MARGIN).enqueue()
    except Exception:
        error_logging.failure(
            logger, "The task that delivers the outbox later could not be enqueued."
        )
