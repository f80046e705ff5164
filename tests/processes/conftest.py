"""Databases that several processes can share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import mariadb as maria
from tests.support.servers.mariadb import MariaDB
from tests.support.servers.postgres import PostgreSQL, required_programs

Environment = dict[str, str]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL(required_programs()) as server:
        yield server


@pytest.fixture
def postgresql_database(postgresql: PostgreSQL) -> Environment:
    """The environment that selects a new, empty database."""
    return postgresql.create_database()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB(maria.required_programs()) as server:
        yield server


@pytest.fixture
def mariadb_database(mariadb: MariaDB) -> Environment:
    """The environment that selects a new, empty database."""
    return mariadb.create_database()


#: The databases that the project promises to work on.
EACH = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]


@pytest.fixture(params=EACH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Environment:
    """The environment that selects a new, empty database, of each kind in turn."""
    if request.param == "sqlite":
        return {
            "WAGTAIL_SMTP_TEST_DATABASE": "",
            "WAGTAIL_SMTP_TEST_SQLITE": str(tmp_path / "database.sqlite3"),
        }
    return request.getfixturevalue(f"{request.param}_database")  # type: ignore[no-any-return]
