"""Fixtures: real SMTP servers, settings sets that point at them, and a fresh process."""

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import django
import pytest
from django.core.cache import cache
from wagtail.models import Collection, Locale, Page

from tests.support.servers.smtp_server import CA_PEM, SMTPServer
from wagtail_smtp import alerts, live
from wagtail_smtp.channels import courier
from wagtail_smtp.conf import ENVIRONMENT_VARIABLE, VARIABLES
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.live import lookup
from wagtail_smtp.models import ReportEmail, Secret, SettingsSet
from wagtail_smtp.runtime import once
from wagtail_smtp.transports import pool

pytest_plugins = ["tests.support.leftovers"]


@pytest.fixture(autouse=True)
def _as_a_new_process() -> Iterator[None]:
    """Nothing loaded, and nobody alerted, in an earlier test is known."""
    lookup.forget()
    stored_message.forget()
    cache.clear()
    once.forget()
    alerts.clear_pending()
    yield
    lookup.forget()
    pool.close_all()


@pytest.fixture(autouse=True)
def _without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own machine may be named, redirect, or send alerts."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def _alerts_to_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts go to all channels, in the thread that raises them."""
    monkeypatch.setattr(courier, "in_tests_to_channels", True)


@pytest.fixture
def run_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go on as a new process of an environment: ``run_in("staging")``; empty: without a name."""

    def change(environment: str) -> None:
        lookup.forget()
        if environment:
            monkeypatch.setenv(ENVIRONMENT_VARIABLE, environment)
        else:
            monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)

    return change


@pytest.fixture(autouse=True)
def _roots(request: pytest.FixtureRequest) -> None:
    """What migrations of Wagtail make, and a test with real transactions removes."""
    uses_database = "db" in request.fixturenames or request.node.get_closest_marker("django_db")
    if "client" in request.fixturenames and uses_database:
        request.getfixturevalue("db")
        Locale.objects.get_or_create(language_code="en")
        if Page.get_first_root_node() is None:
            Page.add_root(title="Root")
        if Collection.get_first_root_node() is None:
            Collection.add_root(name="Root")


@pytest.fixture(autouse=True)
def _installed(settings: Any) -> None:
    """The plugin is the project's backend; Django's test runner puts locmem in its place."""
    backend = "wagtail_smtp.backend.EmailBackend"
    if hasattr(settings, "MAILERS"):
        settings.MAILERS = {"default": {"BACKEND": backend}}
    else:
        settings.EMAIL_BACKEND = backend


@pytest.fixture
def admins(settings: Any) -> list[str]:
    """Somebody who gets error mail and alerts; the addresses."""
    address = "admin@example.com"
    settings.ADMINS = [address] if django.VERSION >= (6, 0) else [("Admin", address)]
    return [address]


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Change keys of WAGTAIL_SMTP: ``configure(MAX_SESSIONS=1)``."""

    def change(**values: Any) -> None:
        settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | values

    return change


@pytest.fixture
def smtp_server() -> Iterator[SMTPServer]:
    with SMTPServer() as server:
        yield server


@pytest.fixture
def other_server() -> Iterator[SMTPServer]:
    with SMTPServer() as server:
        yield server


MakeSet = Callable[..., SettingsSet]


@pytest.fixture
def make_set(db: None) -> MakeSet:
    """Store a settings set for a server, with its password: ``make_set(server, name=…)``."""

    def make(server: SMTPServer | None = None, *, reports: Any = (), **values: Any) -> SettingsSet:
        defaults = {
            "name": f"Set {SettingsSet.objects.count() + 1}",
            "host": "127.0.0.1",
            "port": server.port if server else 587,
            "encryption": server.encryption if server else "starttls",
            "ca_certificates": CA_PEM,
            "username": server.username if server else "user@example.com",
            "sort_order": SettingsSet.objects.count(),
        }
        password = values.pop("password", server.password if server else "secret of the tests")
        item = SettingsSet(**(defaults | values))
        if item.authentication == "password":
            item.secret = Secret.store(password, item.frozen(()).binding(), item.key)
        item.report_emails = [
            ReportEmail(address=address, sort_order=i) for i, address in enumerate(reports)
        ]
        item.save()
        return item

    return make


@pytest.fixture
def reload() -> Callable[..., Any]:
    """Make the sets as they stand live."""
    return live.reload


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a database server, run only the tests that use the database."""
    if os.environ.get("WAGTAIL_SMTP_TEST_DATABASE"):
        config.hook.pytest_deselected(items=[item for item in items if not _uses_database(item)])
        items[:] = filter(_uses_database, items)


def _uses_database(item: pytest.Item) -> bool:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    marked = item.get_closest_marker("django_db") is not None
    return marked or not {"db", "transactional_db"}.isdisjoint(fixtures)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Make reports readable for xdist, which can't transfer lone surrogates between processes."""
    report: Any = yield
    report.sections = [(title, _encodable(text)) for title, text in report.sections]
    if report.longrepr is not None and (shown := str(report.longrepr)) != _encodable(shown):
        report.longrepr = _encodable(shown)
    return report


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
