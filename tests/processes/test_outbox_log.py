"""The log beside the caller's transaction: it survives the rollback and holds nobody up."""

import time
from collections.abc import Iterator
from uuid import uuid4

import django
import pytest

from tests.processes.programs.console import set_for
from tests.processes.programs.log_console import LogConsole
from tests.processes.programs.outbox_site import site
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault, Faults
from tests.support.servers.postgres import PostgreSQL

LATER = "delivery log can't be written now"
ENTRIES = "wagtail_smtp_logentry"


@pytest.fixture
def subject() -> str:
    return uuid4().hex[:8]


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with HostileServer() as one:
        yield one


@pytest.fixture(scope="module")
def shared_database(postgresql: PostgreSQL) -> dict[str, str]:
    """The environment that selects this module's database."""
    return postgresql.create_database()


def another(database: dict[str, str]) -> LogConsole:
    return LogConsole(database, conf={"DELIVERY": "immediate"})


@pytest.fixture(scope="module")
def console(shared_database: dict[str, str], server: HostileServer) -> Iterator[LogConsole]:
    """On PostgreSQL, in a database of this module."""
    with another(shared_database) as one:
        one("migrate")
        one("make_sets", servers=[set_for(server)])  # type: ignore[arg-type]
        yield one


def states(console: LogConsole, subject: str) -> dict[str, str]:
    return {name: state for name, state, _ in console("states", prefix=subject)}


def until(console: LogConsole, subject: str, expected: dict[str, str]) -> None:
    """Wait for entries that are written later."""
    deadline = time.monotonic() + 20
    while states(console, subject) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    assert states(console, subject) == expected


@pytest.mark.postgres
@pytest.mark.parametrize(
    "statement",
    [
        "",
        "SELECT * FROM wagtail_smtp_settingsset FOR UPDATE",
        "SELECT * FROM wagtail_smtp_configurationversion FOR UPDATE",
        "LOCK TABLE wagtail_smtp_settingsset IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE auth_user IN ACCESS EXCLUSIVE MODE",
    ],
)
def test_an_entry_outlives_the_rollback(console: LogConsole, subject: str, statement: str) -> None:
    took, warnings = console("send_in_transaction", subject=subject, statement=statement)
    assert warnings == []
    assert took < 2
    assert states(console, subject) == {subject: "sent"}


@pytest.mark.postgres
def test_a_caller_that_locks_the_log_waits_for_itself_shortly(
    console: LogConsole, subject: str, server: HostileServer
) -> None:
    before = len(server.received)
    lock = f"LOCK TABLE {ENTRIES} IN ACCESS EXCLUSIVE MODE"
    took, [warning] = console("send_in_transaction", subject=subject, statement=lock)
    assert LATER in warning
    assert took < 8
    assert len(server.received) == before + 1
    until(console, subject, {subject: "sent"})


@pytest.mark.postgres
def test_no_more_connections(
    postgresql: PostgreSQL,
    shared_database: dict[str, str],
    console: LogConsole,
    subject: str,
    server: HostileServer,
) -> None:
    before, name = len(server.received), shared_database["PGDATABASE"]
    # The one that is there stays. A limit would not hold for a superuser.
    with another(shared_database) as other:
        other("send", subject=f"{subject}-first")
        postgresql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            _took, [warning] = other("send_in_transaction", subject=subject)
        finally:
            postgresql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert LATER in warning
        assert len(server.received) == before + 2
        until(other, subject, {f"{subject}-first": "sent", subject: "sent"})


@pytest.mark.postgres
def test_forks_threads_and_loops(console: LogConsole, subject: str) -> None:
    assert console("send_after_fork", subject=subject) == 0
    console("send_from_threads", subject=subject, count=8)
    assert console("send_on_loop", subject=f"{subject}-loop") == []
    expected = {f"{subject}-{name}" for name in ("before", "child", "after", "loop", *range(8))}
    assert states(console, subject) == dict.fromkeys(expected, "sent")


@pytest.mark.postgres
def test_its_connection_is_closed_when_idle(
    shared_database: dict[str, str], console: LogConsole
) -> None:
    with another(shared_database) as other:
        before, during, after = other("connections_when_idle", idle=0.5)
    assert (during, after) == (before + 1, before)


@pytest.fixture
def on_sqlite(tmp_path: object, server: HostileServer) -> Iterator[LogConsole]:
    path = f"{tmp_path}/database.sqlite3"
    database = {"WAGTAIL_SMTP_TEST_DATABASE": "", "WAGTAIL_SMTP_TEST_SQLITE": path}
    with LogConsole(database, conf={"DELIVERY": "immediate"}) as console:
        console("migrate")
        console("make_sets", servers=[set_for(server)])  # type: ignore[arg-type]
        yield console


def test_on_sqlite_it_rides_along(on_sqlite: LogConsole, subject: str) -> None:
    on_sqlite("send_in_transaction", subject=f"{subject}-2", rollback=False)
    assert on_sqlite("send_on_loop", subject=f"{subject}-3") == []
    expected = {f"{subject}-2": "sent", f"{subject}-3": "sent"}
    assert states(on_sqlite, subject) == expected
    # What a rollback undoes is written again.
    on_sqlite("send_in_transaction", subject=f"{subject}-1")
    until(on_sqlite, subject, expected | {f"{subject}-1": "sent"})


def test_on_sqlite_a_rolled_back_savepoint_loses_nothing(
    on_sqlite: LogConsole, subject: str
) -> None:
    on_sqlite("send_in_savepoint", subject=subject)
    until(on_sqlite, subject, {subject: "sent"})


def test_on_sqlite_a_broken_transaction_loses_nothing(on_sqlite: LogConsole, subject: str) -> None:
    [warning] = on_sqlite("send_in_broken_transaction", subject=subject)
    assert LATER in warning
    until(on_sqlite, subject, {subject: "sent"})


def test_on_sqlite_transactions_that_have_read(on_sqlite: LogConsole, subject: str) -> None:
    """They can't write while another does: "database is locked" at once, however patient."""
    on_sqlite("send_from_readers", subject=subject, thread_count=4, each=10)
    expected = {f"{subject}-{thread}-{number}" for thread in range(4) for number in range(10)}
    until(on_sqlite, subject, dict.fromkeys(expected, "sent"))


def test_on_sqlite_the_process_ends(on_sqlite: LogConsole, subject: str) -> None:
    """What was rolled back right before is written first."""
    on_sqlite("send_and_exit", subject=subject)
    until(on_sqlite, subject, {subject: "sent"})


def test_immediate_delivery_hands_over_what_is_deferred(database: dict[str, str]) -> None:
    with site(database, conf={"DELIVERY": "immediate", "RETRY_DEFERRED": True}) as made:
        # What a session that was used before refuses is tried once more on a fresh one.
        made.server.plan = Faults((Fault("rcpt", "refuse", "450 4.2.1 Later", times=3),))
        made.queue(4, atomic=False)
        left = [tuple(row) for row in made.console("rows", prefix=made.prefix)]
        assert sorted(left) == [(f"{made.prefix}-{n}", "waiting", 1) for n in (0, 1)]
        made.finish()
        assert made.account() == {"sent": 4}


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
def test_one_mailer_queues(database: dict[str, str]) -> None:
    backend = "wagtail_smtp.backend.EmailBackend"
    mailers = {
        "default": {"BACKEND": backend},
        "later": {"BACKEND": backend, "OPTIONS": {"delivery": "queued"}},
    }
    with site(database, conf={"DELIVERY": "immediate"}, mailers=mailers) as made:
        made.queue(2, using="default")
        assert len(made.arrived) == 2
        made.queue(3, using="later")
        assert len(made.arrived) == 2
        made.finish()
        assert made.account() == {"sent": 5}
