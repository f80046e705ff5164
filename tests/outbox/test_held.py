"""Messages that came with a copied database: held until someone releases or deletes them."""

from datetime import timedelta

import pytest
from django.core.mail import EmailMessage
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.log_entries import fill_outbox, make_entry, make_message
from tests.support.outbox import claim
from tests.support.servers.hostile import HostileServer
from wagtail_smtp import email_category, live
from wagtail_smtp.exceptions import EnvironmentMismatch
from wagtail_smtp.maintenance.resend import ResendSummary, resend, resend_several
from wagtail_smtp.models import (
    ConfigurationVersion,
    LogEntry,
    LogRecipient,
    OutboxMessage,
    StoredMessage,
)
from wagtail_smtp.outbox import held, tasks
from wagtail_smtp.outbox.worker import Worker


@pytest.fixture(autouse=True)
def _queued(configure, settings):
    configure(DELIVERY="queued")
    # Nothing is delivered unless a test's worker does it.
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


@pytest.fixture
def server():
    with HostileServer() as running:
        yield running


@pytest.fixture
def copied(server, make_set, reload, run_in):
    """A process of staging, and a copy of production's database with two messages."""
    run_in("production")
    make_set(server, timeout=2)
    reload()
    _send("from production")
    with email_category("security"):
        _send("reset")
    run_in("staging")


def _send(subject="Hi"):
    EmailMessage(subject, "Body", "shop@example.com", ["real@example.org"]).send()


def _work():
    worker = Worker()
    try:
        return worker.drain()
    finally:
        worker.close()


def _rows():
    rows = OutboxMessage.objects.order_by("pk")
    return list(rows.values_list("entry__subject", "environment", "state"))


def _subjects(server):
    return [str(received.message["Subject"]) for received in server.received]


def test_a_worker_of_a_copy_sends_nothing(copied, server):
    _send("from staging")
    assert _work() == 0
    assert server.received == []
    assert len(claim()) == 1
    assert [state for _subject, _environment, state in _rows()] == [
        "waiting",
        "waiting",
        "sending",
    ]


def test_the_command_says_why(copied, capsys):
    call_command("smtp_outbox", "--once", "--threads", "1")
    out = capsys.readouterr().out
    assert "processed: 0" in out
    assert "“production”" in out


def test_after_a_reload_only_the_copys_own_messages_are_sent(copied, server):
    _send("from staging")
    live.reload(end_redirect=True)
    assert _work() == 1
    assert _subjects(server) == ["from staging"]
    assert _rows() == [
        ("from production", "production", "held"),
        ("reset", "production", "held"),
    ]
    assert _work() == 0


def test_a_forced_redirect_sends_no_message_that_came_along(copied, server, configure):
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    _send("from staging")
    assert _work() == 1
    assert [received.recipients for received in server.received] == [["qa@example.com"]]
    assert _subjects(server) == ["[Redirected] from staging"]
    assert held.rows().count() == 2


def test_exempt_categories_are_sent_from_the_outbox_too(copied, server, configure, mailoutbox):
    configure(STANDARD_CATEGORIES_IN_COPY=["security"])
    with email_category("security"):
        _send("reset here")
    _send("other")
    assert _work() == 2
    assert [message.subject for message in mailoutbox] == ["reset here"]
    assert server.received == []
    entry = LogEntry.objects.get(subject="other")
    assert (entry.state, entry.outbox.attempts) == ("deferred", 0)


def test_waiting_for_a_reload_is_no_reason_for_an_alert(copied, configure, admins, mailoutbox):
    configure(STANDARD_CATEGORIES_IN_COPY=["security"])
    _send("other")
    assert _work() == 1
    assert not LogEntry.objects.filter(category="alert").exists()


@pytest.mark.parametrize("names", [("production", "staging"), ("", "staging"), ("a", "")])
def test_environments_that_share_an_outbox_send_their_own(server, make_set, reload, run_in, names):
    """As while a site gets its name, process by process."""
    make_set(server, timeout=2)
    for name in names:
        run_in(name)
        _send(f"from {name}")
    for name in names:
        run_in(name)
        reload(end_redirect=True)
        OutboxMessage.objects.update(state="waiting")
        assert _work() == 1
    assert _subjects(server) == [f"from {name}" for name in names]


def test_a_site_that_gets_a_name_goes_on(server, make_set, reload, run_in):
    make_set(server, timeout=2)
    reload()
    _send("before")
    run_in("production")
    _send("after")
    assert _work() == 2
    assert held.rows().count() == 0


def test_a_console_without_a_name_holds_nothing(copied, run_in, server):
    """It reloads production's own database: its messages must be sent all the same."""
    run_in("")
    live.reload(end_redirect=True)
    assert [state for _subject, _environment, state in _rows()] == ["waiting"] * 2
    assert held.rows().count() == 2
    run_in("production")
    assert _work() == 2


def test_a_message_being_sent_is_not_held(copied):
    OutboxMessage.objects.update(state="sending", lease_until=timezone.now())
    live.reload(end_redirect=True)
    assert {state for _subject, _environment, state in _rows()} == {"sending"}


def test_form_email_waits_for_the_reload(copied, server, configure):
    configure(DELIVERY="immediate")
    with email_category("form"):
        _send("form")
    entry = LogEntry.objects.get(subject="form")
    assert (entry.state, entry.outbox.environment) == ("deferred", "staging")
    live.reload(end_redirect=True)
    OutboxMessage.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert _work() == 1
    assert _subjects(server) == ["form"]


def test_deferred_email_waits_for_the_reload(copied, configure):
    configure(DELIVERY="immediate", RETRY_DEFERRED=True)
    _send("later")
    assert LogEntry.objects.get(subject="later").outbox.environment == "staging"


@pytest.mark.parametrize("delivery", ["immediate", "queued"])
def test_nothing_is_resent_from_a_copy(copied, configure, server, delivery):
    configure(DELIVERY=delivery)
    entries = [make_entry(message=make_message()) for _ in range(2)]
    before = LogEntry.objects.count()
    with pytest.raises(EnvironmentMismatch, match="“production”"):
        resend(entries[0])
    summary = ResendSummary()
    resend_several([entry.pk for entry in entries], summary)
    assert (summary.failed, summary.resent.total()) == (2, 0)
    assert "“production”" in summary.problem
    with pytest.raises(CommandError, match="“production”"):
        call_command("smtp_resend", "--since", "1d")
    assert LogEntry.objects.count() == before
    assert not LogEntry.objects.exclude(resend_began=None).exists()
    assert server.received == []


def test_a_released_message_is_sent(copied, server):
    live.reload(end_redirect=True)
    entry = LogEntry.objects.get(subject="from production")
    assert held.is_held(entry.outbox)
    assert held.release(entry)
    assert not held.release(entry)
    entry.refresh_from_db()
    assert not held.is_held(entry.outbox)
    assert _work() == 1
    assert _subjects(server) == ["from production"]
    assert LogEntry.objects.get(pk=entry.pk).state == "sent"


def test_a_message_released_before_the_reload_waits_for_it(copied, server):
    assert held.release(LogEntry.objects.get(subject="from production"))
    assert _work() == 0
    live.reload(end_redirect=True)
    assert _work() == 1
    assert _subjects(server) == ["from production"]


def test_a_released_message_has_time_again(copied, server):
    """It was tried in production, and the copy is older than the outbox tries a message."""
    live.reload(end_redirect=True)
    OutboxMessage.objects.update(attempts=3, expires_at=F("expires_at") - timedelta(days=30))
    assert held.release_all() == 1
    assert _work() == 1
    assert _subjects(server) == ["from production"]


def test_security_messages_are_never_released(copied, server):
    live.reload(end_redirect=True)
    entry = LogEntry.objects.get(category="security")
    assert not held.may_be_released(entry.outbox)
    assert not held.release(entry)
    assert held.release_all() == 1
    assert [row.entry for row in held.rows()] == [entry]
    assert held.delete(entry)
    assert not held.delete(entry)


def test_a_deleted_message_is_cancelled_and_forgotten(copied, server):
    live.reload(end_redirect=True)
    partly = LogEntry.objects.get(subject="from production")
    partly.recipients.update(state="sent")
    LogRecipient.objects.create(entry=partly, address="b@example.org", state="waiting")
    assert held.delete_all() == 2
    states = dict(LogEntry.objects.values_list("subject", "state"))
    assert states == {"from production": "partly_sent", "reset": "cancelled"}
    recipients = LogRecipient.objects.order_by("pk").values_list("entry__subject", "state")
    assert list(recipients) == [
        ("from production", "sent"),
        ("reset", "not_sent"),
        ("from production", "not_sent"),
    ]
    assert not OutboxMessage.objects.exists()
    assert not StoredMessage.objects.exists()
    assert _work() == 0


def test_a_deleted_message_is_kept_if_all_are(copied, configure):
    configure(STORE_MESSAGES="all")
    assert held.delete_all() == 2
    kept = StoredMessage.objects.values_list("entry__category", flat=True)
    assert list(kept) == ["other"]


def test_other_messages_are_neither_released_nor_deleted(copied):
    _send("from staging")
    entry = LogEntry.objects.get(subject="from staging")
    assert not held.release(entry)
    assert not held.delete(entry)
    held.delete_all()
    assert [subject for subject, _environment, _state in _rows()] == ["from staging"]


@pytest.mark.parametrize("act", [held.release_all, held.delete_all])
def test_many_take_few_statements(db, run_in, act):
    run_in("staging")

    def statements(count):
        OutboxMessage.objects.all().delete()
        fill_outbox(count)
        with CaptureQueriesContext(connection) as captured:
            assert act() == count
        return len(captured)

    one_batch = statements(10)
    assert statements(1600) <= 4 * one_batch


@pytest.mark.parametrize("act", [held.release_all, held.delete_all])
def test_what_takes_too_long_goes_on_later(db, run_in, act):
    run_in("staging")
    fill_outbox(1100)
    assert act(seconds=0) == 500
    assert held.rows().count() == 600
    assert act() == 600


def test_the_command_lists_releases_and_deletes(copied, capsys, server):
    _send("from staging")
    call_command("smtp_outbox")
    out = capsys.readouterr().out
    assert "Waiting: 1, next due" in out
    assert "Held: 2\n" in out
    for option in ("--release-held", "--delete-held"):
        with pytest.raises(CommandError, match="add --yes"):
            call_command("smtp_outbox", option)
    call_command("smtp_outbox", "--release-held", "--yes")
    call_command("smtp_outbox", "--delete-held", "--yes")
    call_command("smtp_outbox", "--delete-held")
    out = capsys.readouterr().out
    assert "released: 1" in out
    assert "deleted: 1" in out
    assert "no held messages" in out
    assert [environment for _subject, environment, _state in _rows()] == ["staging"] * 2


@pytest.mark.parametrize("answer", ["y", "n"])
def test_at_a_terminal_the_command_asks(copied, monkeypatch, answer, capsys):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    if answer == "y":
        call_command("smtp_outbox", "--delete-held")
    else:
        with pytest.raises(CommandError, match="Nothing was changed"):
            call_command("smtp_outbox", "--delete-held")
    assert held.rows().count() == (0 if answer == "y" else 2)


def test_a_reload_runs_the_task_if_messages_wait(copied, monkeypatch):
    ran = []
    monkeypatch.setattr(tasks, "run_in_thread", lambda: ran.append(True))
    OutboxMessage.objects.all().delete()
    tasks.run_after_reload()
    assert ran == []
    _send("from staging")
    tasks.run_after_reload()
    assert ran == [True]


def test_versions_keep_their_environment(copied):
    live.reload(end_redirect=True)
    found = ConfigurationVersion.objects.order_by("number").values_list("environment", flat=True)
    assert list(found) == ["production", "staging"]


@pytest.mark.parametrize("option", ["--delete-held", "--release-held"])
def test_a_process_without_a_name_decides_about_nothing(copied, run_in, option):
    """It may be a console of production, whose whole outbox it would call held."""
    before = _rows()
    run_in("")
    with pytest.raises(CommandError, match="WAGTAIL_SMTP_ENVIRONMENT"):
        call_command("smtp_outbox", option, "--yes")
    assert _rows() == before
