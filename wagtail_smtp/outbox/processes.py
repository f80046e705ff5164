"""Worker processes, because one process runs Python code on one core, and their supervisor.

The messages that a killed worker has claimed stay marked as *sending*. The database can't tell
which of them it had begun to send: only a commit for each message could. So a worker notes that in
memory shared with the supervisor, which puts the others back into the outbox.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from mmap import mmap
from multiprocessing.connection import wait
from typing import Any

from django.core.cache import caches
from django.db import Error
from django.db import connections as db_connections

from wagtail_smtp.channels import courier
from wagtail_smtp.live.db import connections
from wagtail_smtp.outbox.claims import Progress
from wagtail_smtp.outbox.worker import WorkerPool, require_settings
from wagtail_smtp.runtime import process

logger = logging.getLogger(__name__)

#: They stop workers after their current messages.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds until the messages of a killed worker are put back and it is replaced: the database may
#: still be committing its last claim.
_PAUSE = 1
#: Bytes of a worker's number of processed messages.
_COUNT = 8


def are_possible() -> bool:
    """Whether other processes see the same outbox.

    They don't see a database in memory or a transaction that is open here, for example a test's,
    and Windows has no ``os.fork``.
    """
    connection = db_connections[connections.write_alias()]
    is_in_memory = getattr(connection, "is_in_memory_db", None)  # SQLite has it
    if connection.in_atomic_block or (is_in_memory and is_in_memory()):
        return False
    return hasattr(os, "fork")


def are_safe() -> bool:
    """Whether this process can be forked without doubt.

    With other threads, a child may wait forever for a lock that one of them held. A daemonic
    process, such as one of a pool, may have no children. Libraries of macOS don't support it.
    """
    is_alone = threading.active_count() == 1 and not multiprocessing.current_process().daemon
    return is_alone and sys.platform != "darwin"


class Supervisor:
    """Starts worker processes, stops them, and replaces those that are killed.

    If the supervisor itself is killed, the workers finish their current messages and stop.
    """

    def __init__(self, processes: int, threads: int) -> None:
        self._processes = processes
        self._threads = threads
        self._workers: list[_WorkerProcess] = []
        self._is_stopped = False

    def work(self) -> None:
        """Deliver messages until stopped by a signal.

        Raises:
            ChildProcessError: a worker ended with an error, so all were stopped.
        """
        self._run(WorkerPool.work, replace=True)

    def drain(self) -> int:
        """Deliver all due messages and return their number.

        Raises:
            ChildProcessError: a worker was killed, or ended with an error.
        """
        return self._run(WorkerPool.drain, replace=False)

    def _run(self, task: Callable[[WorkerPool], int | None], *, replace: bool) -> int:
        require_settings()
        before = {number: signal.signal(number, self._stop) for number in STOP_SIGNALS}
        failures: list[str] = []
        count = 0
        try:
            for _ in range(self._processes):
                self._start(task)
            while self._workers:
                ended = wait([worker.process.sentinel for worker in self._workers])
                for worker in [each for each in self._workers if each.process.sentinel in ended]:
                    self._workers.remove(worker)
                    code = worker.end()
                    count += worker.count
                    if code < 0:
                        self._put_back(worker, signal.Signals(-code).name)
                    if code > 0 or (code and not replace):
                        failures.append(f"A worker process ended with code {code}.")
                        self._stop()
                    elif replace:
                        self._start(task)
        except BaseException:
            # At its end, Python waits for the workers.
            self._stop()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if failures:
            raise ChildProcessError(failures[0])
        return count

    def _start(self, task: Callable[[WorkerPool], int | None]) -> None:
        courier.finish()
        # Sockets can't be shared with a child.
        connections.close_before_fork()
        caches.close_all()
        # A signal must not find a child that doesn't handle it yet.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            if not self._is_stopped:
                self._workers.append(_WorkerProcess(self._threads, task))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _stop(self, *_args: Any) -> None:
        self._is_stopped = True
        for worker in self._workers:
            worker.process.terminate()

    def _put_back(self, worker: "_WorkerProcess", by: str) -> None:
        logger.error("A worker of the outbox was killed by %s.", by)
        time.sleep(_PAUSE)
        try:
            count = sum(progress.end_claim() for progress in worker.progress)
        except Error:
            logger.exception("Its messages can't be put back into the outbox.")
        else:
            logger.info("It hadn't begun to send %d messages. They are in the outbox again.", count)


class _WorkerProcess:
    """A child that runs a :class:`WorkerPool`, and the memory that it shares with its parent."""

    def __init__(self, threads: int, task: Callable[[WorkerPool], int | None]) -> None:
        self._memory = mmap(-1, _COUNT + threads * Progress.SIZE)
        offsets = range(_COUNT, len(self._memory), Progress.SIZE)
        self.progress = [Progress(self._memory, offset) for offset in offsets]
        self._task = task
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=self._run, args=(os.getpid(),))
        self.process.start()

    @property
    def count(self) -> int:
        """The number of messages that it processed; 0 until it has ended."""
        return int.from_bytes(self._memory[:_COUNT], "big")

    def end(self) -> int:
        """Wait until it has ended; return its exit code, negative for a signal."""
        self.process.join()
        return self.process.exitcode or 0

    def _run(self, parent: int) -> None:
        """Called in the child."""
        pool = WorkerPool(len(self.progress), self.progress)
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: pool.stop())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

        def stop_without_parent() -> None:
            while os.getppid() == parent:
                time.sleep(1)
            pool.stop()

        threading.Thread(target=stop_without_parent, daemon=True).start()
        try:
            count = self._task(pool) or 0
            self._memory[:_COUNT] = count.to_bytes(_COUNT, "big")
        finally:
            process.run_exit_hooks()
