"""How much memory a message with a large attachment takes at its peak."""

from collections.abc import Iterator

import pytest

from tests.processes.programs.console import set_for
from tests.processes.programs.memory_console import MemoryConsole
from tests.support.servers.hostile import HostileServer

#: Bytes of the attachment, and how many times its size a process may grow: it is a third larger in
#: the message, and larger still in the database.
SIZE = 40 * 1024 * 1024
AT_ONCE, QUEUED = 3, 4


@pytest.fixture(
    params=[("PIPELINING", "CHUNKING", "8BITMIME", "SIZE"), ("PIPELINING",)], ids=["BDAT", "DATA"]
)
def server(request: pytest.FixtureRequest) -> Iterator[HostileServer]:
    with HostileServer(extensions=request.param) as one:
        yield one


def _queue_or_send(console: MemoryConsole, server: HostileServer) -> float:
    """By how many times the attachment's size the process grew."""
    console("migrate")
    console("make_sets", servers=[set_for(server)])  # type: ignore[arg-type]
    return float(console("send", size=SIZE)) / SIZE


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("stored", ["none", "all"])
def test_sent_immediately(database: dict[str, str], server: HostileServer, stored: str) -> None:
    with MemoryConsole(database, DELIVERY="immediate", STORE_MESSAGES=stored) as console:
        assert _queue_or_send(console, server) < AT_ONCE
    assert len(server.received[-1].content) > SIZE


@pytest.mark.parametrize("server", [("PIPELINING", "CHUNKING")], indirect=True)
def test_queued(database: dict[str, str], server: HostileServer) -> None:
    with MemoryConsole(database, STORE_MESSAGES="all") as console:
        assert _queue_or_send(console, server) < QUEUED
    # In another process, which has not been that large before.
    with MemoryConsole(database, STORE_MESSAGES="all") as console:
        assert console("drain") / SIZE < QUEUED
    assert len(server.received[-1].content) > SIZE
