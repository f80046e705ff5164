"""Deliver the outbox with the project's task system (``django.tasks``)."""

import logging
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.db import connections, transaction
from django.utils import timezone

from wagtail_smtp.live.db import autonomous, expressions
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.models import OutboxMessage
from wagtail_smtp.runtime import error_logging

try:
    from django.tasks import task
except ImportError:  # Django 5.2; Wagtail installs the backport
    from django_tasks import task  # type: ignore[no-redef]  # the same function

logger = logging.getLogger(__name__)

#: Maximum seconds of one run of the task; the next run does the rest.
_SECONDS = 50
#: The task runs this much later than a message is due. If it ran too early, it would find nothing
#: and no later run would be enqueued: the database's clock is read a bit later than this one.
_MARGIN = timedelta(seconds=1)

_thread = threading.local()


@task()
def deliver_outbox() -> int:
    """Deliver due messages and return their number."""
    from wagtail_smtp.outbox.worker import Worker

    worker = Worker()
    try:
        count = worker.drain(seconds=_SECONDS)
    finally:
        worker.close()
        for at in run_times(worker.again_at):
            _enqueue(at)
    # With a backend that runs tasks immediately, this would never end.
    if not worker.is_through and not getattr(_thread, "is_enqueueing", False):
        _enqueue()
    return count


def run_after_commit() -> None:
    """Enqueue the task after the open transaction is committed, once for all its messages."""
    alias = db_connections.write_alias()
    connection = connections[alias]
    # The callbacks of a savepoint are dropped when it is rolled back.
    open_savepoints = set(connection.savepoint_ids)
    for savepoints, callback in (entry[:2] for entry in connection.run_on_commit):
        if callback is _enqueue and savepoints <= open_savepoints:
            return
    transaction.on_commit(_enqueue, using=alias, robust=True)


def run_in_thread() -> None:
    """Enqueue the task in a new thread."""

    def run() -> None:
        try:
            _enqueue()
        finally:
            db_connections.close_all()

    try:
        threading.Thread(target=run, name="wagtail_smtp outbox").start()
    except RuntimeError:  # too many threads
        _log_failure()


def run_after_reload(**kwargs: object) -> None:
    """Receiver of ``configuration_reloaded``: deliver messages that waited for the reload.

    A worker that finds its database to be a copy ends without another run.
    """
    rows = OutboxMessage.objects.using(db_connections.write_alias())
    # In a thread: a backend that runs tasks immediately would keep the reload waiting.
    if rows.filter(state=OutboxMessage.State.WAITING, due_at__lte=expressions.now()).exists():
        run_in_thread()


def run_later(wait: timedelta) -> None:
    """Enqueue the task to run after ``wait``, if the project's task system can do so.

    This doesn't depend on the caller's transaction, even if it is rolled back.
    """
    at = timezone.now() + wait
    try:
        autonomous.write(lambda: _enqueue(at), db_connections.write_alias())
    except Exception:
        _log_failure()


def run_times(due: Iterable[datetime]) -> Iterator[datetime]:
    """Choose a few times for messages due at ``due``; each is the latest due time of a group."""
    now = timezone.now()
    latest: datetime | None = None
    until = now
    for at in sorted(due):
        if latest is not None and at > until:
            yield latest
            latest = None
        if latest is None:
            # Waits after the same number of attempts differ by up to half: outcomes.wait_after().
            until = now + (at - now) * 1.5
        latest = at
    if latest is not None:
        yield latest


def _enqueue(at: datetime | None = None) -> None:
    """Enqueue the task to run now, or later if the task system can do so."""
    _thread.is_enqueueing = True
    try:
        if at is None:
            deliver_outbox.enqueue()
        elif deliver_outbox.get_backend().supports_defer:
            deliver_outbox.using(run_after=at + _MARGIN).enqueue()
    except Exception:
        _log_failure()
    finally:
        _thread.is_enqueueing = False


def _log_failure() -> None:
    """Log an error. The sender doesn't get it: the message is in the outbox, and is sent later."""
    error_logging.failure(logger, "The task that delivers the outbox could not be enqueued.")
