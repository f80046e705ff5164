"""The walk of an administrator (walk.py) in projects that are configured in other ways.

Each is a process with a database of its own. What doesn't influence the other is changed in one.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.servers import mariadb, postgres

pytestmark = pytest.mark.same_on_all_versions

ROOT = Path(__file__).resolve().parents[2]

NO_TIME_ZONES = {"USE_TZ": False, "TIME_ZONE": "America/New_York"}
NO_EMAIL_FIELD = {
    "AUTH_USER_MODEL": "users_without_email.User",
    "database": {"ATOMIC_REQUESTS": True},
    "middleware": ["django.contrib.auth.middleware.LoginRequiredMiddleware"],
}
ELSEWHERE = {
    "AUTH_USER_MODEL": "users_by_uuid.User",
    "FORCE_SCRIPT_NAME": "/below",
    "LANGUAGE_CODE": "ar",
    "TIME_ZONE": "Asia/Kathmandu",
    "databases": ["legacy"],
    "DATABASE_ROUTERS": ["tests.configurations.routers.LegacyElsewhere"],
}


def walk(changes: dict[str, object], environment: dict[str, str]) -> None:
    """Walk through a project with these settings."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.configurations.walk"],
        cwd=ROOT,
        env=os.environ
        | {"DJANGO_SETTINGS_MODULE": "tests.configurations.walk_settings"}
        | {"WAGTAIL_SMTP_TEST_DATABASE": ""}
        | environment
        | {"WALK": json.dumps(changes)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "changes",
    [NO_TIME_ZONES, NO_EMAIL_FIELD, ELSEWHERE],
    ids=["without-time-zones", "users-without-email", "users-by-uuid-below-a-path"],
)
def test_on_sqlite(changes, tmp_path):
    walk(changes, {"WAGTAIL_SMTP_TEST_SQLITE": str(tmp_path / "walk.sqlite3")})


@pytest.mark.timeout(300)
@pytest.mark.postgres
@pytest.mark.parametrize(
    "changes",
    [NO_TIME_ZONES, {"database": {"OPTIONS": {"pool": True}}}],
    ids=["without-time-zones", "pool"],
)
def test_on_postgresql(changes):
    if "database" in changes and find_spec("psycopg_pool") is None:
        pytest.skip("psycopg_pool is not installed")
    with postgres.PostgreSQL(postgres.required_programs()) as server:
        walk(changes, server.create_database())


@pytest.mark.timeout(300)
def test_on_mariadb():
    with mariadb.MariaDB(mariadb.required_programs()) as server:
        walk(NO_TIME_ZONES, server.create_database())
