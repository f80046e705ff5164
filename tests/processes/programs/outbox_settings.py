"""Settings of processes that work at the outbox; JSON in the environment chooses the details."""

import json
import os

import django

from tests.processes.programs.settings import *  # noqa: F403

_chosen = json.loads(os.environ.get("WAGTAIL_SMTP_TEST_OUTBOX", "{}"))

WAGTAIL_SMTP = {
    **WAGTAIL_SMTP,  # noqa: F405
    "DELIVERY": "queued",
    "OUTBOX_LEASE": 1,
    "OUTBOX_POLL": 0.05,
    "OUTBOX_RETRY_AFTER": 0.2,
    "COOL_DOWN": 0.001,
    **_chosen.get("conf", {}),
}
globals().update(_chosen.get("settings", {}))
if "mailers" in _chosen:
    MAILERS = _chosen["mailers"]

_native = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
_BACKENDS = {
    "none": f"{_native}.backends.dummy.DummyBackend",
    "immediate": f"{_native}.backends.immediate.ImmediateBackend",
    "database": "django_tasks_db.DatabaseBackend",
    "rq": "django_tasks_rq.RQBackend",
}
_tasks = _chosen.get("tasks", "none")
TASKS = {"default": {"BACKEND": _BACKENDS[_tasks]}}
if _tasks == "database":
    INSTALLED_APPS = [*INSTALLED_APPS, "django_tasks_db"]  # noqa: F405
if _tasks == "rq":
    INSTALLED_APPS = [*INSTALLED_APPS, "django_rq", "django_tasks_rq"]
    RQ_QUEUES = {
        "default": {"HOST": "127.0.0.1", "PORT": _chosen["redis_port"], "DEFAULT_TIMEOUT": 60}
    }
