"""The tests' project with the peers in it; all send to the same server.

The outbox's task is enqueued and never run, and its peers' loggers write nothing: a queue is
drained when a measurement says so, and by nothing but the command that is measured.
"""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any, cast

from benchmarks.services import KEEP_LOG_DAYS, PASSWORD, SETTINGS, USERNAME, WRITE_AHEAD, Around
from tests.processes.programs.settings import *  # noqa: F403
from tests.processes.programs.settings import DATABASES, INSTALLED_APPS, WAGTAIL_SMTP

_around = Around.from_environment()

if os.environ.get(WRITE_AHEAD):
    cast(Any, DATABASES)["default"]["OPTIONS"] |= {
        "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
    }
if days := os.environ.get(KEEP_LOG_DAYS):
    WAGTAIL_SMTP = cast(Any, WAGTAIL_SMTP) | {"KEEP_LOG_DAYS": int(days)}
INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.admin", "post_office", "mailer"]
ROOT_URLCONF = "benchmarks.urls"
ALLOWED_HOSTS = ["testserver"]

EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = _around.loopback["none"]
EMAIL_HOST_USER = USERNAME
EMAIL_HOST_PASSWORD = PASSWORD
POST_OFFICE = {
    "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"},
    "LOCK_FILE_NAME": f"post_office-{os.getpid()}",
}
MAILER_LOCK_PATH = str(Path(_around.directory) / f"mailer-{os.getpid()}")
CELERY_EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"

_tasks = "django.tasks" if importlib.util.find_spec("django.tasks") else "django_tasks"
TASKS = {"default": {"BACKEND": f"{_tasks}.backends.dummy.DummyBackend"}}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}},
    "loggers": {
        name: {"handlers": ["nowhere"], "propagate": False}
        for name in ("post_office", "mailer", "celery")
    },
}

_own = json.loads(os.environ.get(SETTINGS, "{}"))
INSTALLED_APPS += _own.pop("MORE_APPS", [])
globals().update(_own)
