"""Each recipient gets a summary once; one who may not or can't get it breaks nothing."""

import threading

import pytest
from django.core.mail import send_mail
from django.core.management import call_command
from django.db import OperationalError, connection

from tests.summary.conftest import wait
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp.live.db import connections
from wagtail_smtp.maintenance import periodic
from wagtail_smtp.models import LogEntry, PeriodicRun, SummarySubscription
from wagtail_smtp.summary import sending


def _recipients(server):
    return sorted(address for each in server.received for address in each.recipients)


def test_everyone_gets_it_once(office, subscribe):
    subscribe("ada")
    subscribe("grace", "daily")
    assert sending.send_due() == 2
    assert sending.send_due() == 0
    assert _recipients(office) == ["ada@example.com", "grace@example.com"]
    message = office.received[0].message
    assert message["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    entries = LogEntry.objects.values_list("category", "category_source")
    assert {*entries} == {("notification", "message")}


def test_the_next_period_brings_the_next_one(office, subscribe):
    user = subscribe()
    sending.send_due()
    wait(user)
    assert sending.send_due() == 1


@pytest.mark.parametrize(
    "values",
    [
        {"permissions": ["send_test_email"]},
        {"is_active": False},
        {"email": ""},
        {"email": "two@at@example.com"},
        {"email": "two\nlines@example.com"},
    ],
)
def test_who_may_not_or_cannot_get_it_breaks_nothing(office, subscribe, values):
    subscribe("ada", **values)
    subscribe("grace")
    assert sending.send_due() == 1
    assert _recipients(office) == ["grace@example.com"]
    assert sending.send_due() == 0


def test_each_reads_it_in_their_language(office, subscribe):
    subscribe("ada", language="de")
    subscribe("grace")
    sending.send_due()
    for received, language in zip(office.received, ("de", "en"), strict=True):
        html = received.message.get_body(("html",)).get_content()
        assert f'<html lang="{language}" dir="ltr">' in html


def test_it_waits_in_the_outbox_if_email_is_queued(office, subscribe, configure, settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY="queued")
    subscribe()
    assert sending.send_due() == 1
    assert office.received == []
    assert LogEntry.objects.get().state == "queued"


def test_a_redirect_applies(smtp_server, make_set, reload, subscribe):
    make_set(smtp_server, redirect=True, reports=["qa@example.com"])
    reload()
    subscribe()
    sending.send_due()
    assert _recipients(smtp_server) == ["qa@example.com"]


def test_a_copy_sends_none(office, subscribe, run_in, monkeypatch):
    user = subscribe()
    run_in("staging")
    assert sending.send_due() == 0
    # Neither after a reload, nor if the settings redirect all email.
    call_command("smtp_reload", end_redirect=True)
    assert sending.send_due() == 0
    monkeypatch.setenv("WAGTAIL_SMTP_REDIRECT_ALL_TO", "qa@example.com")
    assert sending.send_due() == 0
    assert office.received == []
    # The original site still does.
    monkeypatch.delenv("WAGTAIL_SMTP_REDIRECT_ALL_TO")
    row = SummarySubscription.objects.get(user=user)
    assert row.environment == ""


def test_it_waits_while_email_is_held(office, subscribe, run_in):
    run_in("staging")  # the live settings are production's
    subscribe()
    assert sending.send_due() == 0
    assert not LogEntry.objects.exists()
    call_command("smtp_reload", end_redirect=True)
    assert sending.send_due() == 1


def test_a_recipient_that_is_refused_stops_no_other(subscribe, make_set, reload):
    refused = Fault("rcpt", "refuse", "550 5.1.1 No such user", times=1)
    with HostileServer(faults=[refused]) as server:
        make_set(server)
        reload()
        subscribe("ada")
        subscribe("grace")
        assert sending.send_due() == 1
        assert sending.send_due() == 0
        assert _recipients(server) == ["grace@example.com"]


def test_a_server_that_fails_stops_the_others_for_an_hour(
    subscribe, make_set, reload, caplog, monkeypatch
):
    with HostileServer(faults=[Fault("mail", "refuse", "451 4.3.0 Later", times=1)]) as server:
        make_set(server)
        reload()
        subscribe("ada")
        subscribe("grace")
        monkeypatch.setattr(periodic, "_tasks", [sending.TASK])
        monkeypatch.setattr(sending, "start", sending.send_due)
        assert periodic.claim(sending.TASK.name, sending.TASK.every)
        assert sending.send_due() == 0
        assert "was not sent" in caplog.text
        assert server.received == []
        assert not periodic.claim(sending.TASK.name, sending.TASK.every)
        PeriodicRun.objects.update(ran_at=periodic.expressions.now(-301))
        assert periodic.claim(sending.TASK.name, sending.TASK.every)
        # The first one is in the log, as any message that failed.
        assert sending.send_due() == 1
        assert _recipients(server) == ["grace@example.com"]
        assert LogEntry.objects.get(state="failed").stored


def test_a_run_ends_after_a_minute(office, subscribe, monkeypatch):
    subscribe("ada")
    subscribe("grace")
    monkeypatch.setattr(sending, "_SECONDS", -1)
    assert sending.send_due() == 0
    monkeypatch.undo()
    assert sending.send_due() == 2


@pytest.mark.django_db(transaction=True)
def test_two_runs_send_it_once(office, subscribe):
    for number in range(3):
        subscribe(f"user{number}")
    counts, start = [], threading.Barrier(4)

    def run():
        try:
            start.wait(20)
            counts.append(sending.send_due())
        except OperationalError:  # SQLite in memory doesn't wait for locks
            assert connection.vendor == "sqlite"
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sending.send_due()
    assert _recipients(office) == [f"user{number}@example.com" for number in range(3)]


def test_nothing_is_due(db, office, django_assert_num_queries):
    send_mail("Hi", "Body", None, ["real@example.org"])
    with django_assert_num_queries(2):
        sending.start()
    assert sending._thread is None or not sending._thread.is_alive()


def test_the_command_sends_what_is_due(office, subscribe, capsys):
    subscribe()
    call_command("smtp_summary", "--send")
    assert capsys.readouterr().out == "Summaries sent: 1.\n"
    call_command("smtp_summary", "--send")
    assert capsys.readouterr().out == "Summaries sent: 0.\n"
