"""What can deliver the outbox, in processes of its own, and a process that queues as requests do.

Run as a module, it is the latter.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.db import connection, transaction

from benchmarks.messages import small
from benchmarks.services import SETTINGS

#: Workers are idle if they use less than so many seconds of processor time in two. They poll.
_IDLE = 0.1
_TASKS = "FROM django_tasks_database_dbtaskresult"


@dataclass(frozen=True)
class System:
    """``command`` starts one worker or, with ``{}`` in it, so many processes.

    ``left`` counts the tasks that wait or run, and ``forget`` removes them.
    """

    name: str
    command: str
    settings: dict[str, Any]
    left: Callable[[], int]
    forget: Callable[[], object]

    def start(self, command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a Python module with the settings of this system, in a session of its own."""
        environment = os.environ | {SETTINGS: json.dumps(self.settings)}
        arguments = [sys.executable, "-m", *command.split()]
        return subprocess.Popen(
            arguments, env=environment, start_new_session=True, text=True, **options
        )


def systems(redis_port: int) -> list[System]:
    """The plugin's own command, which needs no tasks, and all of Django Tasks."""
    from redis import Redis

    rq: Any = Redis(port=redis_port, db=0)
    celery: Any = Redis(port=redis_port, db=1)
    return [
        System(
            "smtp_outbox",
            "django smtp_outbox --work --processes {} --threads 1",
            {},
            lambda: 0,
            lambda: None,
        ),
        System(
            "django-tasks-db",
            "django db_worker -v0",
            _tasks("django_tasks_db.DatabaseBackend", "django_tasks_db"),
            lambda: _execute(f"SELECT count(*) {_TASKS} WHERE status IN ('READY', 'RUNNING')"),
            lambda: _execute(f"WITH gone AS (DELETE {_TASKS} RETURNING 1) SELECT 0"),
        ),
        System(
            "RQ",
            "django rqworker default --with-scheduler --job-class django_tasks_rq.Job -v0",
            _tasks("django_tasks_rq.RQBackend", "django_rq", "django_tasks_rq")
            | {"RQ_QUEUES": {"default": {"HOST": "127.0.0.1", "PORT": redis_port}}},
            lambda: int(rq.llen("rq:queue:default") + rq.zcard("rq:wip:default")),
            rq.flushdb,
        ),
        System(
            "Celery",
            "celery -A django_tasks_fennel.app worker --concurrency {} --loglevel ERROR",
            _tasks("django_tasks_fennel.CeleryBackend", "django_tasks_fennel")
            | {"CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/1"},
            # It keeps a list for each priority.
            lambda: sum(map(celery.llen, celery.keys("default*"))) + int(celery.hlen("unacked")),
            celery.flushdb,
        ),
    ]


def _tasks(backend: str, *apps: str) -> dict[str, Any]:
    return {"TASKS": {"default": {"BACKEND": backend}}, "MORE_APPS": apps}


def _execute(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return int(cursor.fetchone()[0])


class Workers:
    """Worker processes of a system; started with ``with``, which waits until they are idle."""

    def __init__(self, system: System, processes: int) -> None:
        self._system = system
        self._number = 1 if "{}" in system.command else processes
        self._command = system.command.format(processes)

    def __enter__(self) -> "Workers":
        self._started = [
            self._system.start(self._command, stdout=subprocess.DEVNULL)
            for _ in range(self._number)
        ]
        now, before = self.processor_time(), -1.0
        while now - before > _IDLE:
            time.sleep(2)
            now, before = self.processor_time(), now
        assert all(process.poll() is None for process in self._started), self._command
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._started:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._started:
            process.wait(60)

    def signal(self, number: int) -> None:
        """Send a signal to all of them."""
        for process in self._started:
            os.killpg(process.pid, number)

    def processor_time(self) -> float:
        """Seconds that they have used, and their children that ended."""
        return _processor_time({process.pid for process in self._started})


def _processor_time(sessions: set[int]) -> float:
    """Seconds that the processes of sessions have used, and their children that ended."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) in sessions:
            total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


class Requests:
    """A process that queues messages, each in a transaction of its own; start with ``with``."""

    def __init__(self, system: System) -> None:
        self._system = system

    def __enter__(self) -> "Requests":
        self._process = self._system.start(
            "benchmarks.task_systems", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.queue(0)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate()

    def queue(self, count: int) -> list[float]:
        """Queue so many messages; the seconds that each took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(count, file=self._process.stdin, flush=True)
        return list(json.loads(self._process.stdout.readline()))


def _serve() -> None:
    from tests.processes.programs.console import migrate

    migrate()
    settings.WAGTAIL_SMTP["DELIVERY"] = "queued"
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            began = time.perf_counter()
            with transaction.atomic():
                small(None).send()
            times.append(time.perf_counter() - began)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    django.setup()
    _serve()
