"""Fast sending is earned: no message is risked on what a server only announces."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.servers.dialects import DIALECTS, PRODUCTS
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.transports.conftest import send
from wagtail_smtp.exceptions import MessageDeferred, MessageOutcomeUnknown, MessageRefused
from wagtail_smtp.transports.smtp import fast_sending

SLOW, GROUPS, ONE = 4, 2, 1


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    monkeypatch.setattr(fast_sending, "PROBE_WAIT", 20)


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), *PRODUCTS.values()])
def test_it_is_earned_by_the_first_message(transport_to, dialect):
    with HostileServer(dialect=dialect) as server:
        transport = transport_to(server)
        for _ in range(3):
            send(transport)
        assert server.writes == [SLOW, ONE, ONE]
        assert server.connections == 1
        assert server.violations == []


@pytest.mark.parametrize(
    ("answer", "writes"),
    [
        *((Fault("probe", "refuse", f"{code} 5.5.1 What?"), GROUPS) for code in (250, 500, 502)),
        *((Fault("probe", "refuse", f"{code} 5.5.1 No"), GROUPS) for code in (501, 550, 554)),
        *((Fault("probe", kind), GROUPS) for kind in ("close", "reset", "garbage", "endless")),
        # The second try is without BDAT.
        (Fault("reset", "refuse", "421 4.7.0 Closing"), SLOW),
        (Fault("reset", "close"), SLOW),
        (Fault("reset", "refuse", "502 5.5.1 What?"), SLOW),
    ],
)
def test_a_server_that_fails_the_probe_gets_each_message_the_plain_way(
    transport_to, answer, writes
):
    with HostileServer(faults=[answer]) as server:
        transport = transport_to(server)
        for _ in range(6):
            send(transport)
        assert len(server.received) == 6
        assert server.writes[0] == SLOW
        assert min(server.writes) == writes
        # Asked a few times, and then no more.
        assert server.connections <= 5


@pytest.mark.parametrize("phase", ["probe", "reset"])
def test_a_server_that_is_silent_is_waited_for_once(transport_to, monkeypatch, phase):
    monkeypatch.setattr(fast_sending, "PROBE_WAIT", 1)
    with HostileServer(faults=[Fault(phase, "hang")]) as server:
        transport = transport_to(server)
        for _ in range(4):
            send(transport)
        began = time.monotonic()
        send(transport)
        assert time.monotonic() - began < fast_sending.PROBE_WAIT
        assert len(server.received) == 5


def test_the_first_message_waits_for_no_probe(transport_to):
    with HostileServer(faults=[Fault("probe", "hang")]) as server:
        began = time.monotonic()
        send(transport_to(server))
        assert time.monotonic() - began < 10


def test_what_was_seen_on_a_session_that_is_closed_counts(transport_to, configure):
    """Sites that send seldom have no session left when the next message comes."""
    with HostileServer() as server:
        transport = transport_to(server)
        send(transport)
        deadline = time.monotonic() + 5
        while server.transcript[-1] != "NOOP" and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # its reply is on the way
        configure(SESSION_MAX_IDLE=1e-9)
        send(transport)
        assert server.connections == 2
        assert server.writes == [SLOW, ONE]


@pytest.mark.threat(28)
def test_a_message_refused_for_its_recipients_is_never_run_as_commands(transport_to):
    """A server that refuses BDAT without reading its chunk (go-smtp 315) fails the probe."""
    nobody = (("bad@example.com", "550 5.1.1 Nobody"),)
    faults = [
        Fault("probe", "refuse", "502 5.5.1 RCPT first"),
        Fault("rcpt", "recipients", replies=nobody),
    ]
    with HostileServer(faults=faults) as server:
        transport = transport_to(server)
        for _ in range(2):
            send(transport)
        with pytest.raises(MessageRefused):
            send(transport, "bad@example.com")
        assert "Body" not in server.transcript
        assert _bodies(server) == []


def _bodies(server):
    """Messages sent by BDAT; the probe's chunk has 5 bytes."""
    return [line for line in server.transcript if line.startswith("BDAT") and line != "BDAT 5 LAST"]


def test_an_unanswered_bdat_is_the_last(transport_to):
    """Only the message that it happened to is unknown."""
    with HostileServer(faults=[Fault("end", "hang", skip=1, times=1)]) as server:
        transport = transport_to(server)
        send(transport)
        with pytest.raises(MessageOutcomeUnknown):
            send(transport, reply_timeout=0.3)
        send(transport)
        assert server.writes[-1] == SLOW
        assert len(_bodies(server)) == 1


def test_a_group_that_is_answered_in_part_is_the_last(transport_to):
    """Nothing was handed over, so the message is sent one command at a time."""
    faults = [Fault("rcpt", "hang", skip=1, times=1)]
    with HostileServer(extensions=("PIPELINING",), faults=faults) as server:
        transport = transport_to(server, timeout=0.5)
        for _ in range(3):
            send(transport)
        assert server.writes == [SLOW, SLOW, SLOW]
        assert len(server.received) == 3


def test_a_session_that_died_is_not_blamed_on_pipelining(transport_to):
    faults = [Fault("mail", "close", skip=2, times=1)]
    with HostileServer(extensions=("PIPELINING",), faults=faults) as server:
        transport = transport_to(server)
        for _ in range(4):
            send(transport)
        assert server.writes == [SLOW, GROUPS, GROUPS, GROUPS]


@pytest.mark.parametrize(
    ("ignored", "writes"),
    [(("CHUNKING",), GROUPS), (("PIPELINING",), SLOW), (("PIPELINING", "CHUNKING"), SLOW)],
)
def test_ignored_extensions_are_not_used(transport_to, ignored, writes):
    with HostileServer() as server:
        transport = transport_to(server, ignored_extensions=ignored)
        for _ in range(3):
            send(transport)
        assert server.writes == [SLOW, writes, writes]
        assert not any(line.startswith("BDAT") for line in server.transcript)


def test_ignored_parameters_are_not_used(transport_to):
    with HostileServer(extensions=("SIZE 10", "8BITMIME")) as server:
        send(transport_to(server, ignored_extensions=("SIZE", "8BITMIME")))
        [mail] = [line for line in server.transcript if line.startswith("MAIL")]
        assert mail == "MAIL FROM:<from@example.com>"


# A session's state is not the message's fate


@pytest.mark.parametrize(
    "reply",
    [
        "451 4.4.2 Timeout waiting for data from client",
        "452 4.5.3 Too many messages in this session",
        "530 5.7.0 Authentication required",
        "550 5.7.0 Too many messages in this connection",
        "552 5.3.4 Too much in this session",
    ],
)
@pytest.mark.parametrize("extensions", [("8BITMIME",), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
@pytest.mark.parametrize("phase", ["mail", "rcpt"])
def test_what_a_used_session_refuses_a_new_one_may_take(transport_to, reply, extensions, phase):
    fault = Fault(phase, "refuse", reply, skip=3, on_connection=1)
    with HostileServer(extensions=extensions, faults=[fault]) as server:
        transport = transport_to(server)
        for _ in range(6):
            send(transport)
        assert len(server.received) == 6
        assert len(server.struck) == 1
        assert server.connections == 2


@pytest.mark.parametrize("phase", ["mail", "rcpt"])
def test_a_used_session_that_refuses_is_closed(transport_to, phase):
    """It isn't kept for later messages, which it would refuse too."""
    fault = Fault(phase, "refuse", "452 4.5.3 Too many in this session", skip=1, on_connection=1)
    with HostileServer(extensions=("8BITMIME",), faults=[fault]) as server:
        transport = transport_to(server)
        for _ in range(2):
            send(transport)
        assert len(server.received) == server.connections == 2
        deadline = time.monotonic() + 5
        while "QUIT" not in server.transcript and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.transcript.count("QUIT") == 1


@pytest.mark.parametrize("reply", ["421 4.4.2 Idle", "451 4.3.0 Not now", "502 5.5.1 What?"])
@pytest.mark.parametrize("extensions", [("8BITMIME",), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
def test_a_session_that_refuses_rset_is_dropped(transport_to, configure, reply, extensions):
    configure(SESSION_CHECK_AFTER=1e-9)
    # Each message resets, and the probe does twice.
    skip = 3 if "PIPELINING" in extensions else 1
    with HostileServer(
        extensions=extensions, faults=[Fault("reset", "refuse", reply, skip=skip, on_connection=1)]
    ) as server:
        transport = transport_to(server)
        for _ in range(3):
            send(transport)
        assert len(server.received) == 3
        assert server.connections == 2
        assert len(server.struck) == 1


@pytest.mark.parametrize("phase", ["mail", "rcpt"])
def test_a_new_session_is_asked_once(transport_to, phase):
    with HostileServer(faults=[Fault(phase, "refuse", "550 5.7.1 Not yours", skip=1)]) as server:
        transport = transport_to(server)
        send(transport)
        with pytest.raises((MessageDeferred, MessageRefused)):
            send(transport)
        assert len(server.struck) == 2
        assert len(server.received) == 1


def test_a_session_that_refused_the_sender_gets_no_other_message(transport_to):
    with HostileServer(faults=[Fault("mail", "refuse", "550 5.7.1 No", times=1)]) as server:
        transport = transport_to(server)
        with pytest.raises(MessageDeferred):
            send(transport)
        send(transport)
        assert server.connections == 2


def test_other_sessions_stay_when_one_refuses(transport_to):
    """A recipient that is refused costs one session, not all."""
    nobody = (("no@example.com", "550 5.1.1 Nobody"),)
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=nobody)]) as server:
        transport = transport_to(server)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: send(transport), range(40)))
        before = server.connections
        with pytest.raises(MessageRefused):
            send(transport, "no@example.com")
        assert server.connections == before + 1
