"""Writing into SQLite, which has one writer: the threads of a process take turns, and one commits
for all who wait. Each by itself they would sleep until the file is free, and wait for the disk.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from django.db import Error, transaction

from wagtail_smtp.runtime import forks


class _Job:
    """What one thread wants done, and what came of it."""

    __slots__ = ("is_done", "result", "work")

    def __init__(self, work: Callable[[Any], int]) -> None:
        self.work = work
        self.result = 0
        self.is_done = False


class _Turns:
    """Shared by the threads of a process."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._jobs: deque[_Job] = deque()

    def take(self, work: Callable[[Any], int], connection: Any) -> int:
        mine = _Job(work)
        self._jobs.append(mine)
        try:
            with self._turn:
                if not mine.is_done:
                    self._do_all(mine, connection)
        except BaseException:
            # A signal's exception, or its own: nobody is to do it once its thread has gone on.
            with suppress(ValueError):
                self._jobs.remove(mine)
            raise
        return mine.result

    def _do_all(self, mine: _Job, connection: Any) -> None:
        jobs = []
        while self._jobs:
            jobs.append(self._jobs.popleft())
        try:
            _do(jobs, connection)
        except BaseException as error:
            # The others have a turn of their own.
            self._jobs.extendleft(job for job in reversed(jobs) if job is not mine)
            if len(jobs) == 1 or not isinstance(error, Error):
                raise
            # It may be theirs, which is none of this thread's business.
            _do([mine], connection)


def _do(jobs: Sequence[_Job], connection: Any) -> None:
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for job in jobs:
            job.result = job.work(cursor)
    for job in jobs:
        job.is_done = True


_turns = _Turns()
# The parent's threads don't exist in the child, and one of them may have had its turn.
forks.after_in_child(lambda: _turns.__init__())  # type: ignore[misc]


def take(work: Callable[[Any], int], connection: Any) -> int:
    """Call ``work`` with a cursor, in a transaction that other threads' work may share.

    The cursor may be another thread's. What is returned is committed.

    Raises:
        django.db.Error: as ``work`` does.
    """
    return _turns.take(work, connection)
