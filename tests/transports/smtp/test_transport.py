"""Transactions: who was accepted, split recipients, what the server offers and takes back."""

import pytest
from django.core.mail import EmailMessage

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.transports.conftest import send
from wagtail_smtp.exceptions import (
    DestinationRefused,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
)
from wagtail_smtp.transports.base import Envelope, OutgoingMessage

MANY = tuple(f"r{number}@example.com" for number in range(250))


def _states(outcome):
    return {item.address: item.state for item in outcome.recipients}


def test_no_more_recipients_than_the_limit_in_a_transaction(transport_to):
    with HostileServer() as server:
        outcome = send(transport_to(server), *MANY)
    assert [len(received.recipients) for received in server.received] == [100, 100, 50]
    assert set(_states(outcome).values()) == {"sent"}
    assert [item.address for item in outcome.recipients] == list(MANY)


def test_a_452_splits(transport_to):
    too_many = tuple((address, "452 4.5.3 Too many") for address in MANY[3:5])
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=too_many, times=5)]) as server:
        outcome = send(transport_to(server), *MANY[:5])
    assert [received.recipients for received in server.received] == [
        list(MANY[:3]),
        list(MANY[3:5]),
    ]
    assert set(_states(outcome).values()) == {"sent"}


@pytest.mark.parametrize("reply", ["452 4.5.3 Too many", "452 4.2.2 Mailbox full"])
def test_a_452_that_stays_is_a_deferral(transport_to, reply):
    full = (("full@example.com", reply),)
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=full)]) as server:
        outcome = send(transport_to(server), "ok@example.com", "full@example.com")
    assert _states(outcome) == {"ok@example.com": "sent", "full@example.com": "deferred"}
    assert [received.recipients for received in server.received] == [["ok@example.com"]]


def test_each_recipient_has_its_state(transport_to):
    replies = (("no@example.com", "550 5.1.1 Nobody"), ("later@example.com", "450 4.2.1 Later"))
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=replies)]) as server:
        outcome = send(
            transport_to(server), "ok@example.com", "no@example.com", "later@example.com"
        )
    states = ["sent", "refused", "deferred"]
    assert list(_states(outcome).values()) == states
    assert outcome.recipients[1].code == 550
    assert outcome.recipients[1].reply == "5.1.1 Nobody"


def test_if_a_later_transaction_fails_the_rest_is_deferred(transport_to):
    with HostileServer(faults=[Fault("end", "refuse", "451 4.3.0 Later", skip=1)]) as server:
        outcome = send(transport_to(server), *MANY)
    states = list(_states(outcome).values())
    assert states == ["sent"] * 100 + ["deferred"] * 150
    assert len(server.received) == 1


def test_if_a_later_transaction_is_unknown_so_is_the_message(transport_to):
    with (
        HostileServer(faults=[Fault("end", "close", skip=1)]) as server,
        pytest.raises(MessageOutcomeUnknown) as caught,
    ):
        send(transport_to(server), *MANY)
    states = [item.state for item in caught.value.recipients]
    assert states == ["sent"] * 100 + ["unknown"] * 100 + ["deferred"] * 50
    assert not caught.value.retry_is_safe


def test_refused_recipients_of_one_transaction_do_not_stop_the_next(transport_to, settings):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"MAX_RECIPIENTS": 1}
    nobody = (("no@example.com", "550 5.1.1 Nobody"),)
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=nobody)]) as server:
        outcome = send(transport_to(server), "no@example.com", "ok@example.com")
    assert _states(outcome) == {"no@example.com": "refused", "ok@example.com": "sent"}


def test_a_message_over_the_announced_size_is_not_sent(transport_to):
    with HostileServer(extensions=("SIZE 200", "PIPELINING", "CHUNKING")) as server:
        with pytest.raises(MessageTooLarge) as caught:
            send(transport_to(server), subject="x" * 300)
        assert not any(line.startswith("MAIL") for line in server.transcript)
    assert caught.value.phase == "size"


@pytest.mark.parametrize("phase", ["mail", "end"])
def test_too_large_by_the_servers_word(transport_to, phase):
    with HostileServer(faults=[Fault(phase, "refuse", "552 5.3.4 Too big")]) as server:
        with pytest.raises(MessageTooLarge):
            send(transport_to(server))
        assert server.received == []


def test_a_full_mailbox_is_no_large_message(transport_to):
    with (
        HostileServer(faults=[Fault("end", "refuse", "552 5.2.2 Mailbox full")]) as server,
        pytest.raises(MessageRefused),
    ):
        send(transport_to(server))


def test_chunking_that_is_announced_and_then_refused_is_done_without(transport_to):
    refusal = Fault("data", "refuse", "502 5.5.1 What is BDAT?", skip=1, times=1)
    with HostileServer(faults=[refusal]) as server:
        transport = transport_to(server)
        for _ in range(3):
            send(transport)
        assert len(server.received) == 3
        assert server.transcript.count("DATA") == 3


def test_only_what_is_offered_after_tls_counts(transport_to):
    with HostileServer(extensions=("8BITMIME",)) as server:
        send(transport_to(server))
        assert "DATA" in server.transcript
        assert not any("SIZE=" in line for line in server.transcript)


def test_8bitmime_is_said_where_it_is_needed_and_offered(transport_to):
    with HostileServer() as server:
        transport = transport_to(server)
        envelope = Envelope("a@example.com", ("to@example.com",))
        message = EmailMessage("Hi", "ä", "a@example.com", ["to@example.com"])
        transport.send(OutgoingMessage(message, envelope), 3)
        send(transport)
    mails = [line for line in server.transcript if line.startswith("MAIL")]
    is_8_bit = [not received.content.isascii() for received in server.received]
    assert ["BODY=8BITMIME" in line for line in mails] == is_8_bit
    assert is_8_bit[1] is False


@pytest.mark.threat(15)
@pytest.mark.parametrize("address", ["a@b.c>\r\nRCPT TO:<x@y.z", "a@b.c> SIZE=1", "a<b@c.d"])
def test_an_address_cannot_carry_a_command(transport_to, address):
    with HostileServer() as server:
        with pytest.raises(ValueError):
            send(transport_to(server), address)
        assert not any(line.startswith("RCPT") for line in server.transcript)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_each_way_to_log_in(transport_to, mechanism):
    with HostileServer(mechanisms=(mechanism,), password="pässwörd ☃") as server:
        send(transport_to(server))
        assert len(server.received) == 1
        assert len(server.logins) == 1


def test_a_wrong_password_is_tried_once(transport_to):
    with HostileServer() as server:
        with pytest.raises(MessageDeferred) as caught:
            send(transport_to(server, password="wrong"))
        assert (caught.value.phase, caught.value.code) == ("auth", 535)
        # Not once more by another mechanism: servers lock accounts for that.
        assert sum(line.startswith("AUTH") for line in server.transcript) == 1


def test_a_mechanism_that_is_announced_and_refused_is_followed_by_the_next(transport_to):
    refusal = Fault("auth", "refuse", "504 5.7.4 Not this one", times=1)
    with HostileServer(faults=[refusal]) as server:
        send(transport_to(server))
        assert len(server.received) == 1


def test_an_error_of_the_token_request_is_not_told_as_a_wrong_password(transport_to):
    class Tokens:
        def current(self):
            raise DestinationRefused("169.254.169.254 may not be connected to.")

        def renewed(self, rejected):
            return None

    with HostileServer(mechanisms=("XOAUTH2",)) as server, pytest.raises(DestinationRefused):
        send(transport_to(server, password="", tokens=Tokens()))
