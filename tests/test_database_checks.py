"""Database checks warn about databases that can cause problems."""

import pytest
from django.core.checks import Tags, run_checks
from django.db import connection

from tests.delivery.log.test_charsets import utf8mb3
from wagtail_smtp import checks
from wagtail_smtp.models import LogEntry

__all__ = ["utf8mb3"]


def _ids(databases=("default",), **values):
    found = run_checks(databases=databases, **values)
    return {message.id for message in found if message.id in ("wagtail_smtp.W011", *_OF_DATABASE)}


_OF_DATABASE = ("wagtail_smtp.W012", "wagtail_smtp.W013")


@pytest.mark.parametrize("mode", [None, "deferred", "IMMEDIATE", "EXCLUSIVE"])
def test_sqlites_transactions(monkeypatch, mode):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "transaction_mode", mode)
    is_advised = connection.vendor == "sqlite" and mode in (None, "deferred")
    advised = {"wagtail_smtp.W011"} if is_advised else set()
    assert _ids(databases=(), include_deployment_checks=True) == advised
    # Not reported on a development machine.
    assert _ids(databases=()) == set()


@pytest.mark.parametrize(
    ("command", "is_good"),
    [
        (None, False),
        ("PRAGMA journal_mode=WAL;", False),
        ("PRAGMA synchronous=NORMAL", False),
        ("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL", True),
        ("pragma journal_mode = wal; pragma synchronous = 1;", True),
    ],
)
def test_sqlites_journal(monkeypatch, command, is_good):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "init_command", command)
    found = {message.id for message in checks.check_journal()}
    assert found == (
        {"wagtail_smtp.W016"} if connection.vendor == "sqlite" and not is_good else set()
    )


@pytest.mark.django_db
def test_the_test_database_has_no_problems():
    assert _ids(tags=[Tags.database]) <= {"wagtail_smtp.W013"}
    # A check queries a database only if it is allowed to.
    assert checks.check_database() == []


@pytest.mark.django_db(transaction=True)
def test_characters_that_the_database_cannot_store(utf8mb3):
    assert "wagtail_smtp.W012" in _ids(tags=[Tags.database])


@pytest.fixture
def sql_ascii(transactional_db, monkeypatch):
    """A PostgreSQL database without an encoding."""
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's encodings")
    name = f"{connection.settings_dict['NAME']}_ascii"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        with monkeypatch.context() as patched:
            connection.close()
            patched.setitem(connection.settings_dict, "NAME", name)
            yield
            connection.close()
    finally:
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


def test_an_encoding_that_cannot_store_every_character(sql_ascii):
    assert "wagtail_smtp.W012" in _ids(tags=[Tags.database])


@pytest.mark.django_db
def test_small_packets(monkeypatch):
    if connection.vendor != "mysql":
        pytest.skip("MySQL's and MariaDB's max_allowed_packet")
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.max_allowed_packet")
        [packet] = cursor.fetchone()
    for limit, expected in ((packet, set()), (packet + 1, {"wagtail_smtp.W013"})):
        monkeypatch.setattr(checks, "_PACKET", limit)
        assert _ids(tags=[Tags.database]) == expected


class Apart:
    """A router that puts the log in a separate database."""

    def db_for_write(self, model, **hints):
        return "log" if model is LogEntry else None


def test_a_separate_database(settings):
    settings.DATABASE_ROUTERS = []
    assert checks.check_routing() == []
    settings.DATABASE_ROUTERS = [f"{__name__}.Apart"]
    [error] = checks.check_routing()
    assert error.id == "wagtail_smtp.E014"
    assert "default, log" in error.msg
