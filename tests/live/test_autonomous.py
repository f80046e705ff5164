"""What bounds the log's statements, and that it is gone afterwards, on MariaDB and MySQL."""

import time

import pytest
from django.db import DatabaseError, connection, transaction

from tests.support.broken_tables import full
from tests.support.servers.mariadb import taken_for_mariadb
from wagtail_smtp.live.db import autonomous
from wagtail_smtp.models import LogEntry, StoredMessage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[True, False], ids=["MariaDB", "MySQL"])
def bounded_by_statement(request, monkeypatch):
    """Both ways; the statements of the second are MariaDB's too."""
    if connection.vendor != "mysql":
        pytest.skip("PostgreSQL has tests of its own, SQLite has no such bounds")
    taken_for_mariadb(request.param, monkeypatch)
    return request.param


def _lock_wait():
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.innodb_lock_wait_timeout")
        return cursor.fetchone()[0]


def test_it_is_bounded_and_nothing_is_left(bounded_by_statement):
    before = _lock_wait()
    assert autonomous.write(_lock_wait, "default") == autonomous._STATEMENT_TIMEOUT != before
    assert _lock_wait() == before
    with transaction.atomic():
        assert autonomous.write(_lock_wait, "default") == autonomous._STATEMENT_TIMEOUT


def test_nothing_is_left_after_a_failure(bounded_by_statement):
    before = _lock_wait()
    with full(LogEntry._meta.db_table), pytest.raises(DatabaseError):
        autonomous.write(lambda: LogEntry.objects.create(state="sent"), "default")
    assert _lock_wait() == before
    assert not StoredMessage.objects.exists()


def test_a_lock_of_the_callers_is_waited_for_shortly(bounded_by_statement, monkeypatch):
    monkeypatch.setattr(autonomous, "_STATEMENT_TIMEOUT", 1)
    entry = LogEntry.objects.create(state="sent")
    with transaction.atomic():
        LogEntry.objects.filter(pk=entry.pk).update(subject="mine")
        began = time.monotonic()
        with pytest.raises(DatabaseError):
            autonomous.write(
                lambda: LogEntry.objects.filter(pk=entry.pk).update(subject="x"), "default"
            )
        assert time.monotonic() - began < 4
    entry.refresh_from_db()
    assert entry.subject == "mine"
