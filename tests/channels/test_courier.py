"""An alert reaches every channel, once for each cause, and its row says so."""

import asyncio
import threading

import pytest
from django.core import mail
from django.core.mail import EmailMessage, send_mail
from django.db import connection, transaction

from tests.support.broken_tables import full
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.receiver import Receiver
from wagtail_smtp import alerts, signals
from wagtail_smtp.alerts import AlertKind, raising
from wagtail_smtp.channels import chat, courier, rows
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live.db import expressions
from wagtail_smtp.models import Alert, LogEntry

pytestmark = pytest.mark.usefixtures("admins")


def report(cause="cause", subject="Subject", text="Text", kind=AlertKind.WAITING, **values):
    alerts.report(kind, cause, subject, text, **values)


def outcomes():
    return [
        {name: outcome["state"] for name, outcome in alert.outcomes.items()}
        for alert in rows.rows().order_by("pk")
    ]


def as_another_process():
    """It knows nothing of what this one has raised."""
    alerts.forget()


def test_every_channel_is_told_once(db, receiver):
    report()
    report()
    as_another_process()
    report()
    assert [message.subject for message in mail.outbox] == ["[Django] Subject"]
    assert receiver.titles == ["wagtail-smtp tests: Subject"]
    [alert] = Alert.objects.all()
    assert alert.state == Alert.State.DONE
    assert outcomes() == [{"email": "sent", "custom_json": "sent"}]


def test_the_interval_ends(db, receiver):
    report()
    report()
    Alert.objects.update(until=expressions.now(-1))
    as_another_process()
    report()
    assert len(receiver.received) == 2
    assert [alert.cause is None for alert in rows.rows().order_by("pk")] == [True, False]


def test_repetitions_are_counted_with_the_next_alert(db, receiver):
    for _ in range(4):
        report()
    raising.shorten("cause", 0)
    Alert.objects.update(until=expressions.now(-1))
    report()
    assert [alert.repetitions for alert in rows.rows().order_by("pk")] == [0, 3]


def test_a_storm_costs_no_queries(db, receiver, django_assert_num_queries):
    report()
    with django_assert_num_queries(0):
        for _ in range(100):
            report()


def test_kinds_can_be_turned_off(db, receiver, configure):
    configure(ALERTS_OFF=["waiting"])
    report()
    assert (receiver.received, mail.outbox, Alert.objects.count()) == ([], [], 0)


def test_a_failover_names_the_backup(receiver, make_set, reload):
    with HostileServer(faults=[Fault("connect", "close")]) as first, HostileServer() as second:
        make_set(first, name="Office")
        make_set(second, name="Relay", backup=True)
        reload()
        send_mail("Hi", "Body", None, ["someone@example.org"])
        assert first.connections == 1
        assert len(second.received) == 2  # the message and the alert
    [alert] = Alert.objects.all()
    assert alert.kind == "failover"
    assert "Office" in alert.subject
    assert "Relay" in alert.subject
    assert len(receiver.received) == 1


def test_email_avoids_the_sets_that_failed(make_set, reload, configure):
    """Even if they could be reached, so that nothing else would hold it back."""
    refusal = Fault("auth", "refuse", "535 5.7.8 No")
    with HostileServer(faults=[refusal]) as first, HostileServer(faults=[refusal]) as second:
        make_set(first, name="Office")
        make_set(second, name="Relay", backup=True)
        reload()
        with pytest.raises(EmailDeliveryError):
            send_mail("Hi", "Body", None, ["someone@example.org"])
        assert (first.connections, second.connections) == (1, 1)
    assert len(mail.outbox) == 2
    assert set(LogEntry.objects.filter(category="alert").values_list("via", flat=True)) == {
        "standard delivery"
    }


def test_settings_made_live_are_told_to_channels_only(
    receiver, make_set, reload, django_user_model, django_capture_on_commit_callbacks
):
    ada = django_user_model.objects.create_user("ada", "ada@example.com", first_name="Ada")
    make_set(name="Office")
    reload()
    make_set(name="Relay")
    with django_capture_on_commit_callbacks(execute=True):
        reload(user=ada)
    second = receiver.received[-1]
    assert "2" in second["title"]
    assert "Ada" in second["message"]
    assert "Relay" in second["message"]
    assert mail.outbox == []
    assert outcomes()[-1] == {"custom_json": "sent"}


def test_it_survives_a_rollback(db, receiver):
    with transaction.atomic():
        report()
        transaction.set_rollback(True)
    assert len(receiver.received) == 1


def test_it_works_in_a_broken_transaction(transactional_db, receiver):
    with transaction.atomic():
        with pytest.raises(Exception, match="nowhere"):
            connection.cursor().execute("SELECT * FROM nowhere")
        report()
        transaction.set_rollback(True)
    assert len(receiver.received) == 1


@pytest.mark.django_db(transaction=True)
def test_it_works_on_an_event_loop(receiver):
    async def run():
        report()

    asyncio.run(run())
    assert len(receiver.received) == 1


@pytest.mark.django_db(transaction=True)
def test_without_its_table_alerts_are_sent(receiver):
    """Each process sends its own then."""
    with full("wagtail_smtp_alert"):
        report()
        report()
    assert len(receiver.received) == len(mail.outbox) == 1
    assert Alert.objects.count() == 0


def test_a_refusal_is_recorded_with_its_status(db, receiver):
    receiver.status = 403
    report()
    [alert] = Alert.objects.all()
    assert alert.outcomes["custom_json"] == {"state": "failed", "detail": "HTTP 403"}
    assert alert.outcomes["email"]["state"] == "sent"


def test_a_redirect_is_not_followed(db, receiver):
    with Receiver() as other:
        receiver.status = 307
        receiver.location = f"http://127.0.0.1:{other.port}/"
        report()
        assert other.paths == []
    assert outcomes()[0]["custom_json"] == "failed"


def test_a_url_cannot_turn_redirects_on(db, receiver, configure):
    configure(ALERTS=[f"{receiver.apprise_url}&redirect=yes"])
    with Receiver() as other:
        receiver.status = 307
        receiver.location = f"http://127.0.0.1:{other.port}/"
        report()
        assert other.paths == []


@pytest.mark.parametrize("fault", ["delay", "trickles"])
def test_a_hanging_receiver_is_abandoned(db, receiver, monkeypatch, fault):
    monkeypatch.setattr(chat, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(chat, "TIME_LIMIT", 1.0)
    setattr(receiver, fault, 30)
    report()
    assert outcomes()[0]["custom_json"] in ("failed", "unknown")
    receiver.is_ended.set()
    for thread in threading.enumerate():
        if thread.name == "wagtail_smtp channel":
            thread.join(10)


def test_an_alert_of_a_dead_process_is_taken_over(db, receiver, configure, settings):
    """A channel that was being told may have it; one that wasn't is told now."""
    with Receiver() as second:
        configure(ALERTS=[receiver.apprise_url, second.apprise_url])
        alert = rows.add(alerts.Report(AlertKind.WAITING, "cause", "Subject", "Text", 60))
        rows.note(alert, "email", "trying")
        rows.note(alert, "custom_json", "trying")
        assert rows.claim() is None  # it may still live
        Alert.objects.update(lease_until=expressions.now(-1))
        courier.take_over()
        assert receiver.received == mail.outbox == []
        assert second.titles == ["wagtail-smtp tests: Subject"]
    assert outcomes() == [{"email": "unknown", "custom_json": "unknown", "custom_json-2": "sent"}]
    # The process wakes up: it changes nothing any more.
    assert not rows.note(alert, "custom_json", "sent")


def test_yesterdays_alarm_expires(db, receiver):
    rows.add(alerts.Report(AlertKind.WAITING, "cause", "Subject", "Text", 60))
    Alert.objects.update(lease_until=expressions.now(-1), created_at=expressions.now(-3700))
    courier.take_over()
    assert receiver.received == []
    assert Alert.objects.get().state == Alert.State.EXPIRED


def test_alerts_of_another_environment_are_not_delivered(db, receiver, run_in):
    run_in("production")
    rows.add(alerts.Report(AlertKind.WAITING, "cause", "Subject", "Text", 60))
    Alert.objects.update(lease_until=expressions.now(-1))
    run_in("staging")
    courier.take_over()
    assert receiver.received == []
    # Nor do they silence this environment's own.
    as_another_process()
    report()
    assert len(receiver.received) == 1


def test_a_copy_tells_no_one(receiver, make_set, reload, run_in):
    run_in("production")
    make_set()
    reload()
    run_in("staging")
    before = len(receiver.received)
    report()
    assert len(receiver.received) == before
    assert mail.outbox == []
    assert outcomes()[-1]["custom_json"] == "held"


def test_old_alerts_are_deleted(db, receiver, configure):
    configure(KEEP_LOG_DAYS=5)
    for number in range(3):
        report(cause=str(number))
    Alert.objects.update(created_at=expressions.now(-6 * 86400))
    report(cause="new")
    courier.take_over()
    assert Alert.objects.count() == 4  # their intervals last
    Alert.objects.update(until=expressions.now(-1))
    courier.take_over()
    assert Alert.objects.count() == 1


def test_it_is_announced_once(db, receiver):
    heard = []

    def hear(kind, subject, text, **kwargs):
        heard.append((kind, subject, text))

    signals.alert_raised.connect(hear)
    try:
        report()
        report()
        as_another_process()
        report()
    finally:
        signals.alert_raised.disconnect(hear)
    assert heard == [("waiting", "Subject", "Text")]


def test_alerts_are_not_queued(receiver, make_set, reload, configure):
    with HostileServer() as server:
        make_set(server)
        reload()
        configure(DELIVERY="queued")
        report()
        EmailMessage("Hi", "Body", None, ["someone@example.org"]).send()
        assert [each.message["Subject"].strip() for each in server.received] == ["[Django] Subject"]


def test_a_projects_tests_send_email_only(db, receiver, monkeypatch):
    monkeypatch.setattr(courier, "in_tests_to_channels", False)
    report()
    assert len(mail.outbox) == 1
    assert receiver.received == []


def test_texts_that_no_database_can_store(db, receiver):
    report(subject="Zero \0 and half \ud83d", text="\0\udcff")
    assert len(receiver.received) == len(mail.outbox) == 1
    assert Alert.objects.get().subject == "Zero and half ?"
    assert outcomes() == [{"email": "sent", "custom_json": "sent"}]
