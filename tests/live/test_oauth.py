"""OAuth 2 from the identity provider to the mail server, the whole way."""

import json
import sys
import time
import traceback
from dataclasses import asdict, replace

import pytest
from django.core import serializers
from django.core.mail import send_mail
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import RequestFactory
from django.views.debug import ExceptionReporter
from wagtail.models import ModelLogEntry

from tests.support.servers.hostile import HostileServer
from tests.support.servers.identity_provider import IdentityProvider
from wagtail_smtp import live, signals
from wagtail_smtp.admin.connection_check.check import ConnectionCheck
from wagtail_smtp.config import crypto
from wagtail_smtp.diagnostics.check_set import try_set
from wagtail_smtp.exceptions import (
    EnvironmentMismatch,
    MessageDeferred,
    ReloadRefused,
    TokenRefused,
)
from wagtail_smtp.live import consents, lookup, token_store
from wagtail_smtp.models import (
    ConfigurationVersion,
    LogAttempt,
    LogEntry,
    OAuthToken,
    Secret,
    SettingsSet,
)
from wagtail_smtp.runtime import project
from wagtail_smtp.transports.oauth import client as oauth_client
from wagtail_smtp.transports.oauth import token_manager


@pytest.fixture
def provider():
    with IdentityProvider() as running:
        yield running


@pytest.fixture
def mail_server(provider):
    with HostileServer(mechanisms=("XOAUTH2",), takes_token=provider.takes) as server:
        yield server


@pytest.fixture
def make_oauth_set(make_set, provider, mail_server):
    """A stored set that logs in with OAuth 2: ``make_oauth_set("consent", …)``."""

    def make(flow="client", *, secret=None, consented=True, **values):
        item = make_set(
            mail_server,
            authentication="oauth2",
            oauth=values.pop("oauth", None) or provider.oauth(flow),
            **values,
        )
        config = item.frozen(())
        item.secret = Secret.store(secret or provider.client_secret, config.binding(), item.key)
        item.save()
        if flow == "consent" and consented:
            consent(item, provider)
        return item

    return make


def consent(item, provider):
    """What the admin's pages do, without them."""
    config = item.frozen(())
    client = token_store.client_of(config, token_store.reveal(config, item.secret))
    asked = oauth_client.start_consent(client, "http://testserver/back", "a state")
    answer = provider.allow(asked.url).partition("?")[2]
    query = dict(pair.split("=") for pair in answer.split("&"))
    consents.keep(
        config, oauth_client.finish_consent(client, asked.pending, query), may_reload=True
    )


def send(to="someone@example.org"):
    return send_mail("Subject", "Body", None, [to])


def spend(seconds):
    """Let the stored tokens grow older."""
    for row in OAuthToken.objects.all():
        for item in SettingsSet.objects.filter(key=row.owner):
            config = item.frozen(())
            kept = token_store.DatabaseTokenStore(config).load()
            if kept.token is None:
                continue
            older = replace(
                kept.token,
                obtained_at=kept.token.obtained_at - seconds,
                expires_at=kept.token.expires_at - seconds,
            )
            OAuthToken.objects.filter(pk=row.pk).update(
                ciphertext=crypto.encrypt(
                    json.dumps(asdict(older)), token_store.binding_of(config)
                ),
                expires_at=project.from_seconds(older.expires_at),
                number=row.number + 1,
            )


def close_sessions():
    lookup.forget()


def test_the_whole_way_as_the_site_itself(make_oauth_set, provider, mail_server):
    make_oauth_set()
    live.reload()
    assert send() == 1
    assert mail_server.tokens[0][0] == "user@example.com"
    assert mail_server.violations == []
    assert [form["grant_type"] for form in provider.asked] == ["client_credentials"]
    close_sessions()
    assert send() == 1
    assert len(provider.asked) == 1  # the stored token served the second login


def test_the_whole_way_by_consent_with_rotation(make_oauth_set, provider, mail_server):
    make_oauth_set("consent")
    live.reload()
    assert send() == 1
    for _ in range(3):
        spend(3590)
        close_sessions()
        assert send() == 1
    assert [form["grant_type"] for form in provider.asked] == ["authorization_code"] + [
        "refresh_token"
    ] * 3
    assert len({token for _user, token in mail_server.tokens}) == 4


def _consent_dates():
    """When the consent ends, and since when the provider says so."""
    token = token_store.DatabaseTokenStore(SettingsSet.objects.get().frozen(())).load().token
    return token.consent_ends_at, token.consent_dated_at


def test_the_end_of_a_consent(make_oauth_set, provider):
    """Google tells it, for example for an app in status “Testing”."""
    provider.consent_lifetime = 7 * 86400
    make_oauth_set("consent")
    live.reload()
    ends_at, dated_at = first = _consent_dates()
    assert ends_at - dated_at == 7 * 86400
    assert abs(dated_at - time.time()) < 60
    for lifetime in (7 * 86400 - 10, None):  # the rest of it, or nothing
        spend(3590)
        close_sessions()
        provider.consent_lifetime, provider.rotates = lifetime, False
        assert send() == 1
        assert _consent_dates() == first
    # A renewal extends it.
    spend(3590)
    close_sessions()
    provider.consent_lifetime = 14 * 86400
    assert send() == 1
    ends_at, dated_at = _consent_dates()
    assert ends_at - dated_at == 14 * 86400
    assert dated_at > first[1]


def test_a_consent_without_an_end(make_oauth_set):
    make_oauth_set("consent")
    live.reload()
    assert _consent_dates() == (0, 0)


def test_a_provider_that_keeps_its_refresh_token(make_oauth_set, provider):
    provider.rotates = False
    make_oauth_set("consent")
    live.reload()
    for _ in range(2):
        spend(4000)
        close_sessions()
        assert send() == 1


def test_oauthbearer(make_oauth_set, provider, mail_server):
    mail_server.mechanisms = ("OAUTHBEARER",)
    make_oauth_set()
    live.reload()
    assert send() == 1
    assert mail_server.violations == []


def test_a_revoked_access_token_is_renewed_once(make_oauth_set, provider, mail_server, monkeypatch):
    monkeypatch.setattr(token_manager, "NEW", 0)
    make_oauth_set("consent")
    live.reload()
    assert send() == 1
    provider.revoke()
    close_sessions()
    assert send() == 1
    assert mail_server.violations == []
    assert provider.asked[-1]["grant_type"] == "refresh_token"


def test_a_server_that_takes_no_token_is_asked_twice_at_most(
    make_oauth_set, provider, mail_server, monkeypatch
):
    monkeypatch.setattr(token_manager, "NEW", 0)
    mail_server.takes_token = lambda user, token: False
    make_oauth_set()
    live.reload()
    with pytest.raises(MessageDeferred) as caught:
        send()
    assert caught.value.code == 535
    auth = [line for line in mail_server.transcript if line.startswith("AUTH")]
    assert len(auth) == 2
    assert len(provider.asked) == 2
    assert mail_server.violations == []


def test_a_withdrawn_consent_defers_mail_to_the_backup(
    make_oauth_set, provider, mail_server, make_set, smtp_server, admins
):
    item = make_oauth_set("consent", name="Office")
    make_set(smtp_server, name="Spare", backup=True)
    live.reload()
    provider.revoke(refresh=True)
    spend(4000)
    assert send() == 1
    assert len(smtp_server.received) >= 1  # the message, and the alert
    subjects = [received.message["Subject"] for received in smtp_server.received]
    assert "Subject" in subjects
    assert any("“Office” is failing" in subject for subject in subjects)
    state = consents.states([item.frozen(())])[str(item.key)]
    assert (state.kind, state.refusal.reason) == ("refused", "consent-ended")


def test_a_refusal_ahead_of_the_end_is_told_while_mail_leaves(
    make_oauth_set, provider, mail_server, admins
):
    item = make_oauth_set("consent", name="Office")
    live.reload()
    assert send() == 1
    spend(3300)  # 5 minutes are left
    provider.refuse = ("invalid_client", "AADSTS7000222: The provided client secret keys expired.")
    close_sessions()
    assert send() == 1
    state = consents.states([item.frozen(())])[str(item.key)]
    assert (state.kind, state.refusal.reason) == ("refused", "secret-expired")
    assert send() == 1  # whatever the first message's alert went over
    told = [m.message for m in mail_server.received if "will fail soon" in m.message["Subject"]]
    assert len(told) == 1
    assert "AADSTS7000222" in told[0].get_content()
    # While it is refused the provider isn't asked with each message.
    before = len(provider.asked)
    close_sessions()
    assert send() == 1
    assert len(provider.asked) == before
    # A new token puts an end to it.
    provider.refuse = None
    OAuthToken.objects.update(refused_at="2020-01-01T00:00:00Z")
    close_sessions()
    assert send() == 1
    assert consents.states([item.frozen(())])[str(item.key)].kind == "valid"


@pytest.fixture
def _tokens_are_checked(monkeypatch):
    """Not only once in a while, since an earlier test may have checked them."""
    monkeypatch.setattr(consents, "_next_check", 0.0)


@pytest.mark.usefixtures("_tokens_are_checked")
def test_an_idle_worker_renews_live_tokens(make_oauth_set, provider):
    item = make_oauth_set("consent", name="Office")
    live.reload()
    spend(3300)  # 5 minutes are left
    close_sessions()
    before = token_store.DatabaseTokenStore(item.frozen(())).load().token
    signals.outbox_idle.send(None)
    after = token_store.DatabaseTokenStore(item.frozen(())).load().token
    assert after.access != before.access
    assert after.expires_at > time.time() + 3000


@pytest.mark.usefixtures("_tokens_are_checked")
def test_an_idle_worker_of_a_copy_renews_nothing(make_oauth_set, provider, run_in):
    """The identity provider may then refuse the token of the site that was copied."""
    run_in("production")
    item = make_oauth_set("consent", name="Office")
    live.reload()
    spend(3300)
    run_in("staging")
    store = token_store.DatabaseTokenStore(item.frozen(()))
    before = store.load().token.access
    signals.outbox_idle.send(None)
    assert store.load().token.access == before


def test_a_test_in_a_copy_renews_nothing_either(make_oauth_set, provider, run_in):
    run_in("production")
    item = make_oauth_set("consent", name="Office")
    live.reload()
    spend(3300)
    run_in("staging")
    store = token_store.DatabaseTokenStore(item.frozen(()))
    before = store.load().token.access
    with pytest.raises(EnvironmentMismatch, match="“production”"):
        try_set(item)
    with pytest.raises(EnvironmentMismatch, match="“production”"):
        ConnectionCheck.prepare(item.frozen(()), item.secret, is_typed=False)
    assert store.load().token.access == before
    # Given here, it waits for the reload, and is tested.
    consent(item, provider)
    assert [result.stage.name for result in try_set(item) if result.stage.error] == []
    assert store.load().token.access == before


@pytest.mark.usefixtures("_tokens_are_checked")
def test_an_idle_worker_alerts_about_a_refused_token(
    make_oauth_set, provider, make_set, smtp_server, admins
):
    """Before any email fails."""
    make_oauth_set("consent", name="Office")
    make_set(smtp_server, name="Spare", backup=True)
    live.reload()
    provider.revoke(refresh=True)
    spend(4000)
    close_sessions()
    signals.outbox_idle.send(None)
    [alert] = [received.message for received in smtp_server.received]
    assert "“Office”" in alert["Subject"]
    assert "will fail soon" in alert["Subject"]


def test_a_provider_that_hangs_is_bounded(make_oauth_set, provider, monkeypatch):
    monkeypatch.setattr(oauth_client, "LONGEST", 0.5)
    make_oauth_set()
    live.reload()
    provider.hang.set()
    began = time.monotonic()
    with pytest.raises(TokenRefused) as caught:
        send()
    assert time.monotonic() - began < 5
    assert caught.value.reason == "unreachable"
    assert provider.client_secret not in str(caught.value)


def test_a_provider_that_hangs_costs_no_mail_while_the_token_is_valid(
    make_oauth_set, provider, mail_server, monkeypatch
):
    monkeypatch.setattr(oauth_client, "LONGEST", 0.5)
    make_oauth_set("consent")
    live.reload()
    spend(3300)
    provider.hang.set()
    for _ in range(3):
        close_sessions()
        assert send() == 1
    # The first message waited for it, and noted that for the others.
    assert OAuthToken.objects.get().refusal["reason"] == "unreachable"
    provider.hang.clear()
    assert len(mail_server.received) == 3


def report_of_failing_send():
    """Django's, whose frames begin here, where nothing secret is at hand."""
    try:
        send()
    except MessageDeferred:
        reporter = ExceptionReporter(RequestFactory().get("/"), *sys.exc_info())
        return (
            reporter.get_traceback_html()
            + reporter.get_traceback_text()
            + "".join(traceback.format_exc())
        )
    raise AssertionError("it was sent")


@pytest.mark.parametrize("refusal", ["provider", "server"])
def test_no_secret_in_an_error_report(
    make_oauth_set, provider, mail_server, caplog, refusal, monkeypatch
):
    item = make_oauth_set("consent")
    live.reload()
    kept = token_store.DatabaseTokenStore(item.frozen(())).load().token
    hidden = [provider.client_secret, kept.refresh, kept.access]
    if refusal == "provider":
        spend(4000)
        provider.refuse = ("invalid_grant", f"echo {kept.refresh} {provider.client_secret}")
    else:
        mail_server.takes_token = lambda user, token: False
    told = report_of_failing_send() + caplog.text
    told += repr(list(LogEntry.objects.values())) + repr(list(LogAttempt.objects.values()))
    told += repr(list(ModelLogEntry.objects.values()))
    told += serializers.serialize("json", [*OAuthToken.objects.all(), *Secret.objects.all()])
    told += serializers.serialize("json", ConfigurationVersion.objects.all())
    for secret in hidden:
        assert secret not in told


@pytest.mark.parametrize("body", [b"x" * 300_000, b"<html>", b"[]", b"{}", b'{"access_token":""}'])
def test_answers_that_are_none(make_oauth_set, provider, body):
    make_oauth_set()
    live.reload()
    provider.body = body
    with pytest.raises(TokenRefused):
        send()


def test_no_redirect_is_followed(make_oauth_set, provider):
    with IdentityProvider() as elsewhere:
        make_oauth_set()
        live.reload()
        provider.redirect_to = f"{elsewhere.url}/token"
        with pytest.raises(TokenRefused):
            send()
        assert elsewhere.asked == []


def test_a_rollback_loses_no_rotated_token(make_oauth_set, provider, mail_server):
    make_oauth_set("consent")
    live.reload()
    spend(4000)
    with transaction.atomic():
        assert send() == 1
        transaction.set_rollback(True)
    rolled_back = OAuthToken.objects.get().number
    close_sessions()
    assert send() == 1
    row = OAuthToken.objects.get()
    assert row.number > rolled_back
    assert [form["grant_type"] for form in provider.asked].count("refresh_token") == 1
    spend(4000)
    close_sessions()
    assert send() == 1  # by the refresh token that came inside the transaction


def test_a_reload_without_consent_is_refused(make_oauth_set):
    make_oauth_set("consent", consented=False)
    with pytest.raises(ReloadRefused) as caught:
        live.reload()
    assert "Connect" in str(caught.value.problems[0])


@pytest.mark.parametrize(
    "change",
    [
        {"host": "localhost"},
        {"username": "other@example.com"},
        {"oauth": {"client_id": "another"}},
        {"oauth": {"token_url": "https://login.example.com/token"}},
        {"oauth": {"authorize_url": "https://login.example.com/authorize"}},
        {"oauth": {"scope": "more"}},
    ],
)
def test_any_change_asks_for_consent_again(make_oauth_set, provider, change):
    item = make_oauth_set("consent")
    assert not consents.is_consent_missing(item.frozen(()))
    oauth = change.pop("oauth", {})
    for name, value in change.items():
        setattr(item, name, value)
    item.oauth = item.oauth | oauth
    assert consents.is_consent_missing(item.frozen(()))
    with pytest.raises(Exception, match="another server or user"):
        token_store.reveal(item.frozen(()), item.secret)


def test_a_moved_row_is_of_no_use(make_oauth_set, provider):
    """Whoever can write to the database can't take a token to another server."""
    item = make_oauth_set("consent")
    item.host = "localhost"
    OAuthToken.objects.update(fingerprint=token_store.fingerprint(item.frozen(())))
    with pytest.raises(TokenRefused) as caught:
        token_store.source(item.frozen(()), "").current()
    assert caught.value.reason == "consent-needed"


def test_live_keeps_its_token_while_the_set_is_edited(make_oauth_set, provider, mail_server):
    item = make_oauth_set("consent")
    version = live.reload()
    item.username = "other@example.com"
    config = item.frozen(())
    item.secret = Secret.store(provider.client_secret, config.binding(), item.key)
    item.save()
    assert send() == 1
    consent(item, provider)
    live.reload()
    assert send() == 1
    assert mail_server.tokens[-1][0] == "other@example.com"
    live.make_live(version)
    assert send() == 1
    assert mail_server.tokens[-1][0] == "user@example.com"


def test_removing_revokes_but_what_is_live_until_the_reload(make_oauth_set, mail_server):
    from wagtail_smtp.live.publish import revoke

    item = make_oauth_set("consent")
    version = live.reload()
    item.secret, item.authentication, item.oauth = None, "none", {}
    item.save()
    revoke(item.key)
    assert send() == 1
    live.reload()
    assert OAuthToken.objects.count() == 0
    with pytest.raises(ReloadRefused):
        live.make_live(version)


def test_keys_rotate(make_oauth_set, settings):
    from cryptography.fernet import Fernet

    first, second = (Fernet.generate_key().decode() for _ in range(2))
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ENCRYPTION_KEYS": [first]}
    make_oauth_set("consent")
    live.reload()
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ENCRYPTION_KEYS": [second, first]}
    call_command("smtp_rotate_keys")
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ENCRYPTION_KEYS": [second]}
    close_sessions()
    assert send() == 1


def test_the_commands_say_it(make_oauth_set, provider, capsys):
    make_oauth_set(name="Office")
    live.reload()
    call_command("smtp_test", "--set", "Office")
    call_command("smtp_status")
    assert "access token: valid" in capsys.readouterr().out
    provider.refuse = ("invalid_client", "AADSTS7000222: expired")
    OAuthToken.objects.all().delete()
    with pytest.raises(CommandError, match="The client secret has expired"):
        call_command("smtp_test", "--set", "Office")


def test_nothing_secret_in_repr(make_oauth_set, provider):
    from wagtail_smtp.live.resolve import transport_config

    item = make_oauth_set("consent")
    config = transport_config(item.frozen(()), item.secret)
    kept = token_store.DatabaseTokenStore(item.frozen(())).load()
    shown = repr(config) + repr(kept) + repr(config.tokens) + repr(vars(OAuthToken.objects.get()))
    for secret in (provider.client_secret, kept.token.access, kept.token.refresh):
        assert secret not in shown
