"""Nobody is told that a message is sent, queued or kept unless that is committed."""

import random
from contextlib import contextmanager, nullcontext

import pytest
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import DatabaseError, connection, transaction

from tests.support.broken_tables import ENDS, HANGS, full
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.exceptions import EmailDeliveryError, MessageTooLarge, StorageFull
from wagtail_smtp.maintenance import resend
from wagtail_smtp.models import LogEntry, OutboxMessage, StoredMessage

pytestmark = pytest.mark.django_db(transaction=True)

STORED = StoredMessage._meta.db_table
OUTBOX = OutboxMessage._meta.db_table
ENTRIES = LogEntry._meta.db_table


@contextmanager
def _site(make_set, reload, *faults, **values):
    with HostileServer(faults=faults) as server:
        make_set(server, name="Office", timeout=2, **values)
        reload()
        yield server


def _message(octets=0):
    message = EmailMessage("Contract", "Body", "shop@example.com", ["client@example.org"])
    if octets:
        message.attach("a.bin", bytes(octets), "application/octet-stream")
    return message


@pytest.fixture(params=["outside", "inside"])
def where(request):
    """Outside and inside a transaction of the caller's, which goes on."""

    @contextmanager
    def inside():
        with transaction.atomic():
            yield
            assert LogEntry.objects.count() >= 0

    return nullcontext if request.param == "outside" else inside


def _logged():
    return [(entry.state, hasattr(entry, "stored")) for entry in LogEntry.objects.all()]


@pytest.mark.threat(29)
def test_too_large_but_not_kept(make_set, reload, admins, where):
    with _site(make_set, reload, max_size=1) as server:
        with full(STORED), where(), pytest.raises(MessageTooLarge):
            _message(1_500_000).send()
        assert server.received == []  # nobody is told that it is kept
    assert _logged() == [("too_large", False)]


def test_too_large_and_kept(make_set, reload, admins, where):
    with _site(make_set, reload, max_size=1) as server:
        with where():
            assert _message(1_500_000).send() == 1
        assert [received.recipients for received in server.received] == [admins]
    assert ("too_large", True) in _logged()


def test_a_failed_message_that_can_not_be_stored(make_set, reload, where):
    with (
        _site(make_set, reload, Fault("banner", "close")),
        full(STORED),
        where(),
        pytest.raises(EmailDeliveryError),
    ):
        _message().send()
    assert _logged() == [("failed", False)]


@pytest.mark.threat(29)
@pytest.mark.parametrize(("table", "is_stored"), [(OUTBOX, True), (STORED, False)])
def test_deferred_but_not_in_the_outbox(make_set, reload, configure, where, table, is_stored):
    configure(RETRY_DEFERRED=True)
    with (
        _site(make_set, reload, Fault("rcpt", "refuse", "450 4.2.1 Later")),
        full(table),
        where(),
        pytest.raises(EmailDeliveryError),
    ):
        _message().send()
    assert _logged() == [("failed", is_stored)]
    assert not OutboxMessage.objects.exists()


@pytest.mark.parametrize(("table", "is_stored"), [(OUTBOX, True), (STORED, False)])
def test_not_queued(make_set, reload, configure, where, table, is_stored):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    with full(table), where(), pytest.raises(DatabaseError):
        _message().send()
    assert _logged() == [("failed", is_stored)]
    assert not OutboxMessage.objects.exists()


def test_not_resent(make_set, reload, configure, where):
    with _site(make_set, reload, Fault("banner", "close", times=1)):
        with pytest.raises(EmailDeliveryError):
            _message().send()
        first = LogEntry.objects.get()
        configure(DELIVERY="queued")
        with full(OUTBOX), where(), pytest.raises(DatabaseError):
            resend.resend(first)
    second = LogEntry.objects.exclude(pk=first.pk).get()
    assert (second.state, second.resend_of_id) == ("failed", first.pk)
    assert not OutboxMessage.objects.exists()


def test_sent_but_the_log_is_full(make_set, reload, where, caplog):
    with _site(make_set, reload) as server, full(ENTRIES), where():
        assert _message().send() == 1
    assert len(server.received) == 1
    assert "delivery log could not be written" in caplog.text
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


@pytest.mark.parametrize("how", [ENDS, HANGS], ids=["the session ends", "it takes too long"])
def test_storing_takes_the_connection_along(make_set, reload, where, how):
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's triggers can end a session")
    with _site(make_set, reload, max_size=1) as server:
        with full(STORED, how), where(), pytest.raises(MessageTooLarge):
            _message(1_500_000).send()
        assert server.received == []
    assert _logged() == [("too_large", False)]


@pytest.mark.parametrize("kind", ["too_large", "failed", "queued"])
def test_larger_than_a_packet(make_set, reload, configure, monkeypatch, where, kind):
    if connection.vendor != "mysql":
        pytest.skip("MySQL's and MariaDB's max_allowed_packet")
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    # As if the database accepted even less than a piece.
    monkeypatch.setattr(stored_message, "PIECE", 2 * limit)
    configure(DELIVERY="queued" if kind == "queued" else "immediate")
    message = _message()
    message.attach("a.bin", random.randbytes(limit), "application/octet-stream")
    max_size = 1 if kind == "too_large" else None
    with (
        _site(make_set, reload, Fault("data", "refuse", "451 Later"), max_size=max_size),
        where(),
        pytest.raises(StorageFull if kind == "queued" else EmailDeliveryError),
    ):
        message.send()
    state = "too_large" if kind == "too_large" else "failed"
    assert _logged() == [(state, False)]


def test_in_pieces_it_is_not_larger_than_a_packet(configure, where):
    if connection.vendor != "mysql":
        pytest.skip("MySQL's and MariaDB's max_allowed_packet")
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    configure(DELIVERY="queued", STORE_MESSAGES="all")
    message = _message()
    message.attach("a.bin", random.randbytes(limit), "application/octet-stream")
    with where():
        message.send()
    content = stored_message.load(LogEntry.objects.get()).frozen_content
    assert len(content) > limit


@pytest.mark.parametrize("filler", [b"a", b"'"], ids=["plain", "escaped"])
@pytest.mark.parametrize("beyond", [-16 * 1024, 1], ids=["fits", "too large"])
def test_just_below_and_above_a_packet(monkeypatch, filler, beyond):
    """What is refused is what the database wouldn't accept, whatever the driver adds to it."""
    if connection.vendor != "mysql":
        pytest.skip("MySQL's and MariaDB's max_allowed_packet")
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    monkeypatch.setattr(stored_message.crypto, "seal", lambda content: content)
    monkeypatch.setattr(stored_message, "PIECE", 2 * limit)
    content = filler * ((limit + beyond) // (2 if filler == b"'" else 1))
    entry = LogEntry.objects.create(state="queued", category="other")
    with transaction.atomic():
        with nullcontext() if beyond < 0 else pytest.raises(StorageFull):
            stored_message.keep(entry, content)
        is_kept = StoredMessage.objects.filter(entry=entry).exists()
    assert is_kept == (beyond < 0)
