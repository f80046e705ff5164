"""A copied database sends nothing until someone reloads the application there."""

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import mail_admins, send_mail
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from wagtail_smtp import email_category, live, signals
from wagtail_smtp.conf import ENVIRONMENT_VARIABLE
from wagtail_smtp.delivery.explain.routes import compare, explain
from wagtail_smtp.diagnostics.check_set import send_test_email, try_set
from wagtail_smtp.exceptions import (
    EnvironmentMismatch,
    RedirectError,
    RedirectWouldEnd,
    ReloadOutdated,
    ReloadRefused,
)
from wagtail_smtp.live import lookup
from wagtail_smtp.models import ConfigurationVersion, LogEntry, SettingsSet

QA = "qa@example.com"


def _send(category="other", to="real@example.org", **options):
    with email_category(category):
        return send_mail("Hi", "Body", None, [to], **options)


@pytest.fixture
def copied(smtp_server, make_set, reload, run_in):
    """A process of staging with a copy of production's database; the server of its set."""
    run_in("production")
    make_set(smtp_server, name="Office", reports=[QA])
    reload()
    run_in("staging")
    return smtp_server


@pytest.mark.parametrize(
    ("made_in", "runs_in", "held_from"),
    [
        # What was recorded without a name counts as production's.
        ("", "", ""),
        ("", "production", ""),
        ("", "staging", "production"),
        ("production", "production", ""),
        ("production", "staging", "production"),
        ("staging", "staging", ""),
        ("staging", "production", "staging"),
        # A process without a name may be a laptop with a copy.
        ("production", "", "production"),
        ("staging", "", "staging"),
    ],
)
def test_a_process_sends_with_settings_of_its_own_environment_only(
    smtp_server, make_set, reload, run_in, made_in, runs_in, held_from
):
    run_in(made_in)
    make_set(smtp_server)
    reload()
    assert ConfigurationVersion.objects.get().environment == made_in
    run_in(runs_in)
    assert live.current().held_from == held_from
    if not held_from:
        assert _send() == 1
        assert len(smtp_server.received) == 1
        return
    with pytest.raises(EnvironmentMismatch, match=f"“{held_from}”"):
        _send()
    assert smtp_server.received == []
    entry = LogEntry.objects.get()
    assert (entry.state, entry.version, entry.attempts.count()) == ("failed", 1, 0)
    assert f"“{held_from}”" in entry.reason


def test_nothing_is_held_before_the_first_version(db, run_in):
    """Standard delivery is the project's own; nothing says where such a database comes from."""
    run_in("staging")
    assert _send() == 1
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    "name", ["", " ", "Production", "my site", "-x", "prod\n", "ü", "x" * 51], ids=repr
)
@pytest.mark.parametrize("is_live", [True, False])
def test_nothing_is_sent_under_a_name_that_is_not_valid(
    smtp_server, make_set, reload, monkeypatch, name, is_live
):
    make_set(smtp_server)
    if is_live:
        reload()
    lookup.forget()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, name)
    with pytest.raises(ImproperlyConfigured, match="WAGTAIL_SMTP_ENVIRONMENT must be a name"):
        _send()
    with pytest.raises(ReloadRefused, match="WAGTAIL_SMTP_ENVIRONMENT"):
        reload()
    assert (smtp_server.received, mail.outbox) == ([], [])
    assert ConfigurationVersion.objects.count() == is_live


def test_nothing_is_queued_under_a_name_that_is_not_valid(db, configure, monkeypatch):
    configure(DELIVERY="queued")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "")
    with pytest.raises(ImproperlyConfigured):
        _send()
    assert LogEntry.objects.get().state == "failed"


def test_the_variable_comes_before_the_setting(smtp_server, make_set, reload, configure, run_in):
    configure(ENVIRONMENT="production")
    make_set(smtp_server)
    assert reload().environment == "production"
    run_in("staging")
    assert live.current().held_from == "production"
    run_in("")
    assert live.current().held_from == ""


# Django 6.1 deprecates the argument.
SILENTLY = pytest.mark.filterwarnings("ignore:The 'fail_silently' argument is deprecated")


@SILENTLY
def test_callers_that_fail_silently_stay_silent(copied, admins):
    assert _send(fail_silently=True) == 0
    mail_admins("Broken", "Body", fail_silently=True)
    assert copied.received == mail.outbox == []
    assert LogEntry.objects.filter(state="failed").count() == 2


@SILENTLY
def test_receivers_are_told(copied):
    told = []

    def note(error, attempts, **values):
        told.append((type(error), attempts))

    signals.message_failed.connect(note)
    try:
        _send(fail_silently=True)
    finally:
        signals.message_failed.disconnect(note)
    assert told == [(EnvironmentMismatch, ())]


def test_no_alert_and_no_summary(copied, admins, caplog):
    from wagtail_smtp import alerts

    alerts.messages_waiting("a reason")
    alerts.note_store_usage(100)
    alerts.send_pending()
    assert copied.received == mail.outbox == []
    assert caplog.text.count("An alert could not be sent") == 2


def test_a_forced_redirect_may_send(copied, configure):
    configure(REDIRECT_ALL_TO=[QA])
    assert live.current().held_from == "production"
    assert _send() == 1
    assert [received.recipients for received in copied.received] == [[QA]]
    plan = live.preview()
    assert (plan.held_from, plan.starts_sending) == ("production", False)
    assert live.reload(token=plan.token).environment == "staging"


def test_a_forced_redirect_without_address_sends_nothing(copied, configure):
    configure(REDIRECT_ALL_TO=[])
    with pytest.raises(RedirectError):
        _send()
    assert copied.received == mail.outbox == []


def test_categories_that_are_exempt_use_standard_delivery(copied, configure):
    configure(STANDARD_CATEGORIES_IN_COPY=["security"], STANDARD_CATEGORIES=[])
    assert _send("security") == 1
    for category in ("other", "error", "alert"):
        with pytest.raises(EnvironmentMismatch):
            _send(category)
    assert [message.to for message in mail.outbox] == [["real@example.org"]]
    assert copied.received == []
    found = explain("security")
    assert (found.is_held, found.blocked, found.redirect) == (False, "", None)
    assert explain("other").is_held
    assert "security" in explain("other").blocked


def test_a_redirect_that_came_along_applies_to_exempt_categories(copied, configure, run_in):
    run_in("production")
    SettingsSet.objects.update(redirect=True)
    live.reload()
    run_in("staging")
    configure(STANDARD_CATEGORIES_IN_COPY=["security"])
    assert _send("security") == 1
    assert [message.to for message in mail.outbox] == [[QA]]


def test_a_broken_redirect_that_came_along_is_held_too(copied, run_in):
    """Blocked messages aren't retried; held ones are."""
    run_in("production")
    SettingsSet.objects.update(redirect=True)
    version = live.reload()
    version.content["sets"][0]["report_emails"] = []
    version.save()
    run_in("staging")
    with pytest.raises(EnvironmentMismatch):
        _send()


@pytest.mark.django_db(transaction=True)
def test_the_database_fails_later(copied):
    """What is loaded is used then, and it says where it comes from."""
    with pytest.raises(EnvironmentMismatch):
        _send()

    def refuse(execute, sql, params, many, context):
        if "wagtail_smtp_configurationversion" in sql:
            raise DatabaseError("gone")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse), pytest.raises(EnvironmentMismatch):
        _send()
    assert copied.received == []


def test_a_reload_makes_a_version_of_this_environment(copied):
    plan = live.preview()
    assert (plan.changes, plan.has_changes) == ((), True)
    assert (plan.held_from, plan.starts_sending) == ("production", True)
    with pytest.raises(RedirectWouldEnd, match="“production”"):
        live.reload(token=plan.token)
    with pytest.raises(EnvironmentMismatch):
        _send()
    version = live.reload(token=plan.token, end_redirect=True)
    assert (version.number, version.environment) == (2, "staging")
    assert not live.preview().has_changes
    assert live.reload() is None
    assert _send() == 1
    assert len(copied.received) == 1


def test_production_is_not_affected(copied, run_in):
    """Its processes have another database; here they read the copy's version."""
    live.reload(end_redirect=True)
    run_in("production")
    with pytest.raises(EnvironmentMismatch):
        _send()


@pytest.mark.parametrize("is_all", [True, False])
def test_a_reload_with_a_redirect_needs_no_confirmation(copied, make_set, is_all):
    SettingsSet.objects.update(redirect=True)
    if not is_all:
        make_set(copied, name="Forms", categories=["form"], sort_order=-1)
    assert live.preview().starts_sending is not is_all
    if not is_all:
        with pytest.raises(RedirectWouldEnd):
            live.reload()
        return
    live.reload()
    assert _send() == 1
    assert [received.recipients for received in copied.received] == [[QA]]


def test_what_was_confirmed_elsewhere_is_not_applied_here(copied, run_in):
    token = live.preview().token
    run_in("testing")
    with pytest.raises(ReloadOutdated):
        live.reload(token=token, end_redirect=True)


def test_an_earlier_version_is_made_live_here(copied):
    first = ConfigurationVersion.objects.get()
    with pytest.raises(RedirectWouldEnd):
        live.make_live(first)
    version = live.make_live(first, end_redirect=True)
    assert (version.number, version.environment) == (2, "staging")
    assert _send() == 1


def test_a_reload_that_is_rolled_back(copied):
    with transaction.atomic():
        live.reload(end_redirect=True)
        assert _send() == 1
        transaction.set_rollback(True)
    with pytest.raises(EnvironmentMismatch):
        _send()
    assert len(copied.received) == 1


def test_the_comparison_says_that_email_is_held(copied):
    plan = live.preview()
    changes = compare(plan.before, plan.target, plan.held_from)
    assert all(change.before.is_held and change.is_changed for change in changes)
    assert not any(change.after.is_held for change in changes)


def test_the_command_asks_for_confirmation(copied, capsys):
    with pytest.raises(CommandError, match=r"“production”.* add --end-redirect"):
        call_command("smtp_reload")
    call_command("smtp_reload", "--end-redirect")
    assert "Version 2 is live." in capsys.readouterr().out
    call_command("smtp_reload")
    assert "Nothing changed" in capsys.readouterr().out


def test_explain_says_why(copied):
    with pytest.raises(CommandError, match="“production”"):
        call_command("smtp_explain", "form")


@pytest.mark.parametrize("delivery", ["immediate", "queued"])
def test_test_emails_are_held_too(copied, configure, delivery):
    configure(DELIVERY=delivery)
    result = send_test_email("real@example.org")
    assert (result.entry, result.is_waiting) == (None, False)
    assert "“production”" in result.reason
    with pytest.raises(CommandError, match="“production”"):
        call_command("smtp_test", "real@example.org")
    assert copied.received == []
    assert not LogEntry.objects.exists()


def test_a_connection_can_be_tested_without_a_message(copied):
    item = SettingsSet.objects.get()
    with pytest.raises(EnvironmentMismatch):
        try_set(item, "real@example.org")
    stages = [result.stage for result in try_set(item)]
    assert [stage.error for stage in stages] == [None] * len(stages)
    assert copied.received == []
