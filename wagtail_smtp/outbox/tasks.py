"""The outbox's task in the project's own task system."""

import logging
from datetime import datetime
from typing import Any

from django.db import connections, transaction

from wagtail_smtp.live import database

try:
    from django.tasks import task
except ImportError:  # Django 5.2; Wagtail brings the backport
    from django_tasks import task

logger = logging.getLogger(__name__)

_MARK = "_wagtail_smtp_outbox_task"


@task()
def deliver_outbox() -> int:
    """Deliver what is due, and return how many messages that were."""
    from wagtail_smtp.outbox.work import Worker

    worker = Worker()
    try:
        done = worker.work_off(seconds=_SECONDS)
    finally:
        worker.close()
    if worker.next_due is not None:
        run_at(worker.next_due)
    return done


#: Seconds that one run of the task may take; what is left is the next one's.
_SECONDS = 50


def run_after_commit() -> None:
    """Have the task run once the open transaction is committed, once for all its messages."""
    alias = database.write_alias()
    connection = connections[alias]
    marks = connection.__dict__
    # A savepoint that is rolled back takes its callback along, so the mark names it.
    scope = (id(connection), tuple(connection.savepoint_ids))
    if connection.in_atomic_block and marks.get(_MARK) == scope:
        return
    marks[_MARK] = scope
    transaction.on_commit(lambda: _run(marks), using=alias, robust=True)


def _run(marks: dict[str, Any]) -> None:
    marks.pop(_MARK, None)
    try:
        deliver_outbox.enqueue()
    except Exception:
        # The message is in the outbox all the same; a worker or the next task takes it.
        logger.exception("The task that delivers the outbox could not be enqueued.")


def run_at(due: datetime) -> None:
    """Have the task run at ``due``, where the project's task system can wait."""
    try:
        if deliver_outbox.get_backend().supports_defer:
            deliver_outbox.using(run_after=due).enqueue()
    except Exception:
        logger.exception("The task that delivers the outbox later could not be enqueued.")
