"""Passwords: where they may go, and where they must never be seen."""

import base64
import logging
import random
import sys
import traceback

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.mail import EmailMessage, send_mail
from django.core.management import CommandError, call_command
from django.test import RequestFactory
from django.views.debug import ExceptionReporter

from tests.support.servers.smtp_server import SMTPServer
from tests.transports.test_guard import scripted
from wagtail_smtp.config import crypto
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.exceptions import EmailDeliveryError, SecretBoundElsewhere, SecretUnreadable
from wagtail_smtp.live import current, lookup
from wagtail_smtp.management.commands import smtp_rotate_keys
from wagtail_smtp.models import (
    ConfigurationVersion,
    LogEntry,
    Secret,
    SettingsSet,
    StoredMessage,
    StoredPiece,
)

CANARY = "c4nary-in-the-mine"
BINDING = {"host": "a", "username": "u"}


def _keys(settings, *keys):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ENCRYPTION_KEYS": keys}


def test_a_secret_opens_for_its_destination_alone():
    token = crypto.encrypt(CANARY, BINDING)
    assert crypto.decrypt(token, BINDING) == CANARY
    with pytest.raises(SecretBoundElsewhere) as caught:
        crypto.decrypt(token, BINDING | {"host": "evil"})
    assert CANARY not in str(caught.value)
    with pytest.raises(SecretUnreadable):
        crypto.decrypt(token[:-4], BINDING)


def test_keys_rotate(settings):
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    _keys(settings, old)
    token = crypto.encrypt(CANARY, BINDING)
    _keys(settings, new, old)
    rotated = crypto.rotate(token)
    _keys(settings, new)
    assert crypto.decrypt(rotated, BINDING) == CANARY
    with pytest.raises(SecretUnreadable):
        crypto.decrypt(token, BINDING)
    with pytest.raises(SecretUnreadable):
        crypto.rotate(token)


def test_a_changed_secret_key_with_its_fallback(settings):
    token = crypto.encrypt(CANARY, BINDING)
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another key that is long enough"
    with pytest.raises(SecretUnreadable):
        crypto.decrypt(token, BINDING)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert crypto.decrypt(token, BINDING) == CANARY


def _seen(caplog):
    """All that a log, a traceback or Django's error page shows of the error being handled."""
    kind, error, trace = sys.exc_info()
    request = RequestFactory().get("/")
    reporter = ExceptionReporter(request, kind, error, trace)
    return "\n".join(
        [
            str(error),
            repr(error),
            repr(vars(error)),
            "".join(traceback.format_exception(error)),
            reporter.get_traceback_text(),
            reporter.get_traceback_html(),
            caplog.text,
        ]
    )


def _failure(caplog):
    """Phase and text of the error that sending ends in, and all that could be seen of it."""
    try:
        send_mail("Hi", "Body", None, ["real@example.org"])
    except EmailDeliveryError as error:
        # While it is being handled, as error reporters see it.
        return error.phase, str(error), _seen(caplog)
    return pytest.fail("the login must fail")


@pytest.fixture(params=["rejects", "drops", "echoes"])
def failing_login(request, make_set):
    """A live set whose server ends badly at AUTH."""
    if request.param == "rejects":
        with SMTPServer() as server:
            make_set(server, password=CANARY)
            yield
        return
    answer = None if request.param == "drops" else f"535 no {CANARY}\r\n".encode()
    replies = (b"250-x\r\n250 AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n", answer, answer, answer)
    with scripted(*replies) as (port, _lines):
        make_set(port=port, encryption="none", ca_certificates="", password=CANARY)
        yield


@pytest.mark.parametrize("debug", [True, False])
def test_a_failed_login_does_not_show_the_password(failing_login, reload, caplog, settings, debug):
    settings.DEBUG = debug
    caplog.set_level(logging.DEBUG)
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # the server's own
    reload()
    phase, _text, seen = _failure(caplog)
    assert phase == "auth"
    assert CANARY not in seen
    assert base64.b64encode(CANARY.encode()).decode() not in seen


def test_a_password_that_is_not_ascii(make_set, reload, caplog):
    with SMTPServer(password="pässwörd") as server:
        make_set(server)
        reload()
        send_mail("Hi", "Body", None, ["real@example.org"])
        assert len(server.received) == 1
        server.password = "another"
        lookup.forget()
        phase, _text, seen = _failure(caplog)
    assert phase == "auth"
    assert "pässwörd" not in seen
    assert "p\\xe4ss" not in seen


def test_it_is_nowhere_in_the_clear(make_set, reload, caplog):
    item = make_set(password=CANARY)
    reload()
    dump = serializers.serialize(
        "json",
        [*SettingsSet.objects.all(), *Secret.objects.all(), *ConfigurationVersion.objects.all()],
    )
    live = current()
    transport = live.transport(live.configuration.sets[0])
    shown = [dump, repr(live), repr(live.configuration), repr(transport), repr(transport.config)]
    shown += [repr(item), repr(item.secret), str(item.secret), repr(vars(item)), caplog.text]
    assert not any(CANARY in text for text in shown)
    assert transport.config.password == CANARY


def test_stored_messages_rotate_too(db, settings, monkeypatch):
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    monkeypatch.setattr(smtp_rotate_keys, "_BATCH", 2)
    _keys(settings, old)
    entries = [LogEntry.objects.create(state="failed", category="other") for _ in range(5)]
    for number, entry in enumerate(entries):
        stored_message.keep(entry, b"message %d" % number)
    broken = StoredMessage.objects.get(entry=entries[1])
    StoredMessage.objects.filter(pk=broken.pk).update(content=b"?")
    _keys(settings, new, old)
    with pytest.raises(
        CommandError, match="0 passwords, 0 tokens and 1 messages can't be decrypted"
    ):
        call_command("smtp_rotate_keys", verbosity=0)
    _keys(settings, new)
    for number in (0, 2, 3, 4):
        stored = StoredMessage.objects.get(entry=entries[number])
        assert crypto.unseal(bytes(stored.content)) == b"message %d" % number
        assert len(stored.content) == stored.size


def test_so_does_each_piece_of_a_large_message(db, settings):
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    _keys(settings, old)
    entry = LogEntry.objects.create(state="failed", category="other")
    message = EmailMessage("Hi", "Body", "a@example.com", ["b@example.com"])
    message.attach("a.bin", random.Random(1).randbytes(10**6), "application/octet-stream")
    frozen = stored_message.freeze(message).content
    stored_message.keep(entry, frozen)
    _keys(settings, new, old)
    call_command("smtp_rotate_keys", verbosity=0)
    _keys(settings, new)
    assert StoredPiece.objects.exists()
    content = stored_message.load(entry).frozen_content
    assert content == stored_message.thaw(frozen).frozen_content


def test_a_message_that_goes_while_keys_rotate(db, settings, monkeypatch):
    for _ in range(3):
        stored_message.keep(LogEntry.objects.create(state="failed", category="other"), b"message")
    reseal = crypto.reseal

    def reseal_while_a_worker_works(token):
        StoredMessage.objects.order_by("pk").last().delete()
        stored_message.keep(LogEntry.objects.create(state="queued", category="other"), b"new")
        monkeypatch.setattr(crypto, "reseal", reseal)
        return reseal(token)

    monkeypatch.setattr(crypto, "reseal", reseal_while_a_worker_works)
    call_command("smtp_rotate_keys", verbosity=0)
    contents = [crypto.unseal(bytes(stored.content)) for stored in StoredMessage.objects.all()]
    assert sorted(contents) == [b"message", b"message", b"new"]
