"""Suppressed recipients get no email, whatever sends it, and the others get theirs."""

import pickle

import pytest
from django.core import mail
from django.core.mail import EmailMessage, send_mail
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import email_category, signals, suppression
from wagtail_smtp.exceptions import RecipientsSuppressed
from wagtail_smtp.live import lookup
from wagtail_smtp.models import LogEntry

GONE, REAL = "gone@example.org", "real@example.org"


@pytest.fixture
def failures():
    """The errors that ``message_failed`` told of."""
    errors = []

    def receive(error, **values):
        errors.append(error)

    signals.message_failed.connect(receive)
    yield errors
    signals.message_failed.disconnect(receive)


@pytest.fixture
def live_set(make_set, reload, smtp_server):
    item = make_set(smtp_server)
    reload()
    return item


def _message(to=(REAL,), **values):
    return EmailMessage("Hi", "Body", "shop@example.com", list(to), **values)


def _states(entry=None):
    entry = entry or LogEntry.objects.latest("pk")
    return {row.address: row.state for row in entry.recipients.all()}


def test_the_others_get_it(live_set, smtp_server):
    suppression.suppress(GONE, "complained")
    message = _message([REAL, f"Gone <{GONE.upper()}>"], cc=["cc@example.org"])
    assert message.send() == 1
    [received] = smtp_server.received
    assert received.recipients == [REAL, "cc@example.org"]
    assert len(message.to) == 2
    entry = LogEntry.objects.get()
    assert (entry.state, entry.cause) == ("sent", "")
    assert _states() == {REAL: "sent", "cc@example.org": "sent", GONE: "suppressed"}
    assert entry.recipients.get(address=GONE).reply == "Reported as spam"


def test_without_other_recipients_nothing_is_sent_and_nothing_raised(
    live_set, smtp_server, failures
):
    suppression.suppress(GONE)
    assert send_mail("Hi", "Body", None, [GONE]) == 1
    assert smtp_server.received == []
    entry = LogEntry.objects.get()
    assert (entry.state, entry.cause, entry.attempts.count()) == ("suppressed", "suppressed", 0)
    assert _states() == {GONE: "suppressed"}
    [error] = failures
    assert isinstance(pickle.loads(pickle.dumps(error)), RecipientsSuppressed)


@pytest.mark.parametrize("category", ["security", "error", "alert"])
def test_some_categories_are_always_sent(live_set, smtp_server, configure, category):
    configure(STANDARD_CATEGORIES=())
    suppression.suppress(GONE)
    with email_category(category):
        send_mail("Hi", "Body", None, [GONE])
    assert [received.recipients for received in smtp_server.received] == [[GONE]]


def test_redirected_mail_is_sent_whoever_is_suppressed(make_set, reload, smtp_server):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    suppression.suppress(GONE)
    suppression.suppress("qa@example.com", "bounced")
    send_mail("Hi", "Body", None, [GONE])
    assert [received.recipients for received in smtp_server.received] == [["qa@example.com"]]
    assert _states() == {GONE: "redirected", "qa@example.com": "sent"}


def test_a_backend_that_reads_the_message_gets_a_copy_without_them(db):
    suppression.suppress(GONE)
    message = _message([GONE, REAL], cc=[f"G <{GONE}>"], bcc=[GONE, "bcc@example.org"])
    message.merge_data = {GONE: {"name": "Gone"}, REAL: {"name": "Real"}}
    message.merge_metadata = {GONE: {}}
    message.send()
    [sent] = mail.outbox
    assert (sent.to, sent.cc, sent.bcc) == ([REAL], [], ["bcc@example.org"])
    assert (sent.merge_data, sent.merge_metadata) == ({REAL: {"name": "Real"}}, {})
    assert GONE not in sent.message().as_string()
    assert message.to == [GONE, REAL]
    assert set(message.merge_data) == {GONE, REAL}
    assert _states() == {REAL: "sent", "bcc@example.org": "sent", GONE: "suppressed"}


def test_someone_in_cc_moves_to_an_empty_to(db):
    suppression.suppress(GONE)
    _message([GONE], cc=[REAL]).send()
    assert (mail.outbox[0].to, mail.outbox[0].cc) == ([REAL], [])


class _Adds(EmailMessage):
    def recipients(self):
        return [*super().recipients(), GONE]


@pytest.mark.parametrize("is_black_box", [True, False])
def test_recipients_that_a_class_adds_are_left_out_too(
    db, make_set, reload, smtp_server, is_black_box
):
    if not is_black_box:
        make_set(smtp_server)
        reload()
    suppression.suppress(GONE)
    _Adds("Hi", "Body", None, [REAL]).send()
    sent = [message.recipients() for message in mail.outbox]
    assert sent + [received.recipients for received in smtp_server.received] == [[REAL]]


def test_an_empty_list_costs_no_query_and_others_one(live_set):
    message = _message([f"n{number}@example.org" for number in range(60)])
    message.send()  # loads the configuration
    counts = []
    for _attempt in range(2):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            message.send()
        counts.append(len(captured))
        suppression.suppress("else@example.org")
    with CaptureQueriesContext(connection) as captured:
        message.send()
    counts.append(len(captured))
    assert counts[1] == counts[2] == counts[0] + 1
    assert sum("suppressedaddress" in query["sql"] for query in captured) == 2


def test_before_the_first_version_too(db):
    suppression.suppress(GONE)
    send_mail("Hi", "Body", None, [GONE])
    assert mail.outbox == []
    suppression.allow(GONE)
    send_mail("Hi", "Body", None, [GONE])
    assert len(mail.outbox) == 1


def test_a_list_that_cannot_be_read_loses_no_mail(live_set, smtp_server, monkeypatch):
    def fail(addresses):
        raise DatabaseError

    suppression.suppress("else@example.org")
    monkeypatch.setattr(suppression, "find", fail)
    send_mail("Hi", "Body", None, [REAL])
    assert [received.recipients for received in smtp_server.received] == [[REAL]]


def test_the_outbox_reads_the_list_when_it_sends(live_set, smtp_server, configure):
    from wagtail_smtp.outbox.worker import Worker

    configure(DELIVERY="queued")
    _message([REAL, GONE]).send()
    send_mail("Hi", "Body", None, [GONE])
    suppression.suppress(GONE)
    worker = Worker()
    assert worker.drain() == 2
    worker.close()
    assert [received.recipients for received in smtp_server.received] == [[REAL]]
    first, second = LogEntry.objects.order_by("pk")
    assert (first.state, _states(first)) == ("sent", {REAL: "sent", GONE: "suppressed"})
    assert (second.state, _states(second)) == ("suppressed", {GONE: "suppressed"})
    assert second.cause == "suppressed"


def test_a_retry_decides_again(make_set, reload, configure):
    from wagtail_smtp.models import OutboxMessage
    from wagtail_smtp.outbox.worker import Worker

    configure(DELIVERY="queued", OUTBOX_RETRY_AFTER=0.001)
    later = Fault("rcpt", "recipients", replies=((REAL, "451 4.2.0 Later"),), times=1)
    with HostileServer(faults=[later]) as server:
        make_set(server)
        reload()
        _message([REAL, GONE, "other@example.org"]).send()
        suppression.suppress(GONE)
        worker = Worker()
        worker.drain()
        entry = LogEntry.objects.get()
        suppression.suppress(REAL)
        OutboxMessage.objects.update(due_at=entry.created_at)
        worker.drain()
        worker.close()
        assert [received.recipients for received in server.received] == [["other@example.org"]]
    entry.refresh_from_db()
    assert entry.state == "sent"
    assert _states() == {REAL: "suppressed", GONE: "suppressed", "other@example.org": "sent"}


@pytest.mark.django_db(transaction=True)
def test_an_event_loop_reads_the_list_too(smtp_server, make_set, reload):
    import asyncio

    make_set(smtp_server)
    reload()
    suppression.suppress(GONE)
    lookup.forget()

    async def send():
        _message([REAL, GONE]).send()

    asyncio.run(send())
    assert [received.recipients for received in smtp_server.received] == [[REAL]]
