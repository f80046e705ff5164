"""What the configuration requires, and who notices that bounces aren't read."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from wagtail_smtp import checks
from wagtail_smtp.config import validation
from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.diagnostics.conditions.mailboxes import unread_mailboxes
from wagtail_smtp.diagnostics.status import status
from wagtail_smtp.exceptions import SecretBoundElsewhere
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import BounceSource, ConfigurationVersion
from wagtail_smtp.models.bounces import STANDARD_INPUT
from wagtail_smtp.transports import imap

VALUES = {
    "bounce_address": "bounces@example.com",
    "bounce_separator": "+",
    "mailbox_host": "imap.example.com",
}
VALID = SettingsSetConfig(
    "key", "Set", host="smtp.example.com", authentication="password", username="user", **VALUES
)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({}, []),
        ({"mailbox_host": "", "mailbox_folder": ""}, []),
        ({"bounce_address": ""}, ["bounce_address"]),
        ({"bounce_address": f"{'b' * 22}@example.com"}, ["bounce_address"]),
        ({"bounce_address": f"{'b' * 21}@example.com"}, []),
        ({"bounce_separator": "_"}, ["bounce_separator"]),
        ({"bounce_separator": ""}, ["bounce_separator"]),
        ({"authentication": "none"}, ["mailbox_host"]),
        ({"authentication": "default"}, ["mailbox_host"]),
        ({"mailbox_host": "imap://example.com"}, ["mailbox_host"]),
        ({"mailbox_port": 0}, ["mailbox_port"]),
        ({"mailbox_folder": ""}, ["mailbox_folder"]),
        ({"mailbox_folder": "a\nb"}, ["mailbox_folder"]),
        ({"mailbox_encryption": "none"}, ["mailbox_encryption"]),
        ({"mailbox_encryption": "none", "mailbox_host": "127.0.0.1"}, []),
    ],
)
def test_what_a_mailbox_needs(values, fields):
    found = validation.problems(replace(VALID, **values))
    assert [problem.field for problem in found] == fields


@pytest.mark.parametrize(
    "values",
    [
        {"mailbox_host": "evil.example.net"},
        {"mailbox_port": 144},
        {"mailbox_encryption": "starttls"},
        {"mailbox_host": ""},
    ],
)
def test_the_password_is_bound_to_the_mailbox_server_too(make_set, values):
    item = make_set(**VALUES)
    with pytest.raises(SecretBoundElsewhere):
        item.secret.reveal(replace(item.frozen(()), **values).binding())
    folder = replace(item.frozen(()), mailbox_folder="Bounces")
    assert item.secret.reveal(folder.binding())


def test_consents_cover_the_mailbox():
    settings = OAuth("microsoft", "consent", tenant="t", client_id="c")
    send = "https://outlook.office.com/SMTP.Send offline_access"
    assert settings.scopes == send
    read = "https://outlook.office.com/IMAP.AccessAsUser.All"
    assert settings.scopes_with_mailbox == f"{read} {send}"
    for flow in ("client", "consent"):
        google = OAuth("google", flow)
        assert google.scopes_with_mailbox == google.scopes


@pytest.fixture
def source(make_set, reload):
    """What was read of a live set's mailbox: ``source(read_at=…)``; the set is two days old."""

    def make(**values):
        item = make_set(name="Main", **VALUES)
        reload()
        ConfigurationVersion.objects.update(created_at=timezone.now() - timedelta(days=2))
        if values:
            return BounceSource.objects.create(set_key=item.key, **values)
        return None

    return make


def _ago(**values):
    return timezone.now() - timedelta(**values)


@pytest.mark.parametrize(
    ("values", "number"),
    [
        (lambda: {"read_at": _ago(hours=23)}, 0),
        (lambda: {"read_at": _ago(hours=25)}, 1),
        (lambda: {"read_at": _ago(hours=2), "failing_since": _ago(minutes=59)}, 0),
        (lambda: {"read_at": _ago(hours=2), "failing_since": _ago(minutes=61)}, 1),
        (dict, 1),
    ],
    ids=["read", "not read", "failing", "failing for long", "never read"],
)
def test_mailboxes_that_are_not_read_are_reported(source, values, number):
    source(**values())
    found = list(unread_mailboxes())
    assert [each.kind for each in found] == ["bounces"] * number
    assert sum("Main" in alarm for alarm in status().alarms) == number


def test_a_mailbox_that_was_just_made_live_is_not_reported(source):
    source()
    ConfigurationVersion.objects.update(created_at=_ago(hours=1))
    assert not list(unread_mailboxes())


def test_nothing_is_reported_in_a_copy(source, run_in):
    run_in("production")
    source()
    run_in("staging")
    assert not list(unread_mailboxes())


def test_the_failure_is_shown_to_people(source):
    source(failing_since=_ago(hours=2), failure="Main: failed at auth: refused")
    output = StringIO()
    with pytest.raises(SystemExit):
        call_command("smtp_status", stdout=output)
    assert "failed at auth: refused" in output.getvalue()


def test_the_figures_are_in_the_status(source):
    source(read_at=_ago(minutes=1), recorded=3, unverified=1)
    BounceSource.objects.create(set_key=STANDARD_INPUT, recorded=7)
    found = {each.name: each for each in status().bounces}
    assert (found["Main"].counts["recorded"], found["Main"].counts["unverified"]) == (3, 1)
    assert found[""].counts["recorded"] == 7


def test_a_missing_package_is_found(source, monkeypatch):
    source()
    databases = [write_alias()]
    assert checks.check_bounces(databases=databases) == []
    monkeypatch.setattr(imap, "is_installed", lambda: False)
    assert [each.id for each in checks.check_bounces(databases=databases)] == ["wagtail_smtp.W026"]
    assert checks.check_bounces() == []
