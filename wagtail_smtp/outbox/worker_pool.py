"""Several workers in one process: while one waits for the database, another sends."""

import threading
from collections.abc import Callable

from wagtail_smtp.live.db import connections
from wagtail_smtp.outbox.claim_buffer import ClaimBuffer
from wagtail_smtp.outbox.worker import Worker


class WorkerPool:
    """``number`` workers: the first in the caller's thread, each other in its own."""

    def __init__(self, number: int) -> None:
        buffer = ClaimBuffer()
        self._workers = [Worker(buffer) for _ in range(number)]

    def stop(self) -> None:
        """Stop after the current messages; safe in a signal handler or another thread."""
        for worker in self._workers:
            worker.stop()

    def work(self) -> None:
        """Work until stopped."""
        self._together(_work)

    def drain(self) -> int:
        """Deliver all due messages and return their number."""
        return self._together(Worker.drain)

    def _together(self, task: Callable[[Worker], int]) -> int:
        done: list[int] = []
        failures: list[BaseException] = []

        def run(worker: Worker) -> None:
            try:
                done.append(task(worker))
            except BaseException as error:
                failures.append(error)
                self.stop()
            finally:
                worker.close()

        def run_apart(worker: Worker) -> None:
            try:
                run(worker)
            finally:
                connections.close_all()

        first, *others = self._workers
        threads = [threading.Thread(target=run_apart, args=(worker,)) for worker in others]
        for thread in threads:
            thread.start()
        run(first)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return sum(done)


def _work(worker: Worker) -> int:
    worker.work()
    return 0
