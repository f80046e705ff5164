"""Secrets by reference in sets: how they are used, and where they may not be sent."""

import json
import logging
import os
from dataclasses import replace
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core import serializers
from django.core.mail import send_mail
from django.core.management import call_command

from tests.support.servers.smtp_server import SMTPServer
from wagtail_smtp import checks, live
from wagtail_smtp.causes import explain
from wagtail_smtp.causes.base import Failure
from wagtail_smtp.config.references import PASSWORD, Reference, SecretContent
from wagtail_smtp.exceptions import ReferenceUnreadable, ReloadRefused, SecretBoundElsewhere
from wagtail_smtp.live import lookup, set_secrets
from wagtail_smtp.live.publish import revoke
from wagtail_smtp.models import (
    ConfigurationVersion,
    ReferenceUse,
    Secret,
    SettingsSet,
)

VARIABLE = "env:SMTP_PASSWORD"


def _send():
    send_mail("Hi", "Body", None, ["real@example.org"])


def _content(reference=VARIABLE):
    return SecretContent.of({PASSWORD: Reference.of(reference)})


def _refer(item, reference=VARIABLE, user=None, **options):
    """Read the set's password from elsewhere."""
    item.secret = set_secrets.store(item.frozen(()), _content(reference), user, **options)
    item.save()
    return item


@pytest.fixture
def users(db):
    return [User.objects.create_user(name) for name in ("anna", "ben")]


@pytest.fixture
def password(smtp_server, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", smtp_server.password)
    return smtp_server.password


@pytest.fixture
def secret_file(tmp_path, configure, smtp_server):
    configure(SECRET_DIRECTORIES=[tmp_path])
    path = tmp_path / "smtp"
    path.write_text(smtp_server.password + "\n")
    return path


def test_a_variable_is_the_password(smtp_server, make_set, reload, password):
    _refer(make_set(smtp_server))
    reload()
    _send()
    assert smtp_server.logins == [(smtp_server.username, password)]


def test_another_value_needs_a_restart_and_no_reload(smtp_server, make_set, reload, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", "old")
    _refer(make_set(smtp_server))
    reload()
    monkeypatch.setenv("SMTP_PASSWORD", smtp_server.password)
    lookup.forget()  # as a new process
    _send()
    assert len(smtp_server.received) == 1


def test_a_file_is_read_again_when_it_was_replaced(smtp_server, make_set, reload, secret_file):
    _refer(make_set(smtp_server), f"file:{secret_file}")
    reload()
    _send()
    smtp_server.password = "rotated"
    new = secret_file.with_name("new")
    new.write_text("rotated")
    new.rename(secret_file)
    _send()
    assert [password for _user, password in smtp_server.logins][-1] == "rotated"
    assert len(smtp_server.received) == 2
    # As long as it stays the same, so does the connection.
    logins = len(smtp_server.logins)
    _send()
    assert len(smtp_server.logins) == logins


def test_a_file_that_is_gone_is_not_used_from_memory(smtp_server, make_set, reload, secret_file):
    _refer(make_set(smtp_server), f"file:{secret_file}")
    reload()
    _send()
    secret_file.unlink()
    with pytest.raises(ReferenceUnreadable, match="No such file"):
        _send()
    secret_file.write_text(smtp_server.password)
    _send()
    assert len(smtp_server.received) == 2


def test_what_is_missing_is_a_problem_everywhere(make_set, reload, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    _refer(make_set(name="Office"))
    reload()
    monkeypatch.delenv("SMTP_PASSWORD")
    lookup.forget()
    with pytest.raises(ReferenceUnreadable) as caught:
        _send()
    for part in ("Office", "SMTP_PASSWORD", "restart"):
        assert part in str(caught.value)
    assert explain(Failure.of(caught.value, "", 0, "")).slug == "reference-unreadable"
    [problem] = live.preview().problems
    assert (problem.message, problem.field) == (caught.value.why, "password")
    assert str(problem).count("Office") == 1
    SettingsSet.objects.update(sender_name="New")
    with pytest.raises(ReloadRefused):
        reload()
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("smtp_status", "--json", stdout=out)
    assert json.loads(out.getvalue())["alarms"][0] == str(problem)


def test_the_check_tells_live_and_saved_sets_apart(make_set, reload, monkeypatch, configure):
    def found(databases=("default",)):
        return {(each.id, each.msg) for each in checks.check_references(databases=databases)}

    monkeypatch.setenv("SMTP_PASSWORD", "x")
    item = _refer(make_set(name="Office"))
    reload()
    assert found() == set()
    monkeypatch.delenv("SMTP_PASSWORD")
    [(number, text)] = found()
    assert number == "wagtail_smtp.E015"
    assert "Office" in text
    assert found(databases=()) == set()
    _refer(item, "env:SMTP_LATER", allow_new_destination=True)
    assert {number for number, _text in found()} == {"wagtail_smtp.E015", "wagtail_smtp.W018"}
    # A copied database sends nothing until a reload, which would find it.
    configure(ENVIRONMENT="staging")
    assert {number for number, _text in found()} == {"wagtail_smtp.W018"}


def test_an_email_providers_key(make_set, reload, monkeypatch):
    item = make_set(transport="postmark", host="", username="", authentication="none")
    item.ca_certificates = ""
    key = SecretContent.of({"server_token": Reference.of("env:SMTP_TOKEN")})
    item.secret = set_secrets.store(item.frozen(()), key)
    item.save()
    monkeypatch.setenv("SMTP_TOKEN", "the key")
    with pytest.raises(ReloadRefused) as caught:
        reload()
    assert "spaces" in str(caught.value.problems[0])
    monkeypatch.setenv("SMTP_TOKEN", "the-key")
    reload()
    current = live.current()
    config = current.transport(current.configuration.sets[0]).config
    assert config.secrets == {"server_token": "the-key"}
    assert "the-key" not in repr(config)


def test_the_value_is_nowhere(smtp_server, make_set, reload, password, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # the server's own
    item = _refer(make_set(smtp_server))
    reload()
    _send()
    rows = [*SettingsSet.objects.all(), *Secret.objects.all(), *ReferenceUse.objects.all()]
    shown = [
        serializers.serialize("json", [*rows, *ConfigurationVersion.objects.all()]),
        repr(item.secret.content(item.frozen(()).binding())),
        repr(live.current().transport(live.current().configuration.sets[0]).config),
        str(live.preview()),
        caplog.text,
    ]
    assert not any(password in text for text in shown)
    # The encrypted reference isn't readable, but the one beside it is.
    assert VARIABLE in shown[0]


# Trust on first use


@pytest.mark.threat(36)
def test_it_belongs_to_its_first_destination(make_set, reload, monkeypatch, users):
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    anna, ben = users
    item = _refer(make_set(name="Office", host="smtp.example.com"), user=anna)
    evil = make_set(name="Evil", host="evil.example.net")
    with pytest.raises(SecretBoundElsewhere) as caught:
        _refer(evil, user=ben)
    for part in ("SMTP_PASSWORD", "smtp.example.com:587", "developer"):
        assert part in str(caught.value)
    # The same destination is no news.
    set_secrets.claim(item.frozen(()), _content().references, ben)
    # Until a reload, the person who chose it may choose again: ports are found by trying.
    assert set_secrets.refusal(evil.frozen(()), _content().references, anna) == ""
    reload()
    assert set_secrets.refusal(evil.frozen(()), _content().references, anna)


@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.example.net"},
        {"port": 465},
        {"encryption": "ssl"},
        {"username": "other@example.com"},
        {"ca_certificates": ""},
    ],
)
def test_every_part_of_the_destination_counts(make_set, change, users):
    item = _refer(make_set(host="smtp.example.com"), user=users[0])
    for name, value in change.items():
        setattr(item, name, value)
    assert set_secrets.refusal(item.frozen(()), _content().references, users[1])


def test_it_stays_so_when_the_set_is_deleted(make_set, reload, monkeypatch, users):
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    item = _refer(make_set(host="smtp.example.com"), user=users[0])
    reload()
    item.delete()
    revoke(item.key)
    for number in range(3):
        make_set(authentication="none", username="", name=f"Other {number}")
        reload()
    ConfigurationVersion.objects.filter(number=1).delete()
    other = make_set(host="evil.example.net")
    assert set_secrets.refusal(other.frozen(()), _content().references, users[0])


def test_a_reload_drops_what_was_only_tried(make_set, reload, monkeypatch, users):
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    tried = make_set(name="Tried", host="tried.example.com", enabled=False)
    _refer(tried, user=users[0])
    _refer(make_set(name="Used", host="smtp.example.com"), user=users[0])
    reload()
    assert [use.server for use in ReferenceUse.objects.all()] == ["smtp.example.com:587"]
    SettingsSet.objects.filter(pk=tried.pk).update(enabled=True)
    [problem] = live.preview().problems
    assert (problem.set_name, problem.field) == ("Tried", "password")
    assert "smtp.example.com:587" in str(problem)


def test_a_reload_drops_what_was_tried_with_another_path(make_set, reload, secret_file, users):
    link = secret_file.with_name("link")
    link.symlink_to(secret_file)
    evil = make_set(host="evil.example.net", enabled=False).frozen(())
    set_secrets.claim(evil, _content(f"file:{link}").references, users[0])
    _refer(make_set(host="smtp.example.com"), f"file:{secret_file}", users[0])
    reload()
    assert [use.server for use in ReferenceUse.objects.all()] == ["smtp.example.com:587"]


def test_a_developer_may_allow_more(make_set, reload, monkeypatch, users):
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    _refer(make_set(host="smtp.example.com"), user=users[0])
    other = _refer(make_set(host="smtp.example.net"), allow_new_destination=True)
    reload()
    assert set_secrets.refusal(other.frozen(()), _content().references, users[1]) == ""


def test_a_developer_does_not_get_round_the_patterns(make_set):
    with pytest.raises(ReferenceUnreadable, match="SECRET_VARIABLES"):
        _refer(make_set(), "env:DATABASE_URL", allow_new_destination=True)
    assert not ReferenceUse.objects.exists()


def test_another_path_of_the_same_file_is_no_other_secret(make_set, secret_file, users):
    _refer(make_set(host="smtp.example.com"), f"file:{secret_file}", users[0])
    link, hard = secret_file.with_name("link"), secret_file.with_name("hard")
    link.symlink_to(secret_file)
    os.link(secret_file, hard)
    evil = make_set(host="evil.example.net").frozen(())
    for path in (link, hard):
        assert set_secrets.refusal(evil, {PASSWORD: f"file:{path}"}, users[1])
    secret_file.with_name("own").write_text("x")
    assert not set_secrets.refusal(evil, {PASSWORD: f"file:{secret_file.with_name('own')}"})


def test_standard_deliverys_password_stays_with_it(make_set, settings, monkeypatch, users):
    options = {"host": "own.example.com", "port": 587, "use_tls": True, "username": "own"}
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {
        "STANDARD": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": options | {"password": "own-pw"},
        }
    }
    monkeypatch.setenv("SMTP_PASSWORD", "own-pw")
    evil = make_set(host="evil.example.net").frozen(())
    assert "own.example.com:587" in set_secrets.refusal(evil, _content().references, users[0])
    own = make_set(host="own.example.com").frozen(())
    assert set_secrets.refusal(own, _content().references, users[0]) == ""
    # The server of a mailbox gets it too.
    mailbox = replace(own, mailbox_host="evil.example.net")
    assert "own.example.com:587" in set_secrets.refusal(mailbox, _content().references, users[0])
    # With OAuth 2, the secret is sent to the identity provider, whatever the mail server is.
    oauth = {"provider": "other", "flow": "client", "client_id": "x"}
    oauth["token_url"] = "https://evil.example.net/token"
    client = replace(own, authentication="oauth2", oauth=oauth)
    assert "own.example.com:587" in set_secrets.refusal(client, _content().references, users[0])
    monkeypatch.setenv("SMTP_PASSWORD", "another")
    assert set_secrets.refusal(evil, _content().references, users[0]) == ""
    assert set_secrets.refusal(client, _content().references, users[0]) == ""


# What is done with stored passwords


def test_keys_rotate(smtp_server, make_set, reload, password, configure):
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    configure(ENCRYPTION_KEYS=[old])
    _refer(make_set(smtp_server))
    reload()
    configure(ENCRYPTION_KEYS=[new, old])
    call_command("smtp_rotate_keys", verbosity=0)
    configure(ENCRYPTION_KEYS=[new])
    lookup.forget()
    _send()
    assert len(smtp_server.received) == 1


def test_removing_and_making_live_again(smtp_server, make_set, reload, password):
    item = _refer(make_set(smtp_server))
    first = reload()
    item.secret = Secret.store("typed", item.frozen(()).binding(), item.key)
    item.save()
    reload()
    assert live.make_live(first) is not None
    _send()
    assert len(smtp_server.received) == 1
    item.refresh_from_db()
    assert item.secret.references == {PASSWORD: VARIABLE}
    item.secret = None
    item.save()
    revoke(item.key)
    with pytest.raises(ReloadRefused) as caught:
        live.make_live(first)
    assert "was removed" in str(caught.value.problems[0])


def test_a_copied_row_can_not_send_it_elsewhere(make_set, reload, monkeypatch):
    """Whoever can write to the database, but has no encryption key."""
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    item = _refer(make_set(host="smtp.example.com"))
    SettingsSet.objects.filter(pk=item.pk).update(host="evil.example.net")
    assert live.preview().problems
    Secret.objects.filter(pk=item.secret_id).update(references={})
    assert live.preview().problems


def test_dumped_data_can_be_loaded(smtp_server, make_set, reload, password, tmp_path):
    _refer(make_set(smtp_server))
    reload()
    path = tmp_path / "dump.json"
    call_command("dumpdata", "wagtail_smtp", output=str(path), verbosity=0)
    assert password not in path.read_text()
    for model in (ConfigurationVersion, SettingsSet, Secret, ReferenceUse):
        model.objects.all().delete()
    call_command("loaddata", str(path), verbosity=0)
    lookup.forget()
    _send()
    assert len(smtp_server.received) == 1
    assert ReferenceUse.objects.get().is_final


def test_the_difference_names_variables(make_set, reload, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    monkeypatch.setenv("SMTP_OTHER", "y")

    def change():
        [change] = live.preview().changes
        return {field.label: (field.before, field.after) for field in change.fields}["Password"]

    item = _refer(make_set(host="smtp.example.com"))
    assert change() == ("", "environment variable SMTP_PASSWORD")
    reload()
    _refer(item, "env:SMTP_OTHER")
    assert change() == ("environment variable SMTP_PASSWORD", "environment variable SMTP_OTHER")
    item.secret = Secret.store("typed", item.frozen(()).binding(), item.key)
    item.save()
    assert change() == ("environment variable SMTP_PASSWORD", "set")
    item.secret = None
    item.save()
    assert change() == ("environment variable SMTP_PASSWORD", "removed")
    # The same variable, saved once more.
    _refer(item)
    assert not live.preview().changes


def test_threads_that_see_a_rotated_file_share_a_transport(make_set, reload, secret_file):
    with SMTPServer() as server:
        _refer(make_set(server), f"file:{secret_file}")
        reload()
        current = live.current()
        [item] = current.configuration.sets
        first = current.transport(item)
        assert current.transport(item) is first
        secret_file.write_text("rotated, and longer")
        second = current.transport(item)
        assert second is not first
        assert current.transport(item) is second
        assert (first.config.password, second.config.password) != (second.config.password,) * 2
