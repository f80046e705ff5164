"""The walk of an administrator (walk.py) in projects that are configured in other ways.

Each is a process with a database of its own. What doesn't influence the other is changed in one.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import django
import pytest

from tests.support.servers import mariadb, pgbouncer, postgres

slow = pytest.mark.skipif(
    not os.environ.get("WAGTAIL_SMTP_ALL_CONFIGURATIONS"),
    reason="slow: make configurations",
)

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
    "STATIC_URL": "static/",
    "LANGUAGE_CODE": "ar",
    "TIME_ZONE": "Asia/Kathmandu",
    "databases": ["legacy"],
    "DATABASE_ROUTERS": ["tests.configurations.routers.LegacyElsewhere"],
}
OTHER_TIME_ZONE = {
    "TIME_ZONE": "America/New_York",
    "database": {"TIME_ZONE": "Asia/Kathmandu", "ATOMIC_REQUESTS": True},
}
# Wagtail itself requires requests.
WITHOUT_EXTRAS = {"without": ["anymail", "authlib", "boto3", "botocore", "joserfc"]}


def sqlite(folder: Path) -> dict[str, str]:
    """The environment that selects a new database in the folder."""
    return {"WAGTAIL_SMTP_TEST_SQLITE": str(folder / "walk.sqlite3")}


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
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]


@pytest.mark.timeout(300)
@pytest.mark.same_on_all_versions
@pytest.mark.parametrize(
    "changes",
    [
        NO_TIME_ZONES,
        NO_EMAIL_FIELD,
        ELSEWHERE,
        pytest.param(WITHOUT_EXTRAS, marks=slow),
    ],
    ids=[
        "without-time-zones",
        "users-without-email",
        "users-by-uuid-below-a-path",
        "without-extras",
    ],
)
def test_on_sqlite(changes, tmp_path):
    if changes is ELSEWHERE:
        changes = changes | {"STATIC_ROOT": str(tmp_path / "static")}
    walk(changes, sqlite(tmp_path))


@pytest.mark.timeout(300)
@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django 6.1 has MAILERS")
@pytest.mark.parametrize("mailers", [True, False], ids=["MAILERS", "EMAIL_BACKEND"])
def test_with_mailers_and_without(mailers, tmp_path):
    walk({"mailers": mailers}, sqlite(tmp_path))


@pytest.mark.timeout(300)
@pytest.mark.same_on_all_versions
@pytest.mark.postgres
@pytest.mark.parametrize(
    "changes",
    [
        NO_TIME_ZONES,
        {"database": {"OPTIONS": {"pool": True}}},
        pytest.param(OTHER_TIME_ZONE, marks=slow),
    ],
    ids=["without-time-zones", "pool", "other-time-zone"],
)
def test_on_postgresql(changes):
    if "pool" in changes.get("database", {}).get("OPTIONS", ()) and not find_spec("psycopg_pool"):
        pytest.skip("psycopg_pool is not installed")
    with postgres.PostgreSQL(postgres.required_programs()) as server:
        server.execute("ALTER SYSTEM SET timezone TO 'Pacific/Chatham'")
        server.execute("SELECT pg_reload_conf()")
        walk(changes, server.create_database())


@slow
@pytest.mark.timeout(300)
@pytest.mark.same_on_all_versions
@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_through_pgbouncer(mode):
    program = pgbouncer.required_program()
    with (
        postgres.PostgreSQL(postgres.required_programs()) as server,
        pgbouncer.PgBouncer(program, server, mode) as bouncer,
    ):
        # What Django's documentation asks for with pooling by transaction.
        database = {"DISABLE_SERVER_SIDE_CURSORS": mode == "transaction", "ATOMIC_REQUESTS": True}
        walk({"database": database}, bouncer.through(server.create_database()))


@pytest.mark.timeout(300)
@pytest.mark.same_on_all_versions
@pytest.mark.parametrize(
    "changes",
    [NO_TIME_ZONES, pytest.param(OTHER_TIME_ZONE, marks=slow)],
    ids=["without-time-zones", "other-time-zone"],
)
def test_on_mariadb(changes):
    program = mariadb.required_programs()
    with mariadb.MariaDB(program, "default-time-zone=+12:45") as server:
        walk(changes, server.create_database())
