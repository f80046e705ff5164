"""Sessions are kept, shared fairly, and given up in time."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.transports.conftest import send
from wagtail_smtp.exceptions import MessageDeferred, MessageRefused
from wagtail_smtp.transports.smtp.session import SMTPSession


@pytest.fixture
def server():
    with HostileServer() as server:
        yield server


def _wait_until(is_true, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def _at_once(count, target):
    """Run ``target`` in ``count`` threads that start together; the errors."""
    errors = []
    start = threading.Barrier(count)

    def run(number):
        start.wait()
        try:
            target(number)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return errors


def test_one_session_for_many_messages(server, transport_to):
    transport = transport_to(server)
    for _ in range(5):
        send(transport)
    assert (server.connections, len(server.logins), len(server.received)) == (1, 1, 5)


def test_a_message_is_one_write_on_a_session_just_used(server, transport_to):
    transport = transport_to(server)
    for _ in range(3):
        send(transport)
    assert server.writes == [4, 1, 1]


def test_an_older_session_asks_before_the_message_leaves(server, transport_to, configure):
    configure(SESSION_CHECK_AFTER=0.05)
    transport = transport_to(server)
    send(transport)
    time.sleep(0.1)
    send(transport)
    assert server.writes == [4, 2]
    assert "RSET" in server.transcript
    assert len(server.received) == 2


def test_no_more_sessions_than_the_limit(server, transport_to, configure):
    configure(MAX_SESSIONS=3)
    transport = transport_to(server)
    assert _at_once(24, lambda number: send(transport)) == []
    assert len(server.received) == 24
    assert server.connections <= 3


def test_first_come_first_served(transport_to, configure):
    configure(MAX_SESSIONS=1)
    with HostileServer(faults=[Fault("end", "slow", delay=0.02, taken=True)]) as server:
        transport = transport_to(server)
        threads = []
        for number in range(8):
            thread = threading.Thread(
                target=send, args=(transport,), kwargs={"subject": str(number)}
            )
            thread.start()
            threads.append(thread)
            # Each is known to wait before the next one comes.
            _wait_until(lambda number=number: len(transport.pool.waiting) >= number)
        for thread in threads:
            thread.join(10)
        order = [received.message["Subject"] for received in server.received]
    assert order == [str(number) for number in range(8)]


def test_a_wait_has_an_end(transport_to, configure):
    configure(MAX_SESSIONS=1, SESSION_WAIT=0.2)
    with HostileServer(faults=[Fault("end", "hang", times=1)]) as server:
        transport = transport_to(server)
        busy = threading.Thread(target=_ignoring_errors(send), args=(transport,))
        busy.start()
        _wait_until(lambda: server.struck)
        with pytest.raises(MessageDeferred) as caught:
            send(transport)
        server.stop()
        busy.join(10)
    assert caught.value.phase == "pool"


def _ignoring_errors(call):
    def run(*args):
        with contextlib.suppress(OSError):
            call(*args)

    return run


@pytest.mark.parametrize("is_late", [False, True], ids=["before its turn", "just after"])
def test_an_interrupted_wait_takes_no_session_along(
    server, transport_to, configure, monkeypatch, is_late
):
    configure(MAX_SESSIONS=1, SESSION_WAIT=2)
    transport = transport_to(server)
    with contextlib.ExitStack() as lease, monkeypatch.context() as patch:
        lease.enter_context(transport.pool.lease())

        def wait(self, timeout=None):
            if is_late:
                lease.close()
            raise KeyboardInterrupt

        patch.setattr(threading.Event, "wait", wait)
        with pytest.raises(KeyboardInterrupt):
            send(transport)
    send(transport)
    assert len(server.received) == 1


def test_an_interrupted_look_at_a_session_leaves_its_place(
    server, transport_to, configure, monkeypatch
):
    configure(MAX_SESSIONS=1, SESSION_WAIT=2)
    transport = transport_to(server)
    send(transport)

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SMTPSession, "is_usable", interrupted)
        with pytest.raises(KeyboardInterrupt):
            send(transport)
    send(transport)
    assert len(server.received) == 2


def test_an_idle_session_is_closed_though_nothing_is_sent(server, transport_to, configure):
    configure(SESSION_MAX_IDLE=0.2)
    transport = transport_to(server)
    send(transport)
    _wait_until(lambda: "QUIT" in server.transcript)
    send(transport)
    assert server.connections == 2


def test_the_oldest_of_idle_sessions_end_first(server, transport_to, configure):
    configure(SESSION_MAX_IDLE=0.3)
    transport = transport_to(server)
    assert _at_once(4, lambda number: send(transport)) == []
    opened = server.connections
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline:
        send(transport)  # always the same session, so the others grow old
        time.sleep(0.02)
    assert server.connections == opened
    assert transport.pool.size == 1


@pytest.mark.parametrize("limit", [{"SESSION_MAX_MESSAGES": 2}, {"SESSION_MAX_AGE": 0.001}])
def test_a_worn_session_is_not_used_again(server, transport_to, configure, limit):
    configure(**limit)
    transport = transport_to(server)
    for _ in range(4):
        send(transport)
        time.sleep(0.002)
    assert server.connections == (2 if "SESSION_MAX_MESSAGES" in limit else 4)
    assert len(server.received) == 4


def test_closing_ends_sessions_at_once_and_leased_ones_when_they_come_back(transport_to):
    with HostileServer(faults=[Fault("end", "slow", delay=0.02, taken=True, skip=1)]) as server:
        transport = transport_to(server)
        send(transport)
        thread = threading.Thread(target=send, args=(transport,))
        thread.start()
        _wait_until(lambda: server.struck)
        transport.close()
        thread.join(10)
        assert len(server.received) == 2
        _wait_until(lambda: "QUIT" in server.transcript)
        assert transport.pool.size == 0


@pytest.mark.threat(25)
@pytest.mark.parametrize("reply", ["250 2.0.0 OK", "421 4.3.2 Closing"])
def test_a_reply_too_many_is_not_taken_for_that_of_the_next_message(transport_to, reply):
    faults = [
        Fault("after", "late421", reply, skip=2, times=1),
        Fault("end", "refuse", "554 5.7.1 Never", skip=3, times=1),
    ]
    with HostileServer(faults=faults) as server:
        transport = transport_to(server)
        for _ in range(3):
            send(transport)
        assert server.writes == [4, 1, 1]  # the replies come together from now on
        with pytest.raises(MessageRefused):
            send(transport)
        assert (server.connections, len(server.received)) == (2, 3)


@pytest.mark.parametrize("kind", ["close", "reset", "late421"])
def test_a_session_that_ended_while_idle_costs_no_message(transport_to, kind):
    with HostileServer(faults=[Fault("idle", kind, delay=0.05, then_close=True)]) as server:
        transport = transport_to(server)
        for _ in range(4):  # the first session has more to do than to idle
            send(transport)
            time.sleep(0.12)
        assert len(server.received) == 4
        assert server.connections == 3


def test_too_many_connections_shrink_the_pool(transport_to, configure):
    configure(MAX_SESSIONS=4)
    refusals = [
        Fault("banner", "refuse", "421 4.7.0 Too many connections", on_connection=number)
        for number in range(2, 20)
    ]
    with HostileServer(faults=refusals) as server:
        transport = transport_to(server)
        send(transport)
        assert _at_once(8, lambda number: send(transport)) == []
        assert len(server.received) == 9


@pytest.mark.parametrize("reply", ["432 4.3.2 Too many threads", "454 4.7.0 Too many logins"])
def test_a_limit_counts_as_a_failure_if_no_other_session_is_left(transport_to, reply):
    with (
        HostileServer(faults=[Fault("auth", "refuse", reply)]) as server,
        pytest.raises(MessageDeferred) as caught,
    ):
        send(transport_to(server))
    assert caught.value.phase == "auth"


def test_a_forked_child_opens_sessions_of_its_own(server, transport_to):
    transport = transport_to(server)
    send(transport)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            send(transport, subject="child")
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    # The parent's session is as it was: the child said nothing on it.
    send(transport, subject="parent")
    assert server.connections == 2
    assert len(server.received) == 3


def test_sessions_are_closed_when_the_process_ends(server):
    program = (
        "import django, sys; from django.conf import settings; settings.configure(); "
        "django.setup(); from tests.transports.conftest import send; "
        "from wagtail_smtp.config.values import TransportConfig; "
        "from wagtail_smtp.transports.smtp.transport import SMTPTransport; "
        "send(SMTPTransport(TransportConfig('set', '127.0.0.1', int(sys.argv[1]), "
        "encryption='none')))"
    )
    with HostileServer(encryption="none", auth=False) as plain:
        allowed = program.replace(
            "settings.configure()",
            "settings.configure(WAGTAIL_SMTP={'ALLOWED_NETWORKS': ['127.0.0.0/8']})",
        )
        run = [sys.executable, "-W", "error", "-c", allowed, str(plain.port)]
        subprocess.run(run, check=True, timeout=30)
        _wait_until(lambda: "QUIT" in plain.transcript)
        assert len(plain.received) == 1


def test_many_threads_and_messages_each_once(server, transport_to, configure):
    configure(MAX_SESSIONS=4, SESSION_MAX_MESSAGES=7)
    transport = transport_to(server)

    def work(number):
        for turn in range(10):
            send(transport, subject=f"{number}-{turn}")

    assert _at_once(8, work) == []
    subjects = [received.message["Subject"] for received in server.received]
    assert sorted(subjects) == sorted(f"{n}-{t}" for n in range(8) for t in range(10))
