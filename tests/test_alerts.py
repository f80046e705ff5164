"""ADMINS get one alert when a server fails, and one when it works again."""

import time

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.utils import translation

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import alerts, signals
from wagtail_smtp.config.values import Attempt
from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred


@pytest.fixture(autouse=True)
def _short(settings, admins):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"COOL_DOWN": 0.1}


def _send():
    EmailMessage("Hi", "Body", "site@example.com", ["real@example.org"]).send()


def _alerts(*servers):
    """Subjects of the alerts, through whatever server they were sent."""
    messages = [received.message for server in servers for received in server.received]
    messages += [message.message() for message in mail.outbox]
    alerts = [message for message in messages if message["Auto-Submitted"] == "auto-generated"]
    assert all(message["To"] == "admin@example.com" for message in alerts)
    return [str(message["Subject"]).strip() for message in alerts]


def test_one_alert_and_one_for_the_recovery(make_set, reload):
    refusals = Fault("banner", "refuse", "554 5.3.2 Down", times=2)
    with HostileServer(faults=[refusals]) as first, HostileServer() as second:
        make_set(first, name="Office 365")
        make_set(second, name="Relay", backup=True)
        reload()
        for _ in range(6):
            _send()
            time.sleep(0.06)
        alerts = _alerts(first, second)
    assert sorted(alerts) == [
        "[Django] Email problem: “Office 365” is failing, “Relay” is used instead",
        "[Django] Email: “Office 365” is working again",
    ]


def test_the_alert_may_use_standard_delivery(make_set, reload):
    with HostileServer(faults=[Fault("connect", "close")]) as first:
        make_set(first, name="Only one")
        reload()
        for _ in range(2):
            with pytest.raises(EmailDeliveryError):
                _send()
        # The alert doesn't try the server that it reports.
        assert first.connections == 2
    assert len(_alerts()) == 1


def test_the_alert_is_redirected_like_all_mail(make_set, reload):
    with HostileServer(faults=[Fault("connect", "close")]) as first:
        make_set(first, redirect=True, reports=["qa@example.com"])
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
    assert [message.to for message in mail.outbox] == [["qa@example.com"]]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("rcpt", "refuse", "550 5.1.1 Nobody"),
        Fault("rcpt", "refuse", "450 4.2.1 Greylisted"),
        Fault("end", "refuse", "554 5.7.1 Spam"),
    ],
)
def test_errors_of_one_message_send_no_alert(make_set, reload, fault):
    with HostileServer(faults=[fault]) as first:
        make_set(first)
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
        assert _alerts(first) == []


def test_an_unknown_outcome_sends_an_alert(make_set, reload):
    with HostileServer(faults=[Fault("end", "close", times=1)]) as first:
        make_set(first)
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
        assert len(_alerts(first)) == 1


def test_an_alert_that_fails_is_only_logged(make_set, reload, settings, caplog):
    broken = {"BACKEND": "tests.test_alerts.Missing"}
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"STANDARD": broken}
    with HostileServer(faults=[Fault("connect", "close")]) as first:
        make_set(first)
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
    assert "An alert could not be sent" in caplog.text


def test_no_admins(make_set, reload, settings):
    settings.ADMINS = []
    with HostileServer(faults=[Fault("connect", "close")]) as first:
        make_set(first)
        reload()
        with pytest.raises(EmailDeliveryError):
            _send()
    assert mail.outbox == []


def _fail(name, key, **values):
    error = MessageDeferred("no", phase="connect")
    attempt = Attempt(name, 0.1, key, error=error, **values)
    signals.message_failed.send(None, category="other", attempts=[attempt])


def test_a_renamed_set_is_not_reported_twice(db):
    _fail("Office", "1")
    _fail("Office 365", "1")
    assert len(_alerts()) == 1
    attempt = Attempt("Office 365", 0.1, "1", recovered=True)
    signals.message_sent.send(None, category="other", attempts=[attempt])
    assert mail.outbox[-1].subject == "[Django] Email: “Office 365” is working again"
    assert len(mail.outbox) == 2


def test_a_set_may_be_called_like_standard_delivery(db):
    _fail("standard delivery", "1")
    _fail("standard delivery", "")
    assert len(_alerts()) == 2


def _store_is_full():
    alerts.note_store_usage(100)
    alerts.send_pending()


def _token_is_refused():
    alerts.note_token_refused("key", "Main", "Refused")
    alerts.send_pending()


@pytest.mark.parametrize(
    "alert",
    [
        _store_is_full,
        _token_is_refused,
        lambda: alerts.messages_waiting("Locked"),
        lambda: alerts.given_up(1, "Hi"),
        lambda: alerts.given_up(1, "Hi", is_unknown=True),
    ],
    ids=["store is full", "token is refused", "waiting", "given up", "unknown"],
)
def test_alerts_are_in_the_sites_language(db, alert):
    """They are sent in the thread of a visitor, who may use another one."""
    with translation.override("de"):
        alert()
    [message] = mail.outbox
    assert message.subject.startswith("[Django] Email problem: ")
