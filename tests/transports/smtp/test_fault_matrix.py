"""Each fault in each phase: what the caller gets, and where the message is then."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from django.core.mail import EmailMessage

from tests.support.fault_rules import BETWEEN, MODES, Case, cases
from tests.support.servers.dialects import DIALECTS, PRODUCTS
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import signals
from wagtail_smtp.exceptions import (
    AttemptFailed,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
)
from wagtail_smtp.transports.smtp import fast_sending

ERRORS = {
    "deferred": MessageDeferred,
    "refused": MessageRefused,
    "too large": MessageTooLarge,
    "unknown": MessageOutcomeUnknown,
}
BODY = "Hello\n.\n..two dots\nend"
#: Messages until a server has shown that it does what it announces, by the mode.
EARNING = {"one write": 2, "groups": 2, "one by one": 1}
#: How often a message is written then.
WRITES = {"one write": 1, "groups": 2, "one by one": 4}
#: More than the buffers of both sides hold.
LARGE_BODY = ("." + "x" * 70 + "\n") * 80_000


@pytest.fixture(autouse=True)
def _impatient(settings, monkeypatch):
    # A machine that is busy doesn't make a server a bad one.
    monkeypatch.setattr(fast_sending, "PROBE_WAIT", 20)
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


def earn(server, send, mode):
    """Send messages until they go the way of ``mode``; over one session, which stays."""
    for _ in range(EARNING[mode]):
        assert send("earning@example.org").count == 1
    assert server.writes[-1] == WRITES[mode]
    assert server.connections == 1
    server.received.clear()


@pytest.fixture
def servers(make_set, reload):
    """Start a server with faults, and a good one for the backup."""
    started = []

    def start(encryption="starttls", mode="one write", faults=(), *, backup=True, **values):
        first = HostileServer(encryption, MODES[mode], faults=faults, **values)
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
    """Each case with a backup; where that is used also without, to see the caller's error.

    In the other dialects without those that are about time alone.
    """
    for case in cases():
        takes_time = case.is_large or case.name in ("hang", "too slow")
        yield pytest.param(case, True, "usual", id=f"{case}")
        if case.result in ("deferred", "too large") and not takes_time:
            yield pytest.param(case, False, "usual", id=f"{case} - no backup")
        if not takes_time and case.name != "slow":
            for dialect in DIALECTS.keys() - {"usual"}:
                yield pytest.param(case, True, dialect, id=f"{case} - {dialect}")


@pytest.mark.parametrize(("case", "has_backup", "dialect"), sorted(_variants(), key=lambda p: p.id))
def test_matrix(servers, send, settings, case: Case, has_backup: bool, dialect: str):
    """The fault strikes on a new connection to a server that has shown what it can do."""
    is_earned = case.is_about_the_message and case.mode != "one by one"
    fault = replace(case.fault, from_connection=1 + is_earned)
    first, other = servers(
        case.encryption, case.mode, [fault], backup=has_backup, dialect=DIALECTS[dialect]
    )
    if is_earned:
        earn(first, send, case.mode)
        settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"SESSION_MAX_IDLE": 1e-9}
    if case.is_large:
        # The backup reads it slowly.
        keys = ("FINAL_REPLY_TIMEOUT", "FINAL_REPLY_TIMEOUT_IN_WORKERS")
        settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | dict.fromkeys(keys, 20)

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
    # One to earn, one for the message, and one without the extensions that may be to blame.
    assert first.connections <= 3
    for received in (*first.received, *other.received):
        assert received.recipients == ["someone@example.org"]
        body = LARGE_BODY if case.is_large else BODY
        assert received.message.get_content().splitlines() == body.splitlines()


# The second message over a kept session


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", list(BETWEEN.values()), ids=list(BETWEEN))
def test_a_session_that_ended_between_messages(servers, send, mode, fault):
    """The message goes out once, by a new session to the same server."""
    first, other = servers(mode=mode, faults=[replace(fault, skip=EARNING[mode])])
    earn(first, send, mode)
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
    skip = EARNING[mode] + 1
    fault = replace(kinds.get(name) or Fault(phase, name), skip=skip, times=1)
    case = Case(name, fault, mode)
    first, other = servers(mode=mode, faults=[fault])
    earn(first, send, mode)
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
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"SESSION_CHECK_AFTER": 0.001}
    first, other = servers(faults=[Fault(phase, kind, skip=2, times=1)])
    for address in ("earning@example.org", "one@example.org"):
        assert send(address).count == 1
        time.sleep(0.01)
    first.received.pop(0)

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
    earn(first, send, mode)

    got = send(*to)

    assert type(got.error) is (error or type(None))
    assert got.count == (error is None)
    assert _recipients(first) == at_first
    assert _recipients(other) == at_backup
    assert send(YES).count == 1  # the session still fits
    assert _recipients(first) == [*at_first, YES]


# Extensions announced and refused


@pytest.mark.parametrize("code", ["500", "501", "502", "503", "504", "550", "554", "555"])
def test_bdat_that_passed_the_probe_and_is_refused(servers, send, code):
    """It was not taken, so DATA carries it to the same server, and all that follow."""
    refusal = Fault("data", "refuse", f"{code} 5.5.1 BDAT?", skip=1, times=1)
    first, other = servers(faults=[refusal])
    for number in (1, 2, 3):
        assert send(f"{number}@example.org").count == 1
    assert _recipients(first) == [f"{number}@example.org" for number in (1, 2, 3)]
    assert first.transcript.count("DATA") == 3
    assert other.received == []


def test_a_refusal_of_a_message_is_not_blamed_on_bdat_that_worked(servers, send):
    first, _other = servers(faults=[Fault("end", "refuse", "554 5.7.1 Spam", skip=3, times=1)])
    earn(first, send, "one write")
    assert send().count == 1
    assert type(send().error) is MessageRefused
    assert send().count == 1
    assert first.writes[-1] == 1


@pytest.mark.parametrize(
    ("fault", "phase"),
    [
        (Fault("starttls", "refuse", "454 4.7.0 No TLS now"), "starttls"),
        (Fault("starttls", "injected"), "starttls"),
        (Fault("ehlo", "refuse", "502 5.5.1 EHLO?", times=1), "starttls"),
        (Fault("auth", "refuse", "504 5.5.4 Mechanism?"), "auth"),
    ],
    ids=["STARTTLS", "injected ahead of TLS", "EHLO", "AUTH"],
)
def test_refuses_what_it_announced(servers, send, fault, phase):
    first, other = servers(faults=[fault])
    got = send()
    assert got.count == 1
    assert type(got.attempts[0].error) is MessageDeferred
    assert got.attempts[0].error.phase == phase
    assert first.received == []
    assert len(other.received) == 1


def test_parameters_of_mail_offered_and_unknown(servers, send):
    """Once more without them, and never again with them."""
    first, other = servers(faults=[Fault("mail", "parameters")])
    assert send("1@example.org").count == 1
    assert send("2@example.org").count == 1
    assert _recipients(first) == ["1@example.org", "2@example.org"]
    assert len(first.struck) == 1
    assert other.received == []


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
        assert got.seconds < 1  # what waiting for the reply would take
    first.plan.wait()
    assert (len(first.received), len(other.received)) == (2, 0)


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), *PRODUCTS.values()])
@pytest.mark.parametrize("mode", MODES)
def test_writes(servers, send, mode, dialect):
    """One by one until the server has shown what it does, which takes nothing of its own."""
    first, _other = servers(mode=mode, dialect=dialect)
    for number in range(4):
        assert send(f"{number}@example.org").count == 1
    assert first.writes == [4, *[WRITES[mode]] * 3]
    assert first.connections == 1
    assert _recipients(first) == [f"{number}@example.org" for number in range(4)]
