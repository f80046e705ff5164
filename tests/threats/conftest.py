"""A site with a secret of every kind, all of them in use."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.urls import reverse

from tests.admin.conftest import admin_client as admin_client
from tests.admin.conftest import make_user as make_user
from tests.support import telemetry_sdk
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.identity_provider import IdentityProvider
from tests.support.servers.provider_server import Answer, ProviderServer, Request
from tests.support.servers.receiver import Receiver
from tests.support.servers.smtp_server import CA_PEM
from tests.threats.canaries import Canaries
from wagtail_smtp import email_category, live, tracking
from wagtail_smtp.backend import EmailBackend
from wagtail_smtp.conf import hide_urls
from wagtail_smtp.config.references import PASSWORD, Reference, SecretContent
from wagtail_smtp.live import consents, set_secrets, token_store
from wagtail_smtp.models import OAuthToken, Secret, SettingsSet
from wagtail_smtp.transports.oauth import client as oauth_client

#: The categories that the sets send, in the order of the sets.
CATEGORIES = ("one", "two", "three", "four", "five", "six", "seven")


# Without repr: error reports show the variables of the tests' frames, and servers have passwords.
@dataclass(repr=False)
class Site:
    """A site, its secrets, and the servers that its email goes to."""

    canaries: Canaries
    echoing: HostileServer
    working: HostileServer
    #: Standard delivery's, which also gets alerts and error email.
    own: HostileServer

    def send_everything(self) -> list[Exception]:
        """Send a message through each set, and security messages; the errors."""
        errors = []
        for category in CATEGORIES:
            try:
                with email_category(category):
                    EmailMessage("Subject", "Text", None, ["real@example.org"]).send()
            except Exception as error:
                errors.append(error)
        self._send_codes()
        return errors

    def _send_codes(self) -> None:
        with email_category("security"):
            code = EmailMessage("Code", self.canaries["one-time code"], None, ["a@example.org"])
            with suppress(Exception):
                code.send()
            queued = self.canaries["queued one-time code"]
            EmailBackend(delivery="queued").send_messages(
                [EmailMessage("Code", queued, None, ["b@example.org"])]
            )


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture
def site(
    canaries: Canaries,
    make_set: Callable[..., SettingsSet],
    admins: list[str],
    configure: Callable[..., None],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> Iterator[Site]:
    """Sets with each kind of secret, live; their servers repeat what they are told."""
    telemetry_sdk.start()
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    with ExitStack() as stack:
        working = stack.enter_context(HostileServer(password=canaries["SMTP password"]))
        told = " ".join(
            text + " " + base64.b64encode(text.encode()).decode()
            for text in (f"user@example.com {value}" for value in canaries.values.values())
        )
        refusal = Fault("auth", "refuse", f"535 5.7.8 {told}"[:4000])
        mechanisms = ("PLAIN", "LOGIN", "XOAUTH2")
        echoing = stack.enter_context(HostileServer(faults=[refusal], mechanisms=mechanisms))
        own_password = canaries["password of the default credentials"]
        own = stack.enter_context(HostileServer("none", password=own_password))
        alarm = stack.enter_context(Receiver())
        files = tmp_path / "secrets"
        files.mkdir()
        (files / "smtp").write_text(canaries["password from a file"] + "\n")
        monkeypatch.setenv("SMTP_CANARY", canaries["password from a variable"])
        standard = {"host": "127.0.0.1", "port": own.port}
        standard |= {"username": own.username, "password": own_password}
        channel = canaries["alert channel"].replace("/", "%2F")
        configure(
            ENCRYPTION_KEYS=[canaries["encryption key"]],
            CATEGORIES={slug: slug for slug in CATEGORIES},
            STANDARD={
                "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
                "OPTIONS": standard,
            },
            SECRET_DIRECTORIES=[files],
            ALERTS=[f"json://user:{channel}@127.0.0.1:{alarm.port}/{channel}?-t={channel}"],
            # A message of each category finds its server as if it were the first.
            COOL_DOWN=0.001,
        )
        hide_urls()  # as at start
        make_set(working, name="Works", categories=["one"], password=canaries["SMTP password"])
        make_set(echoing, name="Echoes", categories=["two"], password=canaries["SMTP password"])
        _reference(make_set, echoing, "Variable", "three", Reference("env", "SMTP_CANARY"))
        _reference(make_set, echoing, "File", "four", Reference("file", str(files / "smtp")))
        make_set(
            name="Default",
            categories=["five"],
            authentication="default",
            username="",
            host="",
            ca_certificates="",
        )
        _provider(stack, make_set, canaries)
        _oauth(stack, make_set, canaries, echoing)
        live.reload()
        yield Site(canaries, echoing, working, own)


def _reference(
    make_set: Callable[..., SettingsSet],
    server: HostileServer,
    name: str,
    category: str,
    reference: Reference,
) -> None:
    item = make_set(server, name=name, categories=[category])
    item.secret = set_secrets.store(item.frozen(()), SecretContent.of({PASSWORD: reference}))
    item.save()


def _provider(stack: ExitStack, make_set: Callable[..., SettingsSet], canaries: Canaries) -> None:
    """A provider that refuses, and says with which headers it was asked."""

    def refuse(request: Request) -> Answer:
        return Answer(401, {"message": request.text, "status": "error"})

    server = stack.enter_context(ProviderServer(refuse))
    item = make_set(
        name="Provider",
        transport="postal",
        provider={"api_url": server.url},
        categories=["six"],
        authentication="none",
        username="",
        host="",
        ca_certificates=CA_PEM,
    )
    keys = json.dumps({"api_key": canaries["API key"]})
    item.secret = Secret.store(keys, item.frozen(()).binding(), item.key)
    item.save()
    known = tracking.renew(item, "http://testserver" + _webhook(item))
    canaries.add("webhook password", known.password)
    tracking.change_key(item, canaries["webhook key"])


def _webhook(item: SettingsSet) -> str:
    return reverse("wagtail_smtp:webhook", args=[item.key, item.transport])


def _oauth(
    stack: ExitStack,
    make_set: Callable[..., SettingsSet],
    canaries: Canaries,
    server: HostileServer,
) -> None:
    """A consent, whose access and refresh token are stored."""
    secret = canaries["OAuth 2 client secret"]
    provider = stack.enter_context(IdentityProvider(client_secret=secret))
    item = make_set(
        server,
        name="OAuth",
        categories=["seven"],
        authentication="oauth2",
        oauth=provider.oauth("consent"),
    )
    item.secret = Secret.store(secret, item.frozen(()).binding(), item.key)
    item.save()
    config = item.frozen(())
    client = token_store.client_of(config, token_store.reveal(config, item.secret))
    asked = oauth_client.start_consent(client, "http://testserver/back", "a state")
    answer = provider.allow(asked.url).partition("?")[2]
    query = dict(pair.split("=") for pair in answer.split("&"))
    token = oauth_client.finish_consent(client, asked.pending, query)
    consents.keep(config, token, may_reload=True)
    [access], [refresh] = list(provider.access), list(provider.refresh)
    canaries.add("access token", access)
    canaries.add("refresh token", refresh)
    assert OAuthToken.objects.exclude(ciphertext="").exists()


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every logger at its lowest level, those of libraries included."""
    caplog.set_level(1)
    names = [name for name in logging.root.manager.loggerDict if "pytest" not in name]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(1)
    yield caplog
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
