"""The health check for monitoring, with django-health-check if it is installed."""

from datetime import timedelta

import pytest
from django.core.mail import EmailMessage
from django.db.models import F
from django.test import RequestFactory

from tests.support.log_entries import make_entry
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp.conf import ENVIRONMENT_VARIABLE
from wagtail_smtp.diagnostics.status import problems
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live import lookup
from wagtail_smtp.live.db import connections
from wagtail_smtp.models import ConfigurationVersion, LogEntry, OutboxMessage, Secret


def _send():
    EmailMessage("Hi", "Body", "shop@example.com", ["real@example.org"]).send()


@pytest.mark.usefixtures("db")
def test_nothing_is_live_yet():
    assert problems() == ()


def test_no_connection_to_a_server(make_set, reload):
    with HostileServer() as server:
        make_set(server)
        reload()
        assert problems() == ()
        assert server.connections == 0


def test_a_configuration_that_can_not_be_read(make_set, reload):
    make_set()
    reload()
    ConfigurationVersion.objects.update(format=F("format") + 1)
    lookup.forget()
    [problem] = problems()
    assert "configuration" in problem


def test_a_password_that_can_not_be_read(make_set, reload):
    make_set()
    reload()
    Secret.objects.update(ciphertext="gone")
    lookup.forget()
    [problem] = problems()
    assert "password" in problem


def test_a_copy_is_held(make_set, reload, run_in, configure):
    run_in("production")
    make_set()
    reload()
    run_in("staging")
    with pytest.raises(EmailDeliveryError):
        _send()
    [problem] = problems()
    assert "another environment" in problem
    assert "production" not in problem  # the page may be public
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    assert "another environment" not in " ".join(problems())


@pytest.mark.usefixtures("db")
def test_a_name_that_is_not_valid(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    [problem] = problems()
    assert "settings are not valid" in problem


def test_held_messages_are_no_problem(make_set, reload, run_in, configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    run_in("production")
    make_set()
    reload()
    _send()
    LogEntry.objects.update(state="deferred", created_at=F("created_at") - timedelta(hours=2))
    OutboxMessage.objects.update(due_at=F("due_at") - timedelta(hours=2))
    assert len(problems()) == 2
    run_in("staging")
    reload(end_redirect=True)
    assert problems() == ()


@pytest.mark.usefixtures("db")
def test_tables_that_are_missing(monkeypatch):
    monkeypatch.setattr(connections, "is_migrated", lambda: False)
    [problem] = problems()
    assert "tables" in problem


def test_a_server_that_fails(make_set, reload):
    refused = Fault("mail", "refuse", "550 5.7.1 secret words of the server")
    with HostileServer(faults=[refused]) as server:
        make_set(server)
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
    [problem] = problems()
    assert "secret words" not in problem
    assert "example" not in problem
    assert problems(tolerated=1) == ()
    LogEntry.objects.update(created_at=F("created_at") - timedelta(hours=2))
    assert problems() == ()


@pytest.mark.usefixtures("db")
def test_a_message_that_was_resent_is_no_problem():
    entry = make_entry(state="failed")
    assert len(problems()) == 1
    make_entry(state="sent", resend_of=entry)
    assert problems() == ()


def test_an_outbox_that_is_not_processed(make_set, reload, configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    make_set()
    reload()
    _send()
    assert problems() == ()
    OutboxMessage.objects.update(due_at=F("due_at") - timedelta(minutes=20))
    [problem] = problems()
    assert "overdue" in problem


def test_messages_waiting_for_a_long_time(make_set, reload, configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    make_set()
    reload()
    _send()
    LogEntry.objects.update(state="deferred", created_at=F("created_at") - timedelta(hours=2))
    [problem] = problems()
    assert "waiting" in problem


@pytest.mark.django_db(transaction=True)
def test_django_health_check():
    """Its page runs checks in threads, so the test can't use a transaction."""
    pytest.importorskip("health_check", reason="the extra test is outdated")
    from asgiref.sync import async_to_sync
    from health_check.views import HealthCheckView

    view = HealthCheckView.as_view(checks=["wagtail_smtp.health.Email"])

    def asked():
        request = RequestFactory().get("/health/", headers={"accept": "application/json"})
        return async_to_sync(view)(request)

    well = asked()
    assert well.status_code == 200, well.content
    LogEntry.objects.create(state="failed", category="other")
    failing = asked()
    assert failing.status_code == 500
    assert b"1 messages failed" in failing.content
