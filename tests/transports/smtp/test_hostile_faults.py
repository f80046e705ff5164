"""The hostile server at its worst."""

import smtplib
import socket
import ssl
import threading
import time

import pytest

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_client import (
    MAIL,
    RCPT,
    after_ehlo,
    how_it_ends,
    logged_in,
    read,
)
from tests.support.servers.hostile_faults import Fault

SPOKEN = {
    "ehlo": b"EHLO x\r\n",
    "mail": MAIL,
    "rcpt": MAIL + RCPT,
    "data": MAIL + RCPT + b"DATA\r\n",
    "quit": b"QUIT\r\n",
}


@pytest.mark.parametrize("kind", ["close", "reset", "hang"])
@pytest.mark.parametrize("phase", ["connect", "banner", *SPOKEN])
def test_leaves_or_hangs(phase, kind):
    with HostileServer("none", auth=False, faults=[Fault(phase, kind)]) as server:
        assert _experience(server, SPOKEN.get(phase, b"")) == kind
        server.plan.wait()
        assert [fault.phase for fault in server.struck] == [phase]


def _experience(server, spoken):
    try:
        with socket.create_connection((server.host, server.port), 5) as sock:
            sock.sendall(spoken)
            sock.settimeout(0.1)
            return how_it_ends(sock)
    except ConnectionResetError:
        return "reset"


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("kind", ["close", "reset", "garbage"])
def test_withholds_the_final_reply(kind, taken):
    with (
        HostileServer("none", auth=False, faults=[Fault("end", kind, taken=taken)]) as server,
        after_ehlo(server) as sock,
    ):
        sock.sendall(MAIL + RCPT + b"BDAT 2 LAST\r\nHi")
        server.plan.wait()
        assert len(server.received) == taken


@pytest.mark.parametrize("kind", ["endless", "endless line"])
def test_goes_on_without_end(kind):
    with (
        HostileServer("none", faults=[Fault("banner", kind)]) as server,
        socket.create_connection((server.host, server.port), 5) as sock,
    ):
        size = 0
        while size < 10_000_000:
            size += len(sock.recv(1 << 20))


@pytest.mark.parametrize("kind", ["hang", "endless"])
def test_stops_at_once(kind):
    """Hung or stuck in a write."""
    with HostileServer("none", faults=[Fault("banner", kind)]) as server:
        sock = socket.create_connection((server.host, server.port), 5)
        server.plan.wait()
        started = time.monotonic()
    assert time.monotonic() - started < 1  # what waiting for a thread in vain takes
    assert not [t for t in threading.enumerate() if "_serve" in t.name]
    sock.close()


def test_stops_in_a_handshake():
    with HostileServer("ssl") as server:
        sock = socket.create_connection((server.host, server.port), 5)
        started = time.monotonic()
    assert time.monotonic() - started < 1  # what waiting for a thread in vain takes
    sock.close()


def test_listens_to_nobody():
    with (
        HostileServer(faults=[Fault("connect", "refuse")]) as server,
        pytest.raises(ConnectionRefusedError),
    ):
        socket.create_connection((server.host, server.port), 5)


@pytest.mark.parametrize("kind", ["expired", "wrong name", "self-signed"])
@pytest.mark.parametrize("encryption", ["starttls", "ssl"])
def test_bad_certificates(encryption, kind):
    words = {"expired": "expired", "wrong name": "IP address mismatch", "self-signed": "self"}
    with (
        HostileServer(encryption, faults=[Fault("handshake", kind)]) as server,
        pytest.raises(ssl.SSLCertVerificationError, match=words[kind]),
        logged_in(server),
    ):
        pass


def test_refuses_some_recipients():
    replies = (("no@example.com", "550 5.1.1 Nobody"), ("later@example.com", "450 4.2.1 Later"))
    faults = [Fault("rcpt", "recipients", replies=replies)]
    with HostileServer("none", faults=faults) as server, logged_in(server) as client:
        to = ["no@example.com", "yes@example.com", "later@example.com"]
        refused = client.sendmail("a@example.com", to, b"Hi")
    assert {address: reply[0] for address, reply in refused.items()} == {
        "no@example.com": 550,
        "later@example.com": 450,
    }
    assert server.received[0].recipients == ["yes@example.com"]


def test_refuses_what_it_announced():
    faults = [Fault("mail", "parameters"), Fault("data", "refuse", "502 5.5.1 What is BDAT?")]
    with HostileServer("none", auth=False, faults=faults) as server, after_ehlo(server) as sock:
        sock.sendall(b"MAIL FROM:<a@example.com> SIZE=2\r\n")
        read(sock, b"555 5.5.4 No such parameter\r\n")
        sock.sendall(MAIL + RCPT + b"BDAT 2 LAST\r\nHi\r\n")
        read(sock, b"502 5.5.1 What is BDAT?\r\n500 5.5.2 What?\r\n")
    assert server.received == []


def test_reads_a_chunk_that_it_refuses():
    faults = [Fault("data", "refuse", "552 5.3.4 Too big", times=1)]
    with HostileServer("none", auth=False, faults=faults) as server, after_ehlo(server) as sock:
        for words in (b"552 5.3.4 Too big", b"250 2.0.0 Taken"):
            sock.sendall(MAIL + RCPT + b"BDAT 6 LAST\r\nQUIT\r\n")
            read(sock, words + b"\r\n")
    assert len(server.received) == 1


@pytest.mark.parametrize("phase", ["after", "idle"])
@pytest.mark.parametrize("then_close", [False, True])
def test_a_late_421(phase, then_close):
    fault = Fault(phase, "late421", then_close=then_close)
    with HostileServer("none", auth=False, faults=[fault]) as server, after_ehlo(server) as sock:
        sock.sendall(MAIL + RCPT + b"BDAT 2 LAST\r\nHi")
        read(sock, b"250 2.0.0 Taken\r\n421 4.3.2 Closing\r\n")
        sock.settimeout(0.1)
        assert how_it_ends(sock) == ("close" if then_close else "hang")
        assert len(server.received) == 1


def test_strikes_as_often_as_planned():
    fault = Fault("mail", "refuse", skip=1, times=2)
    with HostileServer("none", faults=[fault]) as server, logged_in(server) as client:
        codes = []
        for _ in range(4):
            codes.append(client.mail("a@example.com")[0])
            client.rset()
    assert codes == [250, 451, 451, 250]
    assert len(server.struck) == 2


def test_strikes_on_one_connection():
    fault = Fault("ehlo", "refuse", "550 No", on_connection=2)
    with HostileServer("none", faults=[fault]) as server:
        codes = []
        for _ in range(3):
            with smtplib.SMTP(server.host, server.port, timeout=5) as client:
                codes.append(client.ehlo()[0])
    assert codes == [250, 550, 250]


def test_answers_slowly():
    fault = Fault("banner", "slow", delay=0.002)
    started = time.monotonic()
    with HostileServer("none", faults=[fault]) as server, logged_in(server):
        assert time.monotonic() - started > 0.05


def test_says_more_than_asked_ahead_of_the_handshake():
    with (
        HostileServer(faults=[Fault("starttls", "injected")]) as server,
        after_ehlo(server) as sock,
    ):
        sock.sendall(b"STARTTLS\r\n")
        read(sock, b"220 2.0.0 Go ahead\r\n250 Injected\r\n")
