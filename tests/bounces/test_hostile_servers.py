"""IMAP servers that answer wrongly, too much or not at all."""

import socket
import threading
import time
from contextlib import suppress
from datetime import date

import pytest

from wagtail_smtp.config.values import TransportConfig
from wagtail_smtp.exceptions import DestinationRefused, EmailDeliveryError
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.imap import PORTS, Mailbox

_READY = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n"


@pytest.fixture
def server():
    """A server that says what it is told, whatever it is asked: ``server(lines…)``."""
    ends = []

    def start(*answers, slowly=0.0):
        listener = socket.create_server(("127.0.0.1", 0))
        stop = threading.Event()

        def run():
            connection, _address = listener.accept()
            with connection:
                for answer in answers:
                    for part in (
                        [answer[i : i + 1] for i in range(len(answer))] if slowly else [answer]
                    ):
                        try:
                            connection.sendall(part)
                        except OSError:
                            return
                        if stop.wait(slowly):
                            return
                stop.wait(30)

        thread = threading.Thread(target=run)
        thread.start()
        ends.append((stop, thread, listener))
        return TransportConfig(
            name="Set",
            host="127.0.0.1",
            port=listener.getsockname()[1],
            encryption="none",
            timeout=0.5,
            username="user",
            password="secret of the tests",
        )

    yield start
    for stop, thread, listener in ends:
        stop.set()
        thread.join(10)
        listener.close()


@pytest.mark.parametrize(
    ("answers", "phase"),
    [
        ([], "banner"),
        ([b"* BYE not now\r\n"], "banner"),
        ([b"220 smtp.example.com ESMTP\r\n"], "banner"),
        ([b"* OK " + b"x" * 2_000_000], "banner"),
        ([_READY], "banner"),
        ([_READY, b"* 1 FETCH (BODY[] {99999999}\r\n"], "banner"),
    ],
    ids=["silent", "bye", "smtp", "endless", "deaf", "too large"],
)
def test_a_hostile_server_ends_in_an_error(server, answers, phase):
    began = time.monotonic()
    with pytest.raises(EmailDeliveryError) as caught, Mailbox(server(*answers), "INBOX", 5):
        pass
    assert caught.value.phase == phase
    assert "secret of the tests" not in str(caught.value)
    assert time.monotonic() - began < 30


def test_a_server_that_dribbles_is_cut_off(server):
    """Each byte comes in time, but all of them take longer than everything may."""
    config = server(_READY, b"* OK still here\r\n" * 1000, slowly=0.02)
    began = time.monotonic()
    with pytest.raises(EmailDeliveryError), Mailbox(config, "INBOX", 2):
        pass
    assert time.monotonic() - began < 30


#: What an older server says: not which number the next message gets. It can't return message 3.
_ANSWERS = {
    b"CAPABILITY": b"* CAPABILITY IMAP4rev1\r\n",
    b"EXAMINE": b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n",
    b"UID SEARCH UID *": b"* SEARCH 9\r\n",
    b"UID SEARCH UID 1:9": b"* SEARCH 3 9\r\n",
    b"UID FETCH 3": b"NO",
    b"UID FETCH 9": b"* 2 FETCH (UID 9 BODY[HEADER.FIELDS (TO)]<0> {13}\r\nTo: a@x.org\r\n)\r\n",
}


@pytest.fixture
def old_server():
    """A server that answers from :data:`_ANSWERS`, and the end of a connection slowly."""
    stop = threading.Event()

    def answer(connection, line):
        tag, command = line.rstrip().split(b" ", 1)
        found = next((_ANSWERS[each] for each in _ANSWERS if command.startswith(each)), b"")
        while command == b"LOGOUT" and not stop.wait(0.05):
            connection.sendall(b"* OK still here\r\n")
        connection.sendall(
            tag + b" NO never\r\n" if found == b"NO" else found + tag + b" OK done\r\n"
        )

    def serve():
        connection, _address = listener.accept()
        with connection, connection.makefile("rb") as lines, suppress(OSError):
            connection.sendall(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
            for line in lines:
                answer(connection, line)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield TransportConfig(
            name="Set",
            host="127.0.0.1",
            port=listener.getsockname()[1],
            encryption="none",
            username="user",
            password="secret of the tests",
        )
        stop.set()
        thread.join(10)


def test_a_server_that_does_not_say_the_next_number(old_server):
    """No number that is still free is taken for read."""
    with Mailbox(old_server, "INBOX", 5) as mailbox:
        assert list(mailbox.after(0, date(2026, 11, 1))) == [(9, [3, 9])]
        assert list(mailbox.after(9, date(2026, 11, 1))) == []


def test_a_message_that_the_server_cannot_return_keeps_no_others(old_server):
    with Mailbox(old_server, "INBOX", 5) as mailbox:
        assert mailbox.headers([3, 9], ["To"]) == {9: b"To: a@x.org\r\n"}
        # It may have another reason to refuse everything, so nothing is skipped.
        with pytest.raises(EmailDeliveryError):
            mailbox.headers([3], ["To"])


def test_the_end_takes_a_limited_time_too(old_server):
    began = time.monotonic()
    with Mailbox(old_server, "INBOX", 2):
        pass
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "100.100.100.200"])
def test_metadata_services_are_never_contacted(host):
    config = TransportConfig(name="Set", host=host, port=993, username="u", password="p")
    with pytest.raises(DestinationRefused), Mailbox(config, "INBOX", 5):
        pass


@pytest.mark.parametrize("port", [25, 80, 143, 587, 993])
def test_internal_servers_are_contacted_on_imap_ports_only(settings, port):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ALLOWED_NETWORKS": []}
    assert guard.is_allowed("10.0.0.1", port, ports=PORTS) == (port in (143, 993))
    assert guard.is_allowed("10.0.0.1", port) == (port in (25, 587))
