"""The output of smtp_status, for people and for monitoring."""

import json
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.utils import timezone

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.models import LogEntry, OutboxMessage, Secret, SettingsSet


def _status():
    """The JSON, and the exit code."""
    out, code = StringIO(), 0
    try:
        call_command("smtp_status", "--json", stdout=out)
    except SystemExit as error:
        code = error.code
    return json.loads(out.getvalue()), code


def _send():
    EmailMessage("Hi", "Body", "shop@example.com", ["real@example.org"]).send()


def test_all_is_well(make_set, reload):
    make_set(name="Office", backup=True, categories=["form"])
    reload()
    SettingsSet.objects.update(sender_name="Shop")
    status, code = _status()
    assert code == 0
    assert (status["version"], status["method"], status["alarms"]) == (1, "custom", [])
    assert status["sets"] == [
        {
            "name": "Office",
            "server": "127.0.0.1:587",
            "categories": ["form"],
            "sites": [],
            "backup": True,
            "redirects_to": [],
            "token": "",
            "is_used": True,
            "redirect": "",
            "usage": None,
        }
    ]
    assert len(status["waiting_changes"]) == 1
    assert (status["outbox"], status["failures"]) == ({}, [])


def test_a_redirect_without_effect(make_set, reload, capsys):
    make_set(name="Main")
    make_set(name="Test", redirect=True, reports=["qa@example.com"])
    status, code = _status()
    assert (status["notices"], len(status["waiting_notices"]), code) == ([], 1, 0)
    reload()
    status, code = _status()
    assert code == 1
    assert [item["redirect"] for item in status["sets"]] == ["", "none"]
    assert [item["is_used"] for item in status["sets"]] == [True, False]
    [notice] = status["notices"]
    assert (status["alarms"], status["waiting_notices"]) == ([notice], [])
    with pytest.raises(SystemExit):
        call_command("smtp_status", "--no-color")
    shown = capsys.readouterr().out
    assert "NO EFFECT" in shown
    assert shown.count(notice) == 1


def test_smtp_reload_reports_what_has_no_effect(make_set, capsys):
    make_set(name="Main")
    make_set(name="Test", redirect=True, reports=["qa@example.com"])
    call_command("smtp_reload", "--no-color")
    assert "“Test” is on but not in effect" in capsys.readouterr().out


def test_a_partial_redirect_and_an_unused_set_are_reported(make_set, reload, capsys):
    make_set(name="Invoices", categories=["invoice"], redirect=True, reports=["qa@example.com"])
    SettingsSet.objects.update(sort_order=1)
    make_set(name="Forms", categories=["form"], sort_order=0)
    make_set(name="Main", sort_order=2)
    make_set(name="Mine", sort_order=3)
    reload()
    status, code = _status()
    assert code == 0
    assert [item["redirect"] for item in status["sets"]] == ["", "some", "", ""]
    assert [item["is_used"] for item in status["sets"]] == [True, True, True, False]
    assert len(status["notices"]) == 2
    call_command("smtp_status", "--no-color")
    assert capsys.readouterr().out.count("Note: ") == 2


def test_nothing_is_live(db):
    status, code = _status()
    assert (status["version"], status["method"], code) == (0, "standard", 0)


def test_a_password_that_can_no_longer_be_read(make_set, reload):
    make_set(name="Office")
    reload()
    Secret.objects.update(ciphertext="x")
    status, code = _status()
    assert code == 1
    assert "Office" in status["alarms"][0]


def test_messages_that_failed(make_set, reload, capsys):
    with HostileServer(faults=[Fault("end", "close")]) as server:
        make_set(server, name="Office")
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
    status, code = _status()
    assert code == 1
    assert [failed["state"] for failed in status["failures"]] == ["unknown"]
    with pytest.raises(SystemExit):
        call_command("smtp_status", "--no-color")
    shown = capsys.readouterr().out
    assert re.search(r"unknown: entry \d+, Office: ", shown)
    assert "Office: Office" not in shown


def test_an_outbox_without_a_worker(db, configure, settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    configure(DELIVERY="queued")
    _send()
    status, code = _status()
    assert (status["outbox"], code) == ({"waiting": 1}, 0)
    OutboxMessage.objects.update(due_at=timezone.now() - timedelta(minutes=20))
    status, code = _status()
    assert code == 1
    assert "20 minutes" in status["alarms"][0]


def test_a_redirect_without_address(db, configure):
    configure(REDIRECT_ALL_TO=[])
    status, code = _status()
    assert (status["forced_redirect"], code) == ([], 1)


def test_a_copy_is_held(make_set, reload, run_in, capsys, configure, settings):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    run_in("production")
    make_set(name="Office")
    reload()
    _send()
    OutboxMessage.objects.update(due_at=timezone.now() - timedelta(hours=1))
    run_in("staging")
    _send()
    OutboxMessage.objects.update(due_at=timezone.now() - timedelta(hours=1))
    status, code = _status()
    assert code == 1
    assert (status["environment"], status["held_from"]) == ("staging", "production")
    [alarm] = status["alarms"]  # and none about messages that wait
    assert "“production”" in alarm
    assert status["outbox"] == {"held": 1, "waiting": 1}
    with pytest.raises(SystemExit):
        call_command("smtp_status", "--no-color")
    shown = capsys.readouterr().out
    assert "Environment: staging" in shown
    assert "has been live in production since" in shown
    assert shown.count(alarm) == 1
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    status, code = _status()
    assert "overdue" in " ".join(status["alarms"])
    assert "“production”" not in " ".join(status["alarms"])


def test_after_a_reload_held_messages_are_counted_only(
    make_set, reload, run_in, configure, settings
):
    configure(DELIVERY="queued")
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    run_in("production")
    make_set()
    reload()
    _send()
    LogEntry.objects.update(state="deferred", reason="some reason")
    OutboxMessage.objects.update(due_at=timezone.now() - timedelta(hours=1))
    run_in("staging")
    reload(end_redirect=True)
    for state in ("held", "waiting"):
        OutboxMessage.objects.update(state=state)
        status, code = _status()
        assert (status["held_from"], status["outbox"], code) == ("", {"held": 1}, 0)


def test_in_a_copy_no_notice_claims_that_email_is_sent(make_set, reload, run_in, capsys):
    run_in("production")
    make_set(name="Main")
    make_set(name="Test", redirect=True, reports=["qa@example.com"])
    reload()
    run_in("staging")
    status, _code = _status()
    assert status["notices"] == []
    [alarm] = status["alarms"]
    assert "“production”" in alarm
    [waiting] = status["waiting_notices"]
    with pytest.raises(SystemExit):
        call_command("smtp_status", "--no-color")
    assert f"After the next reload: {waiting}" in capsys.readouterr().out
