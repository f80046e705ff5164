"""Project's task systems for real: immediate, the database with its worker, RQ with its Redis."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.processes.programs.outbox_site import Site, site
from tests.support.servers.hostile_faults import Fault, Faults
from tests.support.servers.redis_server import RedisServer, required_program


@contextmanager
def running(a_site: Site, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of the site's, such as the worker of its task system."""
    process = subprocess.Popen(
        [sys.executable, "-m", "django", *command], env=a_site.console.environment
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def wait_until(is_so: Callable[[], bool], timeout: float = 20) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_immediate_backend(database: dict[str, str]) -> None:
    with site(database, tasks="immediate") as made:
        made.queue(3)
        assert len(made.arrived) == 3
        made.queue(2, atomic=False)
        assert len(made.arrived) == 5
        assert made.account() == {"sent": 5}

        made.console("queue", subjects=[f"{made.prefix}-never"], rollback=True)
        made.queue(1)
        assert len(made.arrived) == 6
        assert made.account() == {"sent": 6}


WORKER = ("db_worker", "--interval", "0.1", "--no-startup-delay", "--no-reload", "-v0")


def test_the_database_and_its_worker(database: dict[str, str]) -> None:
    with site(database, tasks="database") as made:
        with running(made, *WORKER) as worker:
            later = Fault("rcpt", "refuse", "450 4.2.1 Later", times=2)
            made.server.plan = Faults((later,))
            made.queue(25)
            made.console("queue", subjects=[f"{made.prefix}-never"], rollback=True)
            wait_until(lambda: len(made.arrived) == 25)
            assert made.console("until_empty", prefix=made.prefix, timeout=5) == []
            # A worker that is stopped just when it takes a task leaves that running for ever.
            wait_until(lambda: {status for status, _ in made.console("tasks")} == {"SUCCESSFUL"})
            assert worker.poll() is None
        assert made.account() == {"sent": 25}
        tasks = made.console("tasks")
        # One for the transaction, and one or two for what the server deferred.
        assert 2 <= len(tasks) <= 3
        # Nothing of a message, nor a secret, stands in a task.
        assert {json.dumps(json.loads(given)) for _status, given in tasks} == {
            '{"args": [], "kwargs": {}}'
        }


def test_what_a_killed_task_worker_left(database: dict[str, str]) -> None:
    """Nobody has its task any more; the next task takes what it had."""
    with site(database, tasks="database") as made:
        made.server.plan = Faults((Fault("end", "hang", taken=True, times=1),))
        with running(made, *WORKER) as worker:
            made.queue(12)
            made.server.plan.wait(timeout=20)
            worker.kill()
        time.sleep(1.1)
        with running(made, *WORKER):
            made.queue(1)
            assert made.console("until_empty", prefix=made.prefix, timeout=20) == []
        assert made.account() == {"unknown": 1, "sent": 12}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer(required_program()) as server:
        yield server


RQ_WORKER = ("rqworker", "default", "--with-scheduler", "--job-class", "django_tasks_rq.Job")


@pytest.mark.postgres
def test_rq_and_its_worker(
    postgresql_database: dict[str, str], redis: RedisServer, tmp_path: object
) -> None:
    with site(postgresql_database, tasks="rq", redis_port=redis.port) as made:
        with running(made, *RQ_WORKER):
            made.queue(25)
            made.console("queue", subjects=[f"{made.prefix}-never"], rollback=True)
            wait_until(lambda: len(made.arrived) == 25)
            assert made.console("until_empty", prefix=made.prefix, timeout=5) == []
        assert made.account() == {"sent": 25}

        # A crash of Redis takes all tasks along, and none can be enqueued.
        made.queue(2)
        redis.kill()
        made.queue(2)
        assert len(made.console("rows", prefix=made.prefix)) == 4
        made.finish()
        assert made.account() == {"sent": 29}
