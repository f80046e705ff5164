"""smtp_import: it shows what changes, asks, and applies everything or nothing."""

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from wagtail.models import ModelLogEntry

from wagtail_smtp import live
from wagtail_smtp.config_files import apply
from wagtail_smtp.config_files.apply import Options
from wagtail_smtp.config_files.file import load
from wagtail_smtp.config_files.plan import plan
from wagtail_smtp.exceptions import ReloadOutdated
from wagtail_smtp.models import (
    ConfigurationVersion,
    DeliverySettings,
    ReferenceUse,
    ReportEmail,
    Secret,
    SettingsSet,
)

OFFICE: dict[str, Any] = {
    "id": "office",
    "name": "Office",
    "host": "smtp.example.com",
    "username": "me@example.com",
    "password": {"env": "SMTP_OFFICE"},
}
SPARE: dict[str, Any] = {
    "id": "spare",
    "name": "Spare",
    "host": "spare.example.com",
    "authentication": "none",
    "backup": True,
}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def write(tmp_path: Path):
    """Write a file with these sets, and return its path."""

    def write(*sets: dict[str, Any], **values: Any) -> Path:
        path = tmp_path / "email.json"
        path.write_text(json.dumps({"version": 1, "sets": sets, **values}))
        return path

    return write


@pytest.fixture(autouse=True)
def _variables(monkeypatch) -> None:
    monkeypatch.setenv("SMTP_OFFICE", "canary-1f7b")


def run(*args: object) -> str:
    """What the command prints."""
    out = StringIO()
    call_command("smtp_import", *map(str, args), stdout=out, no_color=True)
    return out.getvalue()


def stored() -> list[Any]:
    """Everything that an import could change."""
    models = (
        ConfigurationVersion,
        DeliverySettings,
        ModelLogEntry,
        ReferenceUse,
        ReportEmail,
        Secret,
        SettingsSet,
    )
    rows = [list(model._default_manager.order_by("pk").values()) for model in models]
    for row in rows[1]:
        del row["lock_counter"]
    return rows


def refused(*args: object) -> str:
    """Why the command refuses; nothing may have changed."""
    before = stored()
    with pytest.raises(CommandError) as caught:
        run(*args)
    assert stored() == before
    assert "canary" not in str(caught.value)
    return str(caught.value)


def names() -> list[str]:
    return list(SettingsSet.objects.order_by("sort_order").values_list("name", flat=True))


def test_sets_are_created_as_the_file_says(db: None, write) -> None:
    user = User.objects.create_user("ada")
    reports = ["qa@example.com", {"address": "off@example.com", "enabled": False}]
    office = OFFICE | {"port": 465, "encryption": "ssl", "notify_user": "ada", "max_size": 10}
    out = run(
        write(office, SPARE | {"enabled": False, "redirect": True, "report_emails": reports}),
        "--yes",
    )
    assert names() == ["Office", "Spare"]
    item, spare = SettingsSet.objects.order_by("sort_order")
    assert (item.slug, item.host, item.port, item.encryption) == (
        "office",
        "smtp.example.com",
        465,
        "ssl",
    )
    assert (item.notify_user, item.max_size, item.revision, item.managed_by) == (user, 10, 1, "")
    assert not spare.enabled
    found = [(each.address, each.enabled) for each in spare.report_emails.all()]
    assert found == [("qa@example.com", True), ("off@example.com", False)]
    assert "- Office: Added" in out
    assert "Network host: – → smtp.example.com" in out
    assert "Password: – → environment variable SMTP_OFFICE" in out
    assert "Imported." in out
    assert "This is not live yet." in out
    assert live.live_version() is None


def test_the_secret_is_read_from_its_reference(db: None, write) -> None:
    run(write(OFFICE), "--yes", "--reload")
    item = SettingsSet.objects.get()
    assert item.secret.references == {"password": "env:SMTP_OFFICE"}
    assert "canary" not in str(list(Secret.objects.values()))
    current = live.current()
    assert current.transport(current.configuration.sets[0]).config.password == "canary-1f7b"


def test_a_stored_secret_becomes_the_reference(make_set, write) -> None:
    make_set(name="Office", slug="office", host="smtp.example.com", username="me@example.com")
    out = run(write(OFFICE | ca()), "--yes")
    assert "Password: set → environment variable SMTP_OFFICE" in out
    assert SettingsSet.objects.get().secret.references == {"password": "env:SMTP_OFFICE"}
    assert "Nothing to import." in run(write(OFFICE | ca()), "--yes")
    out = run(write(OFFICE | ca() | {"password": {"env": "SMTP_NEW"}}), "--yes")
    assert "Password: environment variable SMTP_OFFICE → environment variable SMTP_NEW" in out


def test_an_unreadable_reference_is_stored_again(db: None, write) -> None:
    run(write(OFFICE), "--yes")
    Secret.objects.update(ciphertext="unreadable")
    assert "Password: changed" in run(write(OFFICE), "--yes", "--reload")
    assert "Nothing to import." in run(write(OFFICE), "--yes", "--reload")


def ca() -> dict[str, str]:
    return {"ca_certificates": SettingsSet.objects.get(slug="office").ca_certificates}


def test_a_second_run_changes_nothing(db: None, write) -> None:
    path = write(OFFICE, SPARE, delivery="standard")
    run(path, "--yes", "--reload")
    before = stored()
    out = run(path, "--yes", "--reload")
    assert "Nothing to import." in out
    assert "Nothing to reload." in out
    assert stored() == before
    assert live.live_version().number == 1


def test_a_set_is_recognised_by_its_id(db: None, write) -> None:
    run(write(OFFICE, SPARE), "--yes")
    item = SettingsSet.objects.get(slug="office")
    run(write(OFFICE | {"name": "Renamed", "timeout": 5}, SPARE), "--yes")
    after = SettingsSet.objects.get(slug="office")
    assert (after.pk, after.key, after.secret_id) == (item.pk, item.key, item.secret_id)
    assert (after.name, after.timeout, after.revision) == ("Renamed", 5, 2)
    assert SettingsSet.objects.get(slug="spare").revision == 1


def test_the_case_of_an_id_makes_no_other_set(make_set, write) -> None:
    make_set(name="Office", slug="Office")
    run(write(OFFICE), "--yes")
    assert SettingsSet.objects.get().host == "smtp.example.com"
    assert "Nothing to import." in run(write(OFFICE), "--yes")


def test_fields_that_the_file_leaves_out_get_their_defaults(db: None, write) -> None:
    run(write(OFFICE | {"port": 2525, "sender_name": "News", "max_size": 5}), "--yes")
    out = run(write(OFFICE), "--yes")
    item = SettingsSet.objects.get()
    assert (item.port, item.sender_name, item.max_size) == (587, "", None)
    assert "Port: 2525 → 587" in out


def test_names_can_be_exchanged(db: None, write) -> None:
    run(write(OFFICE, SPARE), "--yes")
    run(write(OFFICE | {"name": "Spare"}, SPARE | {"name": "OFFICE"}), "--yes")
    assert names() == ["Spare", "OFFICE"]


def test_the_name_of_another_set_is_refused(make_set, write) -> None:
    make_set(name="OFFICE", slug="old-office")
    text = refused(write(OFFICE), "--yes")
    assert "office, name: The set with the ID “old-office” has this name already." in text
    run(write(OFFICE), "--yes", "--prune")
    assert SettingsSet.objects.get().slug == "office"


def test_a_new_order(db: None, write) -> None:
    run(write(OFFICE, SPARE), "--yes")
    revisions = list(SettingsSet.objects.values_list("revision", flat=True))
    out = run(write(SPARE, OFFICE), "--yes")
    assert names() == ["Spare", "Office"]
    assert "Moved" in out
    assert list(SettingsSet.objects.values_list("revision", flat=True)) == revisions
    assert ModelLogEntry.objects.filter(action="wagtail_smtp.reorder").count() == 2


def test_sets_that_are_not_in_the_file_are_kept_after_it(make_set, write) -> None:
    make_set(name="First", slug="first")
    make_set(name="Second", slug="second")
    out = run(write(OFFICE), "--yes")
    assert names() == ["Office", "First", "Second"]
    assert "Not in the file, so kept after its sets: First, Second." in out
    assert "Nothing to import." in run(write(OFFICE), "--yes")


def test_prune_deletes_them_with_their_secrets(make_set, write) -> None:
    item = make_set(name="First", slug="first")
    out = run(write(OFFICE), "--yes", "--prune")
    assert names() == ["Office"]
    assert "- First: Removed" in out
    assert not Secret.objects.get(pk=item.secret_id).ciphertext
    assert ModelLogEntry.objects.filter(action="wagtail.delete", label="First").exists()


def test_the_delivery_method(db: None, write) -> None:
    run(write(delivery="standard"), "--yes")
    assert DeliverySettings.load().method == "standard"
    run(write(OFFICE), "--yes")
    assert DeliverySettings.load().method == "standard"
    out = run(write(OFFICE, delivery="custom"), "--yes")
    assert "Delivery method: Standard → Custom" in out
    assert DeliverySettings.load().method == "custom"


def test_the_audit_log_has_what_the_admin_would_write(db: None, write) -> None:
    run(write(OFFICE), "--yes")
    run(write(OFFICE | {"port": 2525}, delivery="standard"), "--yes")
    entries = ModelLogEntry.objects.order_by("pk")
    assert [(e.action, e.label, e.data.get("fields"), e.user) for e in entries] == [
        ("wagtail.create", "Office", [], None),
        ("wagtail.edit", "email delivery method", None, None),
        ("wagtail.edit", "Office", ["Port"], None),
    ]
    assert [e.data["revision"] for e in entries if "revision" in e.data] == [1, 2]


def test_dry_run_changes_nothing(make_set, write) -> None:
    make_set(name="First", slug="first")
    before = stored()
    out = run(write(OFFICE), "--dry-run", "--prune")
    assert "- Office: Added" in out
    assert "- First: Removed" in out
    assert "Nothing was changed." in out
    assert stored() == before


def test_dry_run_of_a_reload_shows_what_would_be_live(db: None, write) -> None:
    before = stored()
    out = run(write(OFFICE), "--dry-run", "--reload")
    assert "The reload changes what is live:\n- Office: Added" in out
    assert stored() == before


def test_without_a_terminal_a_confirmation_is_needed(db: None, write, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    assert "add --yes" in refused(write(OFFICE))


@pytest.mark.parametrize("answer", ["", "n", "no", "x"])
def test_on_a_terminal_it_asks(db: None, write, monkeypatch, answer) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    assert refused(write(OFFICE)) == "Nothing was changed."


def test_yes_on_a_terminal(db: None, write, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert "Imported." in run(write(OFFICE))
    assert names() == ["Office"]


def test_a_change_between_comparison_and_import_is_refused(make_set, write) -> None:
    make_set(name="First", slug="first")
    file = load(write(OFFICE))
    token = plan(file).token
    SettingsSet.objects.update(revision=7)
    before = stored()
    with pytest.raises(ReloadOutdated):
        apply.apply(file, Options(), token)
    assert stored() == before


@pytest.mark.parametrize("options", [(), ("--reload",)])
def test_two_deploys_may_import_at_the_same_time(db: None, write, monkeypatch, options) -> None:
    monkeypatch.setenv("SMTP_OFFICE", "x")
    path, others = write(OFFICE), []

    def the_other_first(execute, sql, *args):
        if not others and sql.startswith("UPDATE") and "lock_counter" in sql:
            others.append("")
            others.append(run(path, "--yes"))
        return execute(sql, *args)

    with connection.execute_wrapper(the_other_first):
        out = run(path, "--yes", *options)
    assert "Imported." in others[1]
    assert "compared again" in out
    assert names() == ["Office"]
    assert (live.live_version() is not None) == bool(options)


def test_without_any_input_it_needs_yes(db: None, write, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # closed, as with "<&-"
    assert "--yes" in refused(write(OFFICE))


def test_a_missing_user_is_only_a_warning(db: None, write) -> None:
    out = run(write(OFFICE | {"notify_user": "nobody"}), "--yes")
    assert "Note: office: there is no user “nobody”" in out
    assert SettingsSet.objects.get().notify_user is None
    assert "Nothing to import." in run(write(OFFICE | {"notify_user": "nobody"}), "--yes")


def test_a_missing_variable_is_a_warning_and_refuses_only_the_reload(
    db: None, write, monkeypatch
) -> None:
    monkeypatch.delenv("SMTP_OFFICE")
    assert "SMTP_OFFICE" in refused(write(OFFICE), "--yes", "--reload")
    out = run(write(OFFICE), "--yes")
    assert "Note: office: The environment variable SMTP_OFFICE is missing" in out


def test_a_password_that_the_file_leaves_out_is_kept(make_set, write) -> None:
    make_set(name="Office", slug="office", host="smtp.example.com", username="me@example.com")
    secret = SettingsSet.objects.get().secret_id
    without = {name: value for name, value in OFFICE.items() if name != "password"} | ca()
    run(write(without | {"timeout": 5}), "--yes")
    assert SettingsSet.objects.get().secret_id == secret
    text = refused(write(without | {"host": "other.example.com"}), "--yes")
    assert "belongs to another server or user" in text
    run(write(without | {"authentication": "none"}), "--yes")
    assert SettingsSet.objects.get().secret_id is None


def test_a_new_set_without_a_password_is_a_warning(db: None, write) -> None:
    without = {name: value for name, value in OFFICE.items() if name != "password"}
    assert "Note: office: it has no password." in run(write(without), "--yes")
    assert "No password is stored" in refused(write(without), "--yes", "--reload")


def test_a_reference_may_be_sent_to_another_server(db: None, write) -> None:
    run(write(OFFICE), "--yes", "--reload")
    run(write(OFFICE | {"host": "other.example.com"}), "--yes", "--reload")
    current = live.current()
    assert current.configuration.sets[0].host == "other.example.com"
    assert current.transport(current.configuration.sets[0]).config.password == "canary-1f7b"


def test_delivery_tracking_secrets_stay(make_set, write) -> None:
    item = make_set(name="Office", slug="office")
    item.webhook_secret = Secret.store("tracking", {}, item.key)
    item.save()
    run(write(OFFICE), "--yes")
    assert SettingsSet.objects.get().webhook_secret_id == item.webhook_secret_id


def test_a_reload_in_the_same_transaction(db: None, write) -> None:
    out = run(write(OFFICE), "--yes", "--reload")
    assert "Version 1 is live." in out
    version = live.live_version()
    assert version.reason.startswith("smtp_import ")
    assert live.current().configuration.sets[0].host == "smtp.example.com"


def test_a_refused_reload_undoes_the_import(make_set, write) -> None:
    make_set(name="Broken", slug="broken", host="x")
    SettingsSet.objects.update(host="not a host")
    text = refused(write(OFFICE), "--yes", "--reload")
    assert "can't go live" in text
    assert "- Broken: " in text


def test_a_redirect_ends_only_with_the_option(db: None, write) -> None:
    redirect = {"redirect": True, "report_emails": ["qa@example.com"]}
    run(write(OFFICE | redirect), "--yes", "--reload")
    assert "add --end-redirect" in refused(write(OFFICE), "--yes", "--reload")
    assert "add --end-redirect" in refused(write(OFFICE), "--dry-run", "--reload")
    # Without a reload, an import changes nothing that is live.
    run(write(OFFICE), "--yes")
    assert live.current().configuration.sets[0].redirect
    out = run(write(OFFICE), "--yes", "--reload", "--end-redirect")
    assert "Version 2 is live." in out
    assert not live.current().configuration.sets[0].redirect


def test_a_copied_database_sends_nothing_without_the_option(db: None, write, configure) -> None:
    run(write(OFFICE), "--yes", "--reload")
    configure(ENVIRONMENT="staging")
    assert "add --end-redirect" in refused(write(OFFICE), "--yes", "--reload")
    redirect = {"redirect": True, "report_emails": ["qa@example.com"]}
    run(write(OFFICE | redirect), "--yes", "--reload")
    assert live.live_version().environment == "staging"


def test_earlier_changes_are_made_live_too(make_set, write) -> None:
    make_set(name="First", slug="first")
    path = write(SPARE)
    run(path, "--yes")
    assert live.live_version() is None
    out = run(path, "--yes", "--reload")
    assert "Nothing to import." in out
    assert "- First: Added" in out
    assert live.live_version().number == 1


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"version: 1\nsets: [{id: a, name: A, host: \xff}]", "email.yaml"),
        (b"version: 1\n" + b"# x\n" * 2_500_000, "email.yaml"),
        (b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nsets: [*c,*c]", "email.yaml"),
        (b"version: 1\nsets: [{id: a, id: b}]", "email.yaml"),
        (b"version: 1\nsets: []\nsets: []", "email.yaml"),
        (b"version: 1\nsets: [{id: a, name: A, host: a.b, authentication: no}]", "email.yaml"),
        (b"version: 1\nsets: [{id: a, name: no, host: a.b, authentication: none}]", "email.yaml"),
        (
            b"version: 1\nsets: [{id: a, name: A, host: a.b, username: u, password: canary}]",
            "email.yaml",
        ),
        (
            b"version: 1\nsets: [{id: a, name: A, host: a.b, username: u,"
            b" password: {env: DATABASE_URL}}]",
            "email.yaml",
        ),
        (b'{"version": 1, "sets": [{"id": "a", "name": "A"}, {"id": "a"}]}', "email.json"),
        (b"\x00\x01\x02", "email.yaml"),
        (b"", "email.json"),
    ],
)
def test_bad_files_change_nothing(make_set, tmp_path: Path, content: bytes, name: str) -> None:
    make_set(name="First", slug="first")
    path = tmp_path / name
    path.write_bytes(content)
    assert str(path) in refused(path, "--yes", "--prune", "--reload")


def test_a_good_set_before_a_bad_one_is_not_imported(db: None, write) -> None:
    assert "spare" in refused(write(OFFICE, SPARE | {"port": 0}), "--yes")


def test_a_file_is_needed(db: None) -> None:
    assert "SETS_FILE" in refused("--yes")
    assert "No such file" in refused("missing.yaml", "--yes")


def test_an_error_while_writing_undoes_everything(db: None, write, monkeypatch) -> None:
    run(write(OFFICE), "--yes")
    before = stored()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no disk")

    monkeypatch.setattr("wagtail_smtp.config_files.apply.log", fail)
    with pytest.raises(RuntimeError):
        run(write(OFFICE | {"port": 25}, SPARE, delivery="standard"), "--yes", "--prune")
    assert stored() == before


def test_a_copy_says_what_its_reload_does(db: None, write, configure) -> None:
    run(write(OFFICE), "--yes", "--reload")
    configure(ENVIRONMENT="staging", REDIRECT_ALL_TO=["qa@example.com"])
    out = run(write(OFFICE), "--yes", "--reload")
    assert "The live settings come from “production”. The reload makes a version of" in out
    assert "changes what is live" not in out
    assert "already" not in out
    assert "Version 2 is live." in out
