"""Workers and locks of other transactions on MariaDB and MySQL, where waiting ends in an error."""

import threading
import time

import pytest
from django.core.mail import EmailMessage
from django.db import OperationalError, connection, transaction

from tests.support.outbox import claim
from tests.support.servers.mariadb import taken_for_mariadb
from wagtail_smtp.live.db import expressions, retry
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.outbox import claims
from wagtail_smtp.outbox.outcomes import Result
from wagtail_smtp.outbox.worker import Worker, give_up_lost

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=[True, False], ids=["MariaDB", "MySQL"])
def claimed(request, configure, settings, monkeypatch):
    """A claimed message; both ways to bound the wait."""
    if connection.vendor != "mysql":
        pytest.skip("others' locks end in no error elsewhere")
    taken_for_mariadb(request.param, monkeypatch)
    monkeypatch.setattr(retry, "_LOCK_WAIT", 1)
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    return _claim_another()


def _queue():
    EmailMessage("Subject", "Body", "shop@example.com", ["real@example.org"]).send()


def _claim_another():
    _queue()
    [row] = claim(1)
    return row


def _lock_all():
    list(OutboxMessage.objects.select_for_update())
    list(LogEntry.objects.select_for_update())


class _Locked:
    """Another transaction that has the rows of the outbox and of the log for so long.

    Args:
        lock: what it does instead.
    """

    def __init__(self, seconds, lock=_lock_all):
        self._seconds, self._lock = seconds, lock
        self._has_them, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            with transaction.atomic():
                self._lock()
                self._has_them.set()
                self._let_go.wait(self._seconds)
        finally:
            connection.close()

    def __enter__(self):
        self._thread.start()
        assert self._has_them.wait(10)

    def __exit__(self, *_args):
        self._let_go.set()
        self._thread.join(10)


def _extend(row):
    mine = OutboxMessage.objects.filter(pk=row.pk)
    before = mine.get().lease_until
    claims.extend(row.token)
    assert mine.get().lease_until > before


def _release(row):
    claims.release(row.token)
    assert OutboxMessage.objects.get(pk=row.pk).state == OutboxMessage.State.WAITING


def _release_some(row):
    claims.release(row.token, [row])
    assert OutboxMessage.objects.get(pk=row.pk).state == OutboxMessage.State.WAITING


@pytest.mark.parametrize("write", [_extend, _release, _release_some])
def test_a_lock_is_waited_for_again(claimed, write):
    with _Locked(1.6):
        write(claimed)


@pytest.fixture(params=["READ COMMITTED", "REPEATABLE READ"])
def _isolation(claimed, request):
    """Django's default; and one in which a transaction locks all rows that it examines."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {request.param}")
    yield
    connection.close()


@pytest.mark.usefixtures("_isolation")
@pytest.mark.parametrize("write", [_extend, _release, _release_some])
@pytest.mark.parametrize("theirs", ["sending", "queued"])
def test_the_lock_of_another_message_is_not_waited_for(claimed, write, theirs):
    """Another worker writes an outcome, or an import has queued a message and goes on."""
    other = _claim_another()
    locks = {
        "sending": lambda: OutboxMessage.objects.select_for_update().get(pk=other.pk),
        "queued": _queue,
    }
    with _Locked(30, locks[theirs]):
        write(claimed)


def test_a_lost_message_that_is_locked_is_given_up_later(claimed):
    OutboxMessage.objects.update(lease_until=expressions.now(-1))
    with _Locked(30):
        give_up_lost()
    assert LogEntry.objects.get(category="other").state == "queued"
    give_up_lost()
    assert LogEntry.objects.get(category="other").state == "unknown"


def test_a_claim_waits_for_no_lock(claimed):
    claims.release(claimed.token)
    with _Locked(30):
        began = time.monotonic()
        assert claim() == []
        assert time.monotonic() - began < 15


def test_an_outcome_is_written_in_spite_of_a_lock(claimed, make_set, reload):
    """A message that is deferred is put back, and its recipients changed, by the ORM."""
    claimed.content = None
    worker = Worker()
    delivery = worker._try_deliver(claimed)
    worker.close()
    with _Locked(1.6):
        worker._write(claimed.token, [Result(claimed, delivery)], 0)
    assert not OutboxMessage.objects.filter(state=OutboxMessage.State.SENDING).exists()


def test_no_lock_is_waited_for_as_long_as_the_server_would(claimed, monkeypatch):
    monkeypatch.setattr(retry, "_MAX_SECONDS", 1)
    with _Locked(30):
        began = time.monotonic()
        with pytest.raises(OperationalError) as caught:
            claims.extend(claimed.token)
        assert time.monotonic() - began < 15
    assert caught.value.args[0] == 1205
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.innodb_lock_wait_timeout")
        assert cursor.fetchone()[0] > 15
