"""Run periodic work: steps, which every process runs, and tasks, which one process runs for all.

A process looks whether something is due after a request, after a message and while its outbox
worker is idle. Nothing runs in a caller's transaction: it runs after the request instead.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.core.signals import request_finished
from django.db import IntegrityError, connections, transaction
from django.db.models import QuerySet

from wagtail_smtp import signals
from wagtail_smtp.conf import conf
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.db import expressions, retry
from wagtail_smtp.models import PeriodicRun
from wagtail_smtp.runtime import process

logger = logging.getLogger(__name__)

#: Seconds between two looks of a process whether a task is due.
_LOOK_EVERY = 300


@dataclass(eq=False)
class Step:
    """Work that every process repeats.

    Args:
        run: does it and returns the number of seconds until the next time.
        failure: what is logged if it raises; it is tried again after ``retry_after`` seconds.
        after_requests: whether a request alone may run it, and not only one that sent a message.
    """

    run: Callable[[], float]
    failure: str
    retry_after: float = 600
    after_requests: bool = False
    due: float = 0.0
    #: It was due during a caller's transaction.
    is_missed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Task:
    """Work that one process of the site does every ``every`` seconds.

    Each run happens once: if the process dies, the next run is due after ``every`` seconds.
    """

    name: str
    every: float
    run: Callable[[], object]


_steps: list[Step] = []
_tasks: list[Task] = []


def add_step(step: Step) -> None:
    """Run ``step`` in this process from now on."""
    _steps.append(step)


def add_task(task: Task) -> None:
    """Run ``task`` in one of the site's processes from now on."""
    _tasks.append(task)


def run_due_tasks() -> None:
    """Run the tasks that are due and that no other process runs. A task's error is logged.

    Raises:
        django.db.Error: the database is not available. The caller waits for it only once.
        ImproperlyConfigured: the name of this environment is not valid.
    """
    for task in _tasks:
        if not claim(task.name, task.every):
            continue
        try:
            task.run()
        except Exception:
            logger.warning(
                "The task “%s” failed. It will be tried again.", task.name, exc_info=True
            )


def _look() -> float:
    """Run the tasks that are due; return the number of seconds until the next look."""
    if not db_connections.is_under_test() and db_connections.is_migrated():
        run_due_tasks()
    return _LOOK_EVERY


def claim(name: str, seconds: float) -> bool:
    """Return True for one caller of all processes if ``name`` is due for the first time, or again.

    Args:
        seconds: how long it isn't due again.
    """
    runs = _runs(name)
    alias = runs.db
    due = runs.filter(ran_at__lte=expressions.now(-seconds))
    # Reading first: usually nothing is due, and on SQLite a write waits for all others.
    if runs.exists():
        return due.exists() and bool(
            retry.repeated(lambda: due.update(ran_at=expressions.now()), alias)
        )
    try:
        with transaction.atomic(using=alias):
            runs.create(name=name, environment=conf.environment(), ran_at=expressions.now())
    except IntegrityError:  # another process was faster
        return False
    return True


def postpone(task: Task, seconds: float) -> None:
    """Make ``task`` due after ``seconds`` for all processes."""
    _runs(task.name).update(ran_at=expressions.now(seconds - task.every))


def _runs(name: str) -> "QuerySet[PeriodicRun]":
    """The runs of a task in this environment: a console with another name does other things."""
    runs = PeriodicRun.objects.using(db_connections.write_alias())
    return runs.filter(name=name, environment=conf.environment())


_steps.append(Step(_look, failure="The periodic tasks failed.", after_requests=True))


def forget() -> None:
    """Reset to the state of a new process, after a fork and in tests."""
    for step in _steps:
        step.due, step.is_missed, step.lock = 0.0, False, threading.Lock()


process.after_in_child(forget)


def connect() -> None:
    """Connect to the signals for messages, idle workers and the end of requests."""
    uid = "wagtail_smtp.maintenance.periodic"
    for signal in (signals.message_sent, signals.message_failed, signals.outbox_idle):
        signal.connect(_run_due, dispatch_uid=uid)
    request_finished.connect(_run_after_request, dispatch_uid=uid)


def _run_due(**kwargs: Any) -> None:
    """Run each step that is due if no transaction is open. Errors are logged."""
    for step in _steps:
        if time.monotonic() >= step.due:
            _run(step)


def _run(step: Step) -> None:
    if not step.lock.acquire(blocking=False):
        return
    try:
        step.is_missed = _is_busy()
        if step.is_missed:
            return
        step.due = time.monotonic() + step.retry_after
        step.due = time.monotonic() + step.run()
    except Exception:
        logger.warning("%s It will be tried again.", step.failure, exc_info=True)
    finally:
        step.lock.release()


def _is_busy() -> bool:
    """Whether this thread's connection is in a transaction, or can't be used on an event loop."""
    if process.runs_event_loop():
        return True
    connection = connections[db_connections.write_alias()]
    return connection.in_atomic_block or (
        connection.connection is not None and not connection.get_autocommit()
    )


def _run_after_request(**kwargs: Any) -> None:
    """Run the steps that were missed, or that are due anyway, now that no transaction is open."""
    due = [step for step in _steps if _is_due_after_request(step)]
    if not due or process.runs_event_loop():
        return
    connection = connections[db_connections.write_alias()]
    was_closed = connection.connection is None
    for step in due:
        _run(step)
    if was_closed and not connection.in_atomic_block:
        connection.close()  # Django has already closed the request's connections


def _is_due_after_request(step: Step) -> bool:
    if step.is_missed:
        return True
    # A project's tests count their queries.
    is_allowed = step.after_requests and not db_connections.is_under_test()
    return is_allowed and time.monotonic() >= step.due
