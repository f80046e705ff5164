"""Alerts of several processes: each channel is told once, whatever happens to the processes.

There is no shared cache.
"""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.processes.programs.alert_console import AlertConsole
from tests.processes.programs.console import set_for
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.receiver import Receiver
from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.alerts.kinds import NOT_BY_EMAIL

pytestmark = pytest.mark.same_on_all_versions


@pytest.fixture
def receivers():
    with Receiver() as first, Receiver() as second:
        yield first, second


@pytest.fixture
def failing():
    """A server that every message fails at."""
    with HostileServer(faults=[Fault("connect", "close")]) as server:
        yield server


def urls(receivers):
    return [each.apprise_url for each in receivers]


def test_four_processes_fail_at_the_same_time(database, receivers, failing):
    with ExitStack() as stack:
        consoles = [
            stack.enter_context(AlertConsole(database, ALERTS=urls(receivers))) for _ in range(4)
        ]
        consoles[0]("migrate")
        consoles[0]("make_sets", servers=[set_for(failing)])
        for console in consoles:
            console("settle")  # warm
        for each in receivers:
            each.received.clear()  # that settings were made live
        at = time.time() + 0.5
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda console: console("fail", at=at), consoles))
        found = [console("settle") for console in consoles][-1]
    assert [kind for kind, _state, _outcomes in found] == ["live", "failing"]
    assert found[-1][1:] == ["done", {"custom_json": "sent", "custom_json-2": "sent"}]
    assert [len(each.received) for each in receivers] == [1, 1]


def test_each_kind_once_while_many_are_raised(database, receivers):
    chosen = {"ALERTS": urls(receivers), "ADMINS": ["admin@example.com"]}
    with ExitStack() as stack:
        server = stack.enter_context(HostileServer())
        consoles = [stack.enter_context(AlertConsole(database, **chosen)) for _ in range(3)]
        consoles[0]("migrate")
        consoles[0]("make_sets", servers=[set_for(server)])
        consoles[0]("settle")
        for each in receivers:
            each.received.clear()  # that settings were made live
        kinds = list(AlertKind)

        def raise_all(console):
            for kind in kinds:
                console("report", cause=kind, kind=kind, times=20)
            console("settle")

        with ThreadPoolExecutor() as pool:
            list(pool.map(raise_all, consoles))
    for each in receivers:
        titles = [title.rpartition(" ")[2] for title in each.titles]
        assert Counter(titles) == Counter(map(str, kinds))
    subjects = [str(each.message["Subject"]).split()[-1] for each in server.received]
    assert Counter(subjects) == Counter(str(kind) for kind in kinds if kind not in NOT_BY_EMAIL)


@pytest.mark.parametrize("at", ["first", "second"])
def test_a_killed_process_tells_no_channel_twice(database, receivers, at):
    """It dies while a channel has the alert and hasn't answered."""
    hanging = receivers[0 if at == "first" else 1]
    hanging.delay = 60
    with (
        AlertConsole(database, ALERTS=urls(receivers)) as dying,
        AlertConsole(database, ALERTS=urls(receivers)) as other,
    ):
        other("migrate")
        dying("report", cause="one")
        assert hanging.begun.wait(20)
        os.kill(dying.pid, signal.SIGKILL)
        dying.wait()
        other("take_over")
        assert [state for _kind, state, _outcomes in other("settle")] == ["open"]  # it may live
        other("lapse")
        other("take_over")
        [(_kind, state, outcomes)] = other("settle")
    assert [len(each.received) for each in receivers] == [1, 1]
    assert state == "done"
    first, second = ("unknown", "sent") if at == "first" else ("sent", "unknown")
    assert outcomes == {"custom_json": first, "custom_json-2": second}


def test_the_next_alert_takes_over_what_a_killed_process_left(database, receivers):
    receivers[0].delay = 60
    with (
        AlertConsole(database, ALERTS=urls(receivers)) as dying,
        AlertConsole(database, ALERTS=urls(receivers)) as other,
    ):
        other("migrate")
        dying("report", cause="one")
        assert receivers[0].begun.wait(20)
        os.kill(dying.pid, signal.SIGKILL)
        dying.wait()
        receivers[0].delay = 0
        other("lapse")
        other("report", cause="two")
        found = other("settle")
    assert [state for _kind, state, _outcomes in found] == ["done", "done"]
    assert [title[-3:] for title in receivers[0].titles] == ["one", "two"]
    assert sorted(title[-3:] for title in receivers[1].titles) == ["one", "two"]


def test_a_process_that_ends_delivers_first(database, receivers):
    with AlertConsole(database, ALERTS=urls(receivers)) as console:
        console("migrate")
        console("report", cause="one")
        console.hang_up()
        assert console.wait() == 0
    assert [len(each.received) for each in receivers] == [1, 1]


def test_a_hanging_channel_delays_no_message(database, receivers, failing):
    receivers[0].delay = 60
    with AlertConsole(database, ALERTS=urls(receivers)) as console:
        console("migrate")
        receivers[0].delay = 0
        console("make_sets", servers=[set_for(failing)])
        console("settle")
        receivers[0].delay = 60
        assert console("fail") < 2
        assert receivers[0].begun.wait(20)
        assert console("fail") < 2


@pytest.mark.parametrize("roll_back", [True, False])
def test_in_a_transaction(database, receivers, failing, roll_back):
    with AlertConsole(database, ALERTS=urls(receivers)) as console:
        console("migrate")
        console("make_sets", servers=[set_for(failing)])
        console("settle")
        console("fail_in_transaction", roll_back=roll_back, seconds=1)
        found = console("settle")
    assert [kind for kind, _state, _outcomes in found] == ["live", "failing"]
    assert [len(each.received) for each in receivers] == [2, 2]


def test_forked_processes(database, receivers):
    with AlertConsole(database, ALERTS=urls(receivers)) as console:
        console("migrate")
        assert console("fork") == 0
    assert [title.rpartition(" ")[2] for title in receivers[0].titles] == ["parent", "child"]


def test_the_thread_ends_when_nothing_waits(database, receivers):
    with AlertConsole(database, ALERTS=urls(receivers)) as console:
        console("migrate")
        assert "wagtail_smtp alerts" in console("report", cause="one")
        console("settle")
        assert "wagtail_smtp alerts" not in console("report", cause="one")


def test_without_threads_the_next_alert_sends_both(database, receivers):
    with AlertConsole(database, ALERTS=urls(receivers)) as console:
        console("migrate")
        assert "no thread" in console("report_without_threads", cause="one")
        console("report", cause="two")
        console("settle")
    assert [title[-3:] for title in receivers[0].titles] == ["one", "two"]


def test_email_is_one_of_the_channels(database, receivers, failing):
    with (
        HostileServer() as backup,
        AlertConsole(database, ALERTS=urls(receivers), ADMINS=["admin@example.com"]) as console,
    ):
        console("migrate")
        console("make_sets", servers=[set_for(failing), set_for(backup) | {"backup": True}])
        console("fail")
        found = console("settle")
    kinds = [kind for kind, _state, _outcomes in found]
    assert kinds == ["live", "failover"]
    assert found[-1][2] == {"email": "sent", "custom_json": "sent", "custom_json-2": "sent"}
    recipients = [each.message["To"] for each in backup.received]
    assert sorted(recipients) == ["admin@example.com", "someone@example.org"]
    assert failing.connections == 1
