"""Two running sites: staging has a real copy of production's database, and sends nothing."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import pytest

from tests.processes.conftest import Environment
from tests.processes.programs.console import set_for
from tests.processes.programs.copy_console import SiteConsole
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.postgres import PostgreSQL
from tests.support.servers.smtp_server import Received
from wagtail_smtp.conf import ENVIRONMENT_VARIABLE

pytestmark = pytest.mark.same_on_all_versions

QA = "qa@example.com"
QUEUED = [f"production-queued-{number}" for number in range(5)]
#: In production's outbox when its database is copied.
WAITING = ["production-deferred", *QUEUED, "production-security"]
#: Who gets alerts, in each environment.
ADMINS: dict[str, list[Any]] = {"production": ["admin@example.com"], "staging": ["me@example.com"]}
if django.VERSION < (6, 0):
    ADMINS = {name: [["Admin", admins[0]]] for name, admins in ADMINS.items()}
#: Categories that fail at once in a copy, and those that wait for the reload.
FAILING = ("security", "notification", "error", "alert", "test", "other")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Environment, Any]:
    """A new database, and a function that copies it as it is then, while it is used."""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        original = server.create_database()
        return original, lambda: server.copy_database(original)
    path = tmp_path / "database.sqlite3"
    original = {"WAGTAIL_SMTP_TEST_DATABASE": "", "WAGTAIL_SMTP_TEST_SQLITE": str(path)}

    def copy() -> Environment:
        connection = sqlite3.connect(path)
        connection.execute("VACUUM INTO ?", [str(tmp_path / "copy.sqlite3")])
        connection.close()
        return original | {"WAGTAIL_SMTP_TEST_SQLITE": str(tmp_path / "copy.sqlite3")}

    return original, copy


@dataclass
class Sites:
    """Production and staging, and the mail servers that production uses."""

    production: SiteConsole
    staging: SiteConsole
    servers: tuple[HostileServer, ...]

    @property
    def received(self) -> list[Received]:
        return [received for server in self.servers for received in server.received]

    @property
    def arrived(self) -> Counter[str]:
        """How often each subject arrived, without production's own alerts."""
        return Counter(
            str(received.message["Subject"])
            for received in self.received
            if received.recipients != ["admin@example.com"]
        )


@pytest.fixture
def sites(databases: tuple[Environment, Any]) -> Iterator[Sites]:
    database, copy = databases
    with ExitStack() as stack:
        # It defers the first two messages. Alerts about them avoid it.
        later = Fault("end", "refuse", "451 4.3.0 Later", times=2)
        office = stack.enter_context(HostileServer(faults=[later]))
        own = stack.enter_context(HostileServer(encryption="none", auth=False))
        standard = {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": own.port},
        }
        conf = {"STANDARD": standard, "DELIVERY": "immediate", "ALERT_INTERVAL": 0.001}

        def site(environment: str, selected: Environment) -> SiteConsole:
            named = selected | {ENVIRONMENT_VARIABLE: environment}
            settings = {"ADMINS": ADMINS[environment]}
            return stack.enter_context(SiteConsole(named, conf=conf, settings=settings))  # type: ignore[return-value]

        production = site("production", database)
        production("migrate")
        production("make_sets", servers=[set_for(office)])  # type: ignore[arg-type]
        assert production("send", subject="production-failed") == "MessageDeferred"
        production("send", subject="production-deferred", delivery="queued")
        assert production("drain")[0] == 1
        for subject in QUEUED:
            production("send", subject=subject, delivery="queued")
        production("send", subject="production-security", category="security", delivery="queued")
        assert sorted(row[0] for row in production("rows", prefix="production")) == sorted(WAITING)
        yield Sites(production, site("staging", copy()), (office, own))


def test_a_copy_sends_nothing_while_production_goes_on(sites: Sites) -> None:
    before = sites.arrived
    worker = sites.staging("fork_worker")
    outcomes = sites.staging("send_in_every_way", prefix="staging")
    sites.staging("age", seconds=7200)
    time.sleep(1)  # the worker looks into the outbox every 50 ms
    assert sites.arrived == before
    assert sites.staging("held") == sorted(WAITING)
    assert outcomes == {
        **dict.fromkeys(FAILING, "EnvironmentMismatch"),
        "form": "",
        "queued": "",
        "admins": "EnvironmentMismatch",
        "alert of a failure": "None",
        "alert of waiting": "None",
        "test email": "These",
        "test of a set": "EnvironmentMismatch",
        "resend": "EnvironmentMismatch",
        "resend of several": "None",
        "resend by command": "CommandError",
        "try now": str([False] * len(WAITING)),
        "worker": outcomes["worker"],
        "worker by command": "None",
    }
    assert outcomes["worker"].startswith("(0, ")

    # Production sends what it had queued, and new messages.
    assert sites.production("send", subject="production-new") == ""
    sites.production("age", seconds=7200)
    own_worker = sites.production("fork_worker")
    assert sites.production("until_empty", prefix="production", timeout=20) == []
    sent = before + Counter([*WAITING, "production-new"])
    assert sites.arrived == sent

    # A redirect and a reload in staging: the report address gets its email, nobody else does.
    assert sites.staging("reload_redirected", address=QA) == [2, "staging"]
    assert sites.staging("send", subject="staging-after") == ""
    sites.staging("age", seconds=7200)
    own = ["staging-queued", "staging-form"]
    for subject in own:
        assert sites.staging("until_empty", prefix=subject, timeout=20) == []
    expected = sent + Counter(f"[Redirected] {subject}" for subject in ["staging-after", *own])
    assert sites.arrived == expected

    # What came with the copy is held until someone decides.
    assert sites.staging("held") == sorted(WAITING)
    assert sites.staging("release", subject=QUEUED[0])
    assert not sites.staging("release", subject="production-security")
    assert sites.staging("until_empty", prefix=QUEUED[0], timeout=20) == []
    assert sites.staging("delete_held") == len(WAITING) - 1
    time.sleep(0.5)
    assert sites.arrived == expected + Counter([f"[Redirected] {QUEUED[0]}"])
    for received in sites.received:
        is_redirected = str(received.message["Subject"]).startswith("[Redirected]")
        assert is_redirected == (received.recipients == [QA])

    assert sites.production("send", subject="production-last") == ""
    assert sites.arrived["production-last"] == 1
    assert sites.staging("end", pid=worker) == 0
    assert sites.production("end", pid=own_worker) == 0
