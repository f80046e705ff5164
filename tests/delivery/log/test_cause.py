"""The cause stored in the log is that of the exception itself."""

import smtplib
import socket
import ssl
from dataclasses import replace

import pytest
from django.core import mail
from django.core.mail import EmailMessage

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.smtp_server import free_port
from wagtail_smtp import signals
from wagtail_smtp.causes import by_slug, explain
from wagtail_smtp.causes.base import Failure
from wagtail_smtp.config.values import Attempt
from wagtail_smtp.delivery.log import entries
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.delivery.routing import STANDARD_DELIVERY, Classification, Route
from wagtail_smtp.diagnostics.check_set import EmailTestResult, _listening_for, send_test_email
from wagtail_smtp.exceptions import (
    DestinationRefused,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    RecipientsSuppressed,
    RedirectError,
    SecretUnreadable,
)
from wagtail_smtp.models import LogEntry, Secret
from wagtail_smtp.transports.smtp.stream import connection_lost


def _unverified(code, words):
    error = ssl.SSLCertVerificationError(
        1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {words} (_ssl.c:1006)"
    )
    error.verify_code = code
    return error


def _lost(phase, cause):
    error = connection_lost("Office", phase, cause)
    error.__cause__ = cause
    return error


def _failed(error, item=None, attempts=()):
    """The result of a message that failed, at the server of ``item`` if there is one."""
    message = EmailMessage("Hi", "Body", None, ["someone@example.org"])
    delivery = DeliveryResult.of_failure(message, Classification("other", "default"), error)
    if item is None:
        return replace(delivery, attempts=attempts)
    attempts = (Attempt(item.name, 0.1, item.key, error=error),)
    route = Route("other", (item,), "first set that applies")
    return replace(delivery, route=route, attempts=attempts)


ERRORS = [
    (_lost("connect", ConnectionRefusedError(111, "Connection refused")), 587, "starttls"),
    (_lost("connect", socket.gaierror(-2, "Name or service not known")), 587, "starttls"),
    (_lost("connect", TimeoutError("timed out")), 25, "none"),
    (_lost("connect", TimeoutError("timed out")), 2525, "none"),
    (_lost("connect", OSError(113, "No route to host")), 587, "starttls"),
    (_lost("tls", ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version")), 587, "ssl"),
    (_lost("tls", _unverified(10, "certificate has expired")), 587, "starttls"),
    (_lost("tls", _unverified(62, "Hostname mismatch, certificate is not")), 587, "starttls"),
    (_lost("tls", _unverified(64, "IP address mismatch, certificate is not")), 587, "starttls"),
    (_lost("tls", _unverified(20, "unable to get local issuer")), 465, "ssl"),
    (_lost("starttls", smtplib.SMTPNotSupportedError("the server doesn't offer STARTTLS, and")),
     587, "starttls"),
    (_lost("banner", smtplib.SMTPServerDisconnected("closed")), 465, "starttls"),
    (_lost("mail", smtplib.SMTPServerDisconnected("closed")), 587, "starttls"),
    (MessageDeferred("Office: all 8 sessions were in use", phase="pool"), 587, "starttls"),
    (MessageDeferred("no", phase="auth", code=535, reply="5.7.3 No"), 587, "starttls"),
    (MessageRefused("no", phase="rcpt", code=550, reply="5.1.1 No"), 587, "starttls"),
    (DestinationRefused("Connecting to 169.254.169.254 is not allowed."), 25, "none"),
    (SecretUnreadable("Das Passwort fehlt."), 587, "starttls"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "port", "encryption"), ERRORS)
def test_the_same_cause(db, make_set, error, port, encryption):
    item = make_set(name="Office", port=port, encryption=encryption).frozen(())
    delivery = _failed(error, item)
    entry = entries.record(delivery)
    assert entry.cause == explain(Failure.of(error, item.host, port, encryption)).slug


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (RedirectError("no address"), "redirect-without-address"),
        (MessageTooLarge("no"), "too-large"),
        (MessageOutcomeUnknown("no"), "outcome-unknown"),
        (RecipientsSuppressed("no"), "suppressed"),
    ],
)
def test_states_without_attempts(db, error, slug):
    assert entries.record(_failed(error)).cause == slug
    assert by_slug(slug)


def test_an_unknown_cause(db):
    assert entries.record(_failed(OSError("no"))).cause == ""
    attempt = Attempt("standard delivery", 0, error=ValueError("a backend of the project"))
    assert entries.record(_failed(attempt.error, attempts=(attempt,))).cause == ""


def test_explaining_never_keeps_an_entry_from_being_written(db, make_set, monkeypatch):
    monkeypatch.setattr("wagtail_smtp.delivery.log.cause.explain", lambda failure: 1 / 0)
    item = make_set(name="Office").frozen(())
    entry = entries.record(_failed(MessageDeferred("no", phase="rcpt", code=450), item))
    assert (entry.state, entry.cause) == ("failed", "")


FAULTS = [
    (Fault("auth", "refuse", "535 5.7.8 No"), "login-refused"),
    (Fault("rcpt", "refuse", "550 5.1.1 No such user"), "unknown-recipient"),
    (Fault("connect", "refuse"), "refused"),
    (Fault("handshake", "expired"), "certificate-expired"),
    (Fault("handshake", "wrong name"), "certificate-wrong-name"),
    (Fault("handshake", "self-signed"), "certificate-unknown-issuer"),
    (Fault("end", "close"), "outcome-unknown"),
]


@pytest.mark.parametrize(("fault", "slug"), FAULTS, ids=lambda value: str(value)[:40])
def test_real_servers(make_set, reload, fault, slug):
    with HostileServer(faults=[fault]) as server:
        make_set(server, name="Office")
        reload()
        result = send_test_email("me@example.org")
    assert result.reason
    assert not result.is_waiting
    assert result.entry.cause == slug


def test_one_of_two_recipients_is_refused(make_set, reload):
    refused = (("no@example.org", "550 5.1.1 No such user"),)
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=refused)]) as server:
        make_set(server, name="Office")
        reload()
        EmailMessage("Hi", "Body", None, ["yes@example.org", "no@example.org"]).send()
    entry = LogEntry.objects.get()
    assert entry.state == "partly_sent"
    assert entry.cause == "unknown-recipient"


def test_standard_delivery_is_down(db, configure):
    configure(
        STANDARD={
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": free_port()},
        }
    )
    result = send_test_email("me@example.org")
    assert result.entry.cause == "refused"


def test_standard_delivery_is_not_configured(db, configure):
    # Django's default; MAILERS has none and wants it written.
    configure(
        STANDARD={
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "localhost"},
        }
    )
    error = MessageDeferred("no", phase="connect", original=ConnectionRefusedError())
    entry = entries.record(_failed(error, STANDARD_DELIVERY))
    assert entry.cause == "standard-not-configured"


def test_an_unreadable_password(make_set, reload):
    make_set(name="Office")
    reload()
    Secret.objects.update(ciphertext="x")
    result = send_test_email("me@example.org")
    assert result.entry.cause == "password-unreadable"


def test_an_earlier_email_is_not_mistaken_for_the_test(db):
    EmailMessage("Before", "Body", None, ["other@example.org"]).send()
    result = send_test_email("me@example.org", "invoice")
    assert result.reason == ""
    assert (result.entry.category, result.entry.subject) == ("invoice", "Test email")
    assert [message.to for message in mail.outbox] == [["other@example.org"], ["me@example.org"]]


def test_an_email_of_another_thread_is_not_mistaken_for_the_test(db):
    message, other = (EmailMessage(headers={"Message-ID": key}) for key in ("<1@x>", "<2@x>"))

    def report(signal, message, **values):
        signal.send(None, message=message, category="test", attempts=(), **values)

    its_own = LogEntry(state="sent")
    with _listening_for(message) as heard:
        report(signals.message_sent, message, entry=its_own)
        report(signals.message_failed, other, entry=LogEntry(state="failed"), error=OSError("no"))
    report(signals.message_sent, message, entry=LogEntry(state="sent"))
    assert heard == [EmailTestResult(its_own)]
