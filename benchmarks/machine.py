"""What the numbers were measured on."""

import os
import platform
import sqlite3
import ssl
import subprocess
from importlib.metadata import version
from pathlib import Path

from tests.support.servers.postgres import programs

PACKAGES = (
    "wagtail-smtp",
    "Django",
    "wagtail",
    "aiosmtplib",
    "django-post-office",
    "django-mailer",
    "django-celery-email",
    "celery",
    "django-tasks-db",
    "django-tasks-rq",
    "rq",
    "django-tasks-fennel",
    "psycopg",
)


def facts() -> dict[str, object]:
    """Machine and versions."""
    return {
        "machine": f"{_processor()}, {platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        **{name: version(name) for name in PACKAGES},
        "sqlite": sqlite3.sqlite_version,
        "postgresql": _postgresql(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")


def _postgresql() -> str:
    found = programs()
    if found is None:
        return "none"
    output = subprocess.run([found / "postgres", "--version"], capture_output=True, text=True)
    return output.stdout.split()[2]
