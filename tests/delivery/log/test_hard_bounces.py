"""Addresses that don't exist are suppressed, but not because of a server that refuses everyone."""

from smtplib import SMTPRecipientsRefused

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from wagtail_smtp import signals, suppression
from wagtail_smtp.delivery.log.hard_bounces import is_no_such_mailbox
from wagtail_smtp.exceptions import MessageRefused
from wagtail_smtp.models import LogEntry, SuppressedAddress

GONE, OTHER = "gone@example.org", "other@example.org"
UNKNOWN = "550 5.1.1 <gone@example.org>: Recipient address rejected: User unknown in table"


@pytest.mark.parametrize(
    ("code", "response"),
    [
        (550, "5.1.1 <policy@example.org>: Recipient address rejected: User unknown"),
        (550, "5.1.1 The email account that you tried to reach does not exist. NoSuchUser"),
        (550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),
        (556, "5.1.10 Recipient address has null MX"),
        (551, "5.1.6 User has moved"),
        (550, "5.1.1"),
    ],
)
def test_responses_that_mean_that_there_is_no_such_mailbox(code, response):
    assert is_no_such_mailbox(code, response)


@pytest.mark.parametrize(
    ("code", "response"),
    [
        (450, "5.1.1 User unknown"),
        (450, "4.1.1 <gone@example.org>: Recipient address rejected: unverified address"),
        (550, "User unknown"),
        (550, "5.1.0 Address rejected"),
        (550, "5.1.2 Bad destination system"),
        (550, "5.1.11 Something else"),
        (550, "5.1.1.2 Not a status"),
        (552, "5.2.2 Mailbox full"),
        (550, "5.2.1 Mailbox disabled"),
        (554, "5.7.1 <gone@example.org>: Relay access denied"),
        (550, "5.1.1 Relaying denied"),
        (550, "5.1.1 Blocked by policy"),
        (550, "5.1.1 Sender verify failed"),
    ],
)
def test_responses_that_may_mean_something_else(code, response):
    assert not is_no_such_mailbox(code, response)


def _send(*to):
    EmailMessage("Hi", "Body", "shop@example.com", list(to)).send()


def _refused(*to):
    with pytest.raises(MessageRefused):
        _send(*to)


@pytest.fixture
def server(smtp_server, make_set, reload):
    smtp_server.refuse = {GONE: UNKNOWN}
    make_set(smtp_server)
    reload()
    return smtp_server


def _suppressed():
    return set(SuppressedAddress.objects.values_list("address", flat=True))


def test_a_server_that_accepts_others_is_believed(server):
    calls = []
    signals.address_suppressed.connect(receive := lambda **values: calls.append(values))
    _send(OTHER)
    _refused(GONE)
    signals.address_suppressed.disconnect(receive)
    row = SuppressedAddress.objects.get()
    assert (row.address, row.reason, row.detail) == (GONE, "bounced", UNKNOWN)
    assert row.entry == LogEntry.objects.latest("pk")
    assert [(call["address"], call["entry"]) for call in calls] == [(GONE, row.entry_id)]
    _send(GONE)  # no error: it is no longer sent
    assert LogEntry.objects.latest("pk").state == "suppressed"


def test_of_one_message_too(server):
    _send(OTHER, GONE)
    assert LogEntry.objects.get().state == "partly_sent"
    assert _suppressed() == {GONE}


def test_a_server_that_refuses_everyone_in_a_domain_is_misconfigured(server):
    _send("someone@example.net")
    _refused(GONE)
    server.refuse[OTHER] = UNKNOWN
    _refused(GONE, OTHER)
    assert _suppressed() == set()


def test_a_server_that_lost_its_mailboxes_is_believed_once_at_most(server):
    _send(OTHER)
    _send("third@example.org")
    server.refuse |= {OTHER: UNKNOWN, "third@example.org": UNKNOWN}
    for address in (GONE, OTHER, "third@example.org"):
        _refused(address)
    assert _suppressed() == {GONE}


def test_another_server_does_not_vouch_for_this_one(server, make_set, reload, other_server):
    make_set(other_server, categories=["form"], sort_order=-1)
    reload()
    from wagtail_smtp import email_category

    with email_category("form"):
        _send(OTHER)
    assert other_server.received
    _refused(GONE)
    assert _suppressed() == set()


def test_redirected_mail_changes_nothing(make_set, reload, smtp_server):
    smtp_server.refuse = {GONE: UNKNOWN}
    make_set(smtp_server, redirect=True, reports=[GONE, OTHER])
    reload()
    _send("real@example.org")
    assert LogEntry.objects.get().state == "partly_sent"
    assert _suppressed() == set()


@pytest.mark.parametrize("needed", [0, 2, 3])
def test_after_how_many_bounces(server, configure, needed):
    configure(SUPPRESS_AFTER_BOUNCES=needed)
    for number in (1, 2, 3):
        _send(OTHER)
        _refused(GONE)
        assert _suppressed() == ({GONE} if needed and number >= needed else set())
        if _suppressed():
            break


@pytest.mark.django_db(transaction=True)
def test_a_rollback_of_the_caller_does_not_matter(server, django_db_blocker):
    from django.db import connection, transaction

    _send(OTHER)
    with transaction.atomic():
        _refused(GONE)
        transaction.set_rollback(True)
    # SQLite has one writer, the caller.
    assert _suppressed() == (set() if connection.vendor == "sqlite" else {GONE})


class Refuses(BaseEmailBackend):
    """Raises what Django's backend raises."""

    def send_messages(self, messages):
        if GONE in messages[0].to:
            code, _space, text = UNKNOWN.partition(" ")
            raise SMTPRecipientsRefused({GONE: (int(code), text.encode())})
        return 1


def test_standard_delivery(db, configure):
    configure(STANDARD={"BACKEND": f"{__name__}.Refuses"})
    _send(OTHER)
    with pytest.raises(SMTPRecipientsRefused):
        _send(GONE)
    assert _suppressed() == {GONE}
    assert suppression.is_suppressed(GONE)
