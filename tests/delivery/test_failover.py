"""Backups in order, servers that are left alone for a while, and what callers are told."""

import smtplib
import time

import pytest
from django.core import mail
from django.core.mail import EmailMessage, send_mail
from django.core.mail.backends.base import BaseEmailBackend

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import email_category, signals
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.exceptions import (
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    SecretUnreadable,
)
from wagtail_smtp.models import LogEntry, Secret

DEAD = Fault("connect", "close")


@pytest.fixture
def backup():
    with HostileServer() as server:
        yield server


@pytest.fixture
def told():
    """What signals told: the attempts of each message."""
    attempts = []

    def receive(**values):
        attempts.append(values["attempts"])

    signals.message_sent.connect(receive)
    signals.message_failed.connect(receive)
    yield attempts
    signals.message_sent.disconnect(receive)
    signals.message_failed.disconnect(receive)


def _send(*recipients, **values):
    to = list(recipients) or ["real@example.org"]
    return EmailMessage("Hi", "Body", "site@example.com", to, **values).send()


def _two(make_set, reload, first, second, **values):
    make_set(first, name="first", timeout=2, **values)
    make_set(second, name="second", backup=True)
    reload()


def test_a_backup_takes_over(make_set, reload, backup, told):
    with HostileServer(faults=[DEAD]) as first:
        _two(make_set, reload, first, backup)
        assert _send() == 1
    assert len(backup.received) == 1
    [attempts] = told
    assert [attempt.via for attempt in attempts] == ["first", "second"]
    assert attempts[0].outcome is None
    assert isinstance(attempts[0].error, MessageDeferred)
    assert attempts[1].outcome.via == "second"
    assert all(attempt.seconds >= 0 for attempt in attempts)


def test_message_id_and_date_are_the_same_over_all_attempts(make_set, reload, backup):
    late = Fault("end", "refuse", "451 4.3.0 Later", taken=True)
    with HostileServer(faults=[late]) as first:
        _two(make_set, reload, first, backup)
        _send()
        for header in ("Message-ID", "Date"):
            assert first.received[0].message[header] == backup.received[0].message[header]


def test_a_set_that_is_no_backup_is_not_used_as_one(make_set, reload, backup):
    with HostileServer(faults=[DEAD]) as first:
        make_set(first, timeout=2)
        make_set(backup)
        reload()
        with pytest.raises(MessageDeferred):
            _send()
    assert backup.received == []


def test_a_backup_for_other_categories_is_not_used(make_set, reload, backup):
    with HostileServer(faults=[DEAD]) as first:
        make_set(first, timeout=2)
        make_set(backup, backup=True, categories=["invoice"])
        reload()
        with pytest.raises(MessageDeferred):
            _send()
        with email_category("invoice"):
            assert _send() == 1
    assert len(backup.received) == 1


def test_a_dead_server_is_left_alone_and_then_tried_by_one_message(
    make_set, reload, backup, configure, told
):
    configure(COOL_DOWN=0.4)
    with HostileServer(faults=[Fault("banner", "refuse", "554 5.3.2 Down", times=2)]) as first:
        _two(make_set, reload, first, backup)
        for _ in range(3):
            _send()
        assert first.connections == 1
        time.sleep(0.5)
        _send()  # tried again, still down
        assert first.connections == 2
        assert len(backup.received) == 4
        time.sleep(0.5)
        _send()
        _send()
        assert len(first.received) == 2
    assert [attempts[0].recovered for attempts in told] == [False] * 4 + [True, False]


def test_a_dead_server_is_tried_all_the_same_if_nothing_else_is_left(make_set, reload, configure):
    with HostileServer(faults=[Fault("connect", "close", times=1)]) as first:
        make_set(first, timeout=2)
        reload()
        with pytest.raises(MessageDeferred):
            _send()
        assert _send() == 1
        assert len(first.received) == 1


def test_refused_is_refused_by_no_other_candidate(make_set, reload, backup):
    with HostileServer(faults=[Fault("rcpt", "refuse", "550 5.1.1 Nobody")]) as first:
        _two(make_set, reload, first, backup)
        with pytest.raises(MessageRefused):
            _send()
    assert backup.received == []


def test_unknown_is_never_sent_again(make_set, reload, backup):
    with HostileServer(faults=[Fault("end", "close", taken=True)]) as first:
        _two(make_set, reload, first, backup)
        with pytest.raises(MessageOutcomeUnknown):
            _send()
        assert len(first.received) == 1
    assert backup.received == []


def test_too_large_for_one_is_sent_by_another_with_room(make_set, reload, backup):
    with HostileServer(extensions=("SIZE 100",)) as first:
        _two(make_set, reload, first, backup)
        assert _send() == 1
    assert len(backup.received) == 1


def test_too_large_for_all_is_kept(make_set, reload):
    with HostileServer(extensions=("SIZE 100",)) as first:
        make_set(first)
        reload()
        assert _send() == 1
    entry = LogEntry.objects.get()
    assert entry.state == "too_large"
    assert stored_message.load(entry).body == ""


def test_too_large_for_all_and_for_the_store(make_set, reload, configure):
    configure(MAX_STORED=100)
    with HostileServer(extensions=("SIZE 100",)) as first:
        make_set(first)
        reload()
        with pytest.raises(MessageTooLarge):
            _send()
    assert LogEntry.objects.get().state == "too_large"


def test_the_rest_of_many_recipients_goes_by_the_backup(make_set, reload, backup, configure):
    configure(MAX_RECIPIENTS=2)
    with HostileServer(faults=[Fault("end", "refuse", "451 4.3.0 Later", skip=1)]) as first:
        _two(make_set, reload, first, backup)
        assert _send(*(f"r{n}@example.org" for n in range(5))) == 1
        assert [r.recipients for r in first.received] == [["r0@example.org", "r1@example.org"]]
    rest = [address for received in backup.received for address in received.recipients]
    assert rest == ["r2@example.org", "r3@example.org", "r4@example.org"]


def test_whom_one_refused_and_another_deferred(make_set, reload, backup):
    replies = (("no@example.org", "550 5.1.1 Nobody"), ("later@example.org", "450 4.2.1 Later"))
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=replies)]) as first:
        _two(make_set, reload, first, backup)
        assert _send("no@example.org", "later@example.org") == 1
    assert [received.recipients for received in backup.received] == [["later@example.org"]]


def test_a_password_that_became_unreadable_is_the_sets_fault(make_set, reload, backup):
    with HostileServer() as first:
        _two(make_set, reload, first, backup)
        Secret.objects.filter(pk=Secret.objects.order_by("pk").first().pk).update(ciphertext="x")
        assert _send() == 1
    assert len(backup.received) == 1


def test_without_a_backup_the_unreadable_password_is_the_error(make_set, reload):
    with HostileServer() as first:
        make_set(first)
        reload()
        Secret.objects.update(ciphertext="x")
        with pytest.raises(SecretUnreadable):
            _send()


@pytest.mark.parametrize("allowed", [True, False])
def test_standard_delivery_is_the_last_resort_where_that_is_allowed(
    make_set, reload, configure, allowed
):
    configure(FALLBACK_TO_STANDARD=allowed)
    with HostileServer(faults=[DEAD]) as first:
        make_set(first, timeout=2, redirect=True, reports=["qa@example.com"])
        reload()
        if allowed:
            assert _send() == 1
            # The redirect holds there too.
            assert [message.to for message in mail.outbox] == [["qa@example.com"]]
        else:
            with pytest.raises(MessageDeferred):
                _send()
            assert mail.outbox == []


class Odd(BaseEmailBackend):
    """A project's own backend that ends in ``raises``."""

    raises: Exception
    tried = 0

    def send_messages(self, messages):
        type(self).tried += 1
        raise self.raises


REFUSED = {"a@example.org": (550, b"no")}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (smtplib.SMTPConnectError(421, b"no"), MessageDeferred),
        (smtplib.SMTPHeloError(500, b"no"), MessageDeferred),
        (smtplib.SMTPAuthenticationError(535, b"no"), MessageDeferred),
        (smtplib.SMTPSenderRefused(550, b"no", "a@example.org"), MessageDeferred),
        (smtplib.SMTPRecipientsRefused(REFUSED), MessageRefused),
        (smtplib.SMTPRecipientsRefused({"a@example.org": (450, b"no")}), MessageDeferred),
        (smtplib.SMTPDataError(554, b"no"), MessageRefused),
        (smtplib.SMTPDataError(451, b"no"), MessageDeferred),
        (ConnectionRefusedError(), MessageDeferred),
        (smtplib.SMTPServerDisconnected("gone"), MessageOutcomeUnknown),
        (TimeoutError(), MessageOutcomeUnknown),
        (ConnectionResetError(), MessageOutcomeUnknown),
    ],
)
def test_what_an_error_of_a_black_box_proves(db, configure, told, error, kind):
    configure(STANDARD={"BACKEND": f"{__name__}.Odd"})
    Odd.raises = error
    # Callers of the project's own backend go on seeing its errors.
    with pytest.raises(type(error)) as caught:
        send_mail("Hi", "Body", None, ["real@example.org"])
    assert caught.value is error
    [[attempt]] = told
    assert type(attempt.error) is kind


def test_error_mail_tells_of_no_attempt_if_nothing_could_be_tried(make_set, reload, told, settings):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"REDIRECT_ALL_TO": []}
    with pytest.raises(smtplib.SMTPException):
        send_mail("Hi", "Body", None, ["real@example.org"])
    assert told == [()]
