"""A condition that several processes find at the same time is reported once."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.processes.programs.conditions_console import ConditionsConsole
from tests.processes.programs.console import set_for, subjects
from tests.support.servers.smtp_server import SMTPServer

pytestmark = pytest.mark.same_on_all_versions


@pytest.mark.parametrize("how", ["look", "look_again"])
def test_three_processes_look_at_once(database, how):
    with SMTPServer() as server, ExitStack() as stack:
        consoles = [
            stack.enter_context(ConditionsConsole(database, ADMINS=["admin@example.com"]))
            for _ in range(3)
        ]
        consoles[0]("migrate")
        consoles[0]("make_sets", servers=[set_for(server)])
        consoles[0]("neglect_the_outbox")
        for console in consoles:
            console("settle")  # warm
        at = time.time() + 0.5
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda console: console(how, at=at), consoles))
        found = [console("settle") for console in consoles][-1]
        consoles[-1](how)
        assert consoles[-1]("settle") == found
    assert found == [["waiting", "done", {"email": "sent"}]]
    assert subjects(server) == ["[Django] Email problem: The outbox is not being processed"]


def test_the_first_message_of_a_process_stores_the_certificate(database):
    with SMTPServer() as server, ConditionsConsole(database) as console:
        console("migrate")
        console("make_sets", servers=[set_for(server)])
        assert console("certificates_after_a_message") == [f"127.0.0.1:{server.port}"]
