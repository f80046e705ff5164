"""Each fault in each phase: what the caller gets, and where the message is then."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from django.core.mail import EmailMessage

from tests.fault_rules import BETWEEN, MODES, Case, cases
from tests.hostile import HostileServer
from tests.hostile_faults import Fault
from wagtail_smtp import signals
from wagtail_smtp.exceptions import (
    AttemptFailed,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
)

ERRORS = {
    "deferred": MessageDeferred,
    "refused": MessageRefused,
    "too large": MessageTooLarge,
    "unknown": MessageOutcomeUnknown,
}
BODY = "Hello\n.\n..two dots\nend"
#: More than the buffers of both sides hold.
LARGE_BODY = ("." + "x" * 70 + "\n") * 80_000


@pytest.fixture(autouse=True)
def _impatient(settings):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {
        "FINAL_REPLY_TIMEOUT": 0.3,
        # Nothing is kept, so that callers hear of messages that are too large.
        "MAX_STORED": 1,
        "FINAL_REPLY_TIMEOUT_IN_WORKERS": 0.3,
    }
    settings.ADMINS = []  # an alert would be one more message


@pytest.fixture
def send():
    """Send a message; what the caller got, and the attempts made."""
    told = []

    def note(attempts, **kwargs):
        told.append(attempts)

    def send(*to, body=BODY):
        told.clear()
        began = time.monotonic()
        error, count = None, 0
        try:
            message = EmailMessage("Hi", body, "site@example.com", to or ["someone@example.org"])
            count = message.send()
        except AttemptFailed as failure:
            error = failure
        return SimpleNamespace(
            count=count, error=error, attempts=told[0], seconds=time.monotonic() - began
        )

    for signal in (signals.message_sent, signals.message_failed):
        signal.connect(note)
    yield send
    for signal in (signals.message_sent, signals.message_failed):
        signal.disconnect(note)


@pytest.fixture
def servers(make_set, reload):
    """Start a server with faults, and a good one for the backup."""
    started = []

    def start(security="starttls", mode="one write", faults=(), *, backup=True, **values):
        first = HostileServer(security, MODES[mode], faults=faults, **values)
        started.append(first.__enter__())
        other = HostileServer()
        started.append(other.__enter__())
        make_set(first, timeout=1)
        if backup:
            make_set(other, backup=True)
        reload()
        return first, other

    yield start
    for server in started:
        server.stop()
        assert server.violations == []


def _variants():
    """Each case with a backup; where that is used also without, to see the caller's error."""
    for case in cases():
        takes_time = case.is_large or case.name in ("hang", "too slow")
        yield pytest.param(case, True, id=f"{case}")
        if case.result in ("deferred", "too large") and not takes_time:
            yield pytest.param(case, False, id=f"{case} - no backup")


@pytest.mark.parametrize(("case", "has_backup"), list(_variants()))
def test_matrix(servers, send, case: Case, has_backup: bool):
    first, other = servers(case.security, case.mode, [case.fault], backup=has_backup)

    got = send(body=LARGE_BODY if case.is_large else BODY)

    first.plan.wait()
    _check_caller(got, case, has_backup)
    _check_servers(first, other, case, has_backup)
    assert got.seconds < 4


def _check_caller(got, case, has_backup):
    attempt = got.attempts[0]
    if case.result == "sent":
        assert (got.count, attempt.error) == (1, None)
        return
    assert type(attempt.error) is ERRORS[case.result]
    assert attempt.error.phase in case.phases
    goes_on = case.result in ("deferred", "too large") and has_backup
    assert len(got.attempts) == 1 + goes_on
    assert got.count == goes_on
    if not goes_on:
        assert got.error is attempt.error
        assert got.error.retry_is_safe == (case.result != "unknown")


def _check_servers(first, other, case, has_backup):
    goes_on = case.result in ("deferred", "too large") and has_backup
    at_first = {"sent": 1, "unknown": case.fault.taken}.get(case.result, 0)
    if case.result == "unknown" and case.fault.phase != "end":
        assert len(first.received) <= 1
    else:
        assert len(first.received) == at_first
    assert len(other.received) == goes_on
    assert first.connections <= 1
    for received in (*first.received, *other.received):
        assert received.recipients == ["someone@example.org"]
        body = LARGE_BODY if case.is_large else BODY
        assert received.message.get_content().splitlines() == body.splitlines()


# The second message over a kept session


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", list(BETWEEN.values()), ids=list(BETWEEN))
def test_a_session_that_ended_between_messages(servers, send, mode, fault):
    """The message goes out once, by a new session to the same server."""
    first, other = servers(mode=mode, faults=[fault])
    assert send("one@example.org").count == 1
    first.plan.wait()

    assert send("two@example.org").count == 1

    assert _recipients(first) == ["one@example.org", "two@example.org"]
    assert first.connections == 2
    assert other.received == []


def _recipients(server):
    return [address for item in server.received for address in item.recipients]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["close", "reset", "421", "garbage"])
@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "body", "end"])
def test_a_session_that_ends_in_the_second_message(servers, send, mode, name, phase):
    """Not handed over, or proved not to be taken: it arrives once. Otherwise it is unknown."""
    kinds = {"421": Fault(phase, "refuse", "421 4.3.2 Closing")}
    fault = replace(kinds.get(name) or Fault(phase, name), skip=1, times=1)
    case = Case(name, fault, mode)
    first, other = servers(mode=mode, faults=[fault])
    assert send("one@example.org").count == 1

    got = send("two@example.org")

    first.plan.wait()
    assert _recipients(first)[0] == "one@example.org"
    if case.result == "unknown":
        assert type(got.error) is MessageOutcomeUnknown
        assert _recipients(first)[1:] in ([], ["two@example.org"])
        assert other.received == []
        assert first.connections == 1
    else:
        assert got.count == 1
        assert _recipients(first)[1:] + _recipients(other) == ["two@example.org"]


@pytest.mark.parametrize("kind", ["close", "reset"])
@pytest.mark.parametrize("phase", ["mail", "rcpt"])
def test_an_older_session_gets_the_data_last(servers, send, settings, phase, kind):
    """So that one that died unnoticed leaves nothing unknown."""
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ONE_WRITE_WITHIN": 0.001}
    first, other = servers(faults=[Fault(phase, kind, skip=1, times=1)])
    assert send("one@example.org").count == 1
    time.sleep(0.01)

    assert send("two@example.org").count == 1

    assert _recipients(first) + _recipients(other) == ["one@example.org", "two@example.org"]
    assert "RSET" in first.transcript


# Recipients

NO, LATER, YES = "no@example.org", "later@example.org", "yes@example.org"
REPLIES = ((NO, "550 5.1.1 Nobody"), (LATER, "450 4.2.1 Later"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("to", "at_first", "at_backup", "error"),
    [
        ([YES, NO], [YES], [], None),
        ([YES, LATER], [YES], [], None),
        ([NO, YES, LATER], [YES], [], None),
        ([NO], [], [], MessageRefused),
        ([LATER], [], [LATER], None),
        ([NO, LATER], [], [LATER], None),
    ],
    ids=["yes no", "yes later", "no yes later", "no", "later", "no later"],
)
def test_each_recipient_has_an_outcome(servers, send, mode, to, at_first, at_backup, error):
    first, other = servers(mode=mode, faults=[Fault("rcpt", "recipients", replies=REPLIES)])

    got = send(*to)

    assert type(got.error) is (error or type(None))
    assert got.count == (error is None)
    assert _recipients(first) == at_first
    assert _recipients(other) == at_backup
    assert send(YES).count == 1  # the session still fits
    assert _recipients(first) == [*at_first, YES]


# Extensions announced and refused


@pytest.mark.parametrize("code", ["500", "502", "504"])
def test_bdat_offered_and_unknown(servers, send, code):
    """It was not taken, so DATA carries it to the same server."""
    first, other = servers(faults=[Fault("data", "refuse", f"{code} 5.5.1 BDAT?", times=1)])
    for number in (1, 2):
        assert send(f"{number}@example.org").count == 1
    assert _recipients(first) == ["1@example.org", "2@example.org"]
    assert first.transcript.count("DATA") == 2
    assert other.received == []


@pytest.mark.parametrize(
    ("fault", "phase"),
    [
        (Fault("starttls", "refuse", "454 4.7.0 No TLS now"), "starttls"),
        (Fault("starttls", "injected"), "starttls"),
        (Fault("ehlo", "refuse", "502 5.5.1 EHLO?", times=1), "starttls"),
        (Fault("auth", "refuse", "504 5.5.4 Mechanism?"), "auth"),
        (Fault("mail", "parameters"), "mail"),
    ],
    ids=["STARTTLS", "injected ahead of TLS", "EHLO", "AUTH", "SIZE"],
)
def test_refuses_what_it_announced(servers, send, fault, phase):
    first, other = servers(faults=[fault])
    got = send()
    assert got.count == 1
    assert type(got.attempts[0].error) is MessageDeferred
    assert got.attempts[0].error.phase == phase
    assert first.received == []
    assert len(other.received) == 1


def test_never_without_tls_or_login(servers, send):
    """The server offers neither STARTTLS nor AUTH."""
    first, other = servers("none", auth=False)
    assert send().attempts[0].error.phase == "auth"
    assert first.received == []
    assert len(other.received) == 1


# What the caller does not wait for


@pytest.mark.parametrize("kind", ["refuse", "close", "reset", "hang", "garbage", "endless"])
def test_quit(servers, send, settings, kind):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"SESSION_MAX_MESSAGES": 1}
    first, other = servers(faults=[Fault("quit", kind)])
    for _ in range(2):
        got = send()
        assert got.count == 1
        assert got.seconds < 0.5
    first.plan.wait()
    assert (len(first.received), len(other.received)) == (2, 0)


@pytest.mark.parametrize(("mode", "writes"), list(zip(MODES, (1, 2, 4), strict=True)))
def test_writes(servers, send, mode, writes):
    first, _other = servers(mode=mode)
    for _ in range(2):
        assert send().count == 1
    assert first.writes == [writes, writes]
