"""Check a server: each stage, and the cause and fix of the one that fails."""

import base64
import smtplib
import threading
import time

import pytest
import trustme
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.core.management import CommandError, call_command

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.smtp_server import free_port
from wagtail_smtp.diagnostics.check_set import FAST as FAST_TEXTS
from wagtail_smtp.diagnostics.check_set import NOT_ASKED, try_set
from wagtail_smtp.exceptions import RedirectError, SecretUnreadable
from wagtail_smtp.models import LogEntry, Secret
from wagtail_smtp.transports.smtp.connect import _scrubbed
from wagtail_smtp.transports.smtp.stream import Reply, response_text

CANARY = "canary-of-the-password-5f1e"


def _stages(item, address=None):
    return {report.stage.name: report for report in try_set(item, address)}


def _slug(stages):
    *before, last = stages.values()
    assert all(report.cause is None for report in before)
    return last.cause.slug


@pytest.mark.parametrize("encryption", ["starttls", "ssl", "none"])
def test_a_server_that_works(make_set, encryption):
    with HostileServer(encryption=encryption) as server:
        stages = _stages(make_set(server, encryption=encryption))
        assert server.received == []
        assert any(line.startswith("MAIL") for line in server.transcript)
    order = ["resolve", "connect", "greeting", "tls", "auth", "fast", "sender"]
    assert sorted(stages) == sorted(order if encryption != "none" else set(order) - {"tls"})
    assert all(report.stage.error is None for report in stages.values())
    assert all(report.stage.seconds >= 0 for report in stages.values())
    assert stages["resolve"].stage.details["addresses"] == ("127.0.0.1",)
    assert "PIPELINING" in stages["greeting"].stage.details["extensions"]
    assert stages["fast"].stage.details["fast"] == "yes"
    if encryption != "none":
        details = stages["tls"].stage.details
        assert details["issuer"]
        assert details["expires"].tzinfo is not None


def test_the_sender_of_real_email_is_checked(make_set, settings):
    settings.DEFAULT_FROM_EMAIL = "Shop <shop@example.com>"
    with HostileServer() as server:
        item = make_set(server, authentication="none", username="")
        stages = _stages(item)
        assert "MAIL FROM:<shop@example.com>" in server.transcript
    assert _slug(stages) == "login-required"
    assert stages["sender"].stage.details["sender"] == "shop@example.com"


def test_a_sender_that_was_not_checked_is_not_reported_as_accepted(make_set, settings, capsys):
    settings.DEFAULT_FROM_EMAIL = "a@example.com, b@example.com"
    with HostileServer() as server:
        make_set(server, name="Office", authentication="none", username="")
        call_command("smtp_test", "--set", "Office", "--no-color")
        assert not any(line.startswith("MAIL") for line in server.transcript)
    assert str(NOT_ASKED) in capsys.readouterr().out


def test_a_test_email(make_set, reload):
    with HostileServer() as server:
        stages = _stages(make_set(server, sender_address="shop@example.com"), "me@example.org")
        [received] = server.received
    assert list(stages)[-3:] == ["sender", "recipient", "message"]
    assert (received.sender, received.recipients) == ("shop@example.com", ["me@example.org"])
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("who", ["the set", "what is live", "the settings"])
def test_a_redirect_applies_to_the_test_email(make_set, reload, configure, who):
    with HostileServer() as server, HostileServer() as other:
        if who == "what is live":
            make_set(other, redirect=True, reports=["qa@example.com"])
            reload()
        if who == "the settings":
            configure(REDIRECT_ALL_TO=["qa@example.com"])
        item = make_set(server, redirect=who == "the set", reports=["qa@example.com"])
        _stages(item, "me@example.org")
        assert [received.recipients for received in server.received] == [["qa@example.com"]]


def test_a_redirect_without_address_sends_nothing(make_set, configure):
    configure(REDIRECT_ALL_TO=[])
    with HostileServer() as server:
        item = make_set(server)
        with pytest.raises(RedirectError):
            _stages(item, "me@example.org")
        assert server.received == []


@pytest.mark.parametrize(
    ("fault", "stage", "slug"),
    [
        (Fault("connect", "close"), "greeting", "no-greeting"),
        (Fault("handshake", "expired"), "tls", "certificate-expired"),
        (Fault("handshake", "wrong name"), "tls", "certificate-wrong-name"),
        (Fault("handshake", "self-signed"), "tls", "certificate-unknown-issuer"),
        (Fault("auth", "refuse", "535 5.7.139 Authentication unsuccessful"), "auth",
         "basic-authentication-off"),
        (Fault("mail", "refuse", "553 5.7.1 Not yours"), "sender", "sender-not-allowed"),
        (Fault("rcpt", "refuse", "550 5.1.1 Nobody"), "recipient", "unknown-recipient"),
        (Fault("end", "refuse", "550 5.7.26 SPF"), "message", "domain-not-authenticated"),
    ],
)  # fmt: skip
def test_each_failure_ends_with_its_cause(make_set, fault, stage, slug):
    with HostileServer(faults=[fault]) as server:
        stages = _stages(make_set(server, timeout=2), "me@example.org")
    assert list(stages)[-1] == stage
    assert _slug(stages) == slug


def test_wrong_encryption(make_set):
    with HostileServer(encryption="starttls") as server:
        assert (
            _slug(_stages(make_set(server, encryption="ssl", timeout=2))) == "ssl-on-starttls-port"
        )
    with HostileServer(encryption="ssl") as server:
        assert _slug(_stages(make_set(server, encryption="starttls", timeout=1))) == "no-greeting"
    with HostileServer(encryption="none") as server:
        assert _slug(_stages(make_set(server, encryption="starttls"))) == "starttls-not-offered"


def test_an_unknown_authority(make_set):
    authority = trustme.CA().cert_pem.bytes().decode()
    with HostileServer() as server:
        stages = _stages(make_set(server, ca_certificates=authority))
    assert _slug(stages) == "certificate-unknown-issuer"


def test_no_server_on_the_port(make_set, configure):
    item = make_set()
    item.port = free_port()
    item.secret = Secret.store("x", item.frozen(()).binding(), item.key)
    item.save()
    assert _slug(_stages(item)) == "refused"


def test_the_password_is_not_shown(make_set):
    echo = base64.b64encode(CANARY.encode()).decode()
    fault = Fault("auth", "refuse", f"535 5.7.8 No: {CANARY} {echo}")
    with HostileServer(faults=[fault]) as server:
        [*_before, last] = _stages(make_set(server, password=CANARY)).values()
    assert last.stage.response.startswith("5.7.8 No: …")
    assert CANARY not in str(last.stage.error) + last.stage.response
    assert echo not in str(last.stage.error) + last.stage.response


@pytest.mark.parametrize("password", ["hunter2!", "abc", "12345678", "pass word\t1"])
def test_a_short_password_is_not_shown(password):
    name = "me@x.org"
    for sent in (password, name, f"\0{name}\0{password}"):
        echo = base64.b64encode(sent.encode()).decode()
        for echoed in (echo, echo.rstrip("=")):
            said = response_text(
                _scrubbed(Reply(535, f"5.7.8 No: {echoed} ?".encode()), name, password)
            )
            assert said == "5.7.8 No: … ?"


def test_text_that_looks_like_base64_is_kept():
    said = b"5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled"
    assert response_text(_scrubbed(Reply(535, said), "me", CANARY)) == said.decode()


def test_a_truncated_password_is_not_shown():
    said = b"x" * 10 + b" " + b"." * 485 + CANARY.encode()
    shown = response_text(_scrubbed(Reply(535, said), "me", CANARY))
    assert "cana" not in shown
    assert len(shown) <= 500


def test_a_greeting_cannot_control_a_terminal(make_set):
    with HostileServer(faults=[Fault("ehlo", "refuse", "250 mx \x1b[2J\x1b]0;x\x07 hi")]) as server:
        stages = _stages(make_set(server, encryption="none", username="", ca_certificates=""))
    assert stages["greeting"].stage.response == "mx  [2J ]0;x  hi"


def test_a_password_for_another_server_is_not_used(make_set):
    with HostileServer() as server, HostileServer() as other:
        item = make_set(server)
        item.port = other.port
        item.save()
        with pytest.raises(Exception, match="another server"):
            _stages(item)
        assert other.connections == 0


def test_without_a_password(make_set):
    with HostileServer() as server:
        item = make_set(server)
        item.secret = None
        item.save()
        with pytest.raises(SecretUnreadable):
            _stages(item)
        assert server.connections == 0


def test_a_slow_server_cannot_prolong_a_test(make_set, monkeypatch):
    monkeypatch.setattr("wagtail_smtp.transports.smtp.check.LONGEST_CHECK", 0.5)
    slow = Fault("ehlo", "slow", delay=0.05)
    with HostileServer(faults=[slow]) as server:
        began = time.monotonic()
        stages = _stages(make_set(server, timeout=300))
    assert time.monotonic() - began < 5
    assert list(stages.values())[-1].stage.error is not None


#: Every phase in which a server can be silent, or send endless data.
_HANGS = [Fault(phase, "hang") for phase in (
    "connect", "banner", "ehlo", "starttls", "handshake", "auth", "mail", "rcpt", "data", "body",
    "end",
)]  # fmt: skip
_TALKS = [
    Fault(phase, kind, delay=0.1)
    for phase in ("banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "end")
    for kind in ("endless", "endless line", "slow")
]


@pytest.mark.threat(18)
@pytest.mark.parametrize("fault", [*_HANGS, *_TALKS], ids=lambda f: f"{f.phase} {f.kind}")
def test_no_server_can_keep_a_test_from_ending(make_set, monkeypatch, fault):
    monkeypatch.setattr("wagtail_smtp.transports.smtp.check.LONGEST_CHECK", 0.7)
    with HostileServer(faults=[fault], extensions=("8BITMIME",)) as server:
        item = make_set(server, timeout=300)
        began = time.monotonic()
        stages = _stages(item, "me@example.org")
        took = time.monotonic() - began
    last = list(stages.values())[-1]
    assert last.cause is not None
    assert len(str(last.stage.error)) < 1000
    assert took < 5


def test_the_time_limit_leaves_some_room():
    from wagtail_smtp.transports.base import LONGEST_CHECK

    assert LONGEST_CHECK < 20


def test_dns_servers_that_do_not_respond(make_set, monkeypatch):
    monkeypatch.setattr("wagtail_smtp.transports.smtp.check.LONGEST_CHECK", 0.3)
    answered = threading.Event()

    def wait(*args, **kwargs):
        answered.wait(10)
        return []

    item = make_set(host="mail.example.com")
    monkeypatch.setattr("socket.getaddrinfo", wait)
    began = time.monotonic()
    stages = _stages(item)
    assert time.monotonic() - began < 5
    answered.set()
    assert list(stages) == ["resolve"]
    assert _slug(stages) == "lookup-failed"


def test_the_command(make_set, capsys):
    with HostileServer() as server:
        make_set(server, name="Office")
        call_command("smtp_test", "me@example.org", "--set", "office", "--no-color")
        assert len(server.received) == 1
    output = capsys.readouterr().out
    assert "Authentication: ok" in output
    assert "The server accepted the test email." in output


def test_the_command_says_what_to_do(make_set):
    with HostileServer(faults=[Fault("auth", "refuse", "535 5.7.8 No")]) as server:
        make_set(server, name="Office")
        with pytest.raises(CommandError, match=r"Check both.*causes\.html#login-refused"):
            call_command("smtp_test", "--set", "Office")


def test_the_command_with_the_live_configuration(db):
    call_command("smtp_test", "me@example.org")
    [message] = mail.outbox
    assert message.to == ["me@example.org"]
    assert LogEntry.objects.get().category == "test"


def test_the_command_names_the_server_that_accepted_the_message(make_set, reload, capsys):
    with HostileServer() as server:
        make_set(server, name="Office")
        reload()
        call_command("smtp_test", "me@example.org", "--no-color")
    assert capsys.readouterr().out.startswith("Office accepted")


class Echoing(BaseEmailBackend):
    """A backend of the project whose server echoes the password."""

    def send_messages(self, messages):
        raise smtplib.SMTPAuthenticationError(535, f"5.7.8 No: {CANARY}".encode())


def test_the_command_warns_if_email_bypasses_the_plugin(db, settings, capsys):
    backend = "django.core.mail.backends.locmem.EmailBackend"
    if hasattr(settings, "MAILERS"):
        settings.MAILERS = {"default": {"BACKEND": backend}}
    else:
        settings.EMAIL_BACKEND = backend
    call_command("smtp_test", "me@example.org")
    assert "the delivery log has no entry for it" in capsys.readouterr().out


def test_the_command_does_not_repeat_errors_of_other_backends(db, configure):
    configure(STANDARD={"BACKEND": "tests.diagnostics.test_check_set.Echoing"})
    with pytest.raises(CommandError, match="SMTPAuthenticationError") as caught:
        call_command("smtp_test", "me@example.org")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "ADDRESS"),
        (["nobody"], "not an email address"),
        (["--set", "Nothing"], "There is no settings set 'Nothing'. Choose one of: none"),
    ],
)
def test_the_command_with_bad_input(db, arguments, error):
    with pytest.raises(CommandError, match=error):
        call_command("smtp_test", *arguments)


FAST = [
    ((), ("8BITMIME",), (), "not offered"),
    ((), ("PIPELINING",), (), "yes"),
    ((), ("PIPELINING", "CHUNKING"), ("PIPELINING",), "ignored"),
    ((), ("PIPELINING", "CHUNKING"), ("CHUNKING",), "yes"),
    ((Fault("probe", "refuse", "502 5.5.1 What?"),), ("PIPELINING", "CHUNKING"), (), "partly"),
    ((Fault("reset", "refuse", "502 5.5.1 What?"),), ("PIPELINING", "CHUNKING"), (), "refused"),
    ((Fault("reset", "close"),), ("PIPELINING", "CHUNKING"), (), "closed"),
    ((Fault("reset", "hang"),), ("PIPELINING", "CHUNKING"), (), "silent"),
]


@pytest.mark.parametrize(("faults", "extensions", "ignored", "found"), FAST)
def test_fast_sending(make_set, monkeypatch, faults, extensions, ignored, found):
    """The test email arrives whatever the result, over a new connection if necessary."""
    if found == "silent":
        monkeypatch.setattr("wagtail_smtp.transports.smtp.check.PROBE_WAIT", 0.3)
    with HostileServer(faults=faults, extensions=extensions) as server:
        item = make_set(server, ignored_extensions=list(ignored))
        stages = _stages(item, "me@example.org")
        assert len(server.received) == 1
        assert server.violations == []
    assert stages["fast"].stage.details["fast"] == found
    assert found in FAST_TEXTS
    assert all(report.cause is None for report in stages.values())


def test_a_test_email_is_sent_like_real_email(make_set):
    with HostileServer() as server:
        _stages(make_set(server), "me@example.org")
        assert server.writes == [1]
