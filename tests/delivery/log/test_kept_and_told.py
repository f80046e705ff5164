"""What is kept after a refusal, what a form's visitor meets, and who is told of what, and how."""

import re

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.utils import translation

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import email_category
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.diagnostics.status import status
from wagtail_smtp.exceptions import EmailDeliveryError, MessageRefused, StorageFull
from wagtail_smtp.maintenance.resend import can_resend
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.outbox.worker import Worker


@pytest.fixture(autouse=True)
def _no_tasks(settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


def _send(category="other", to="real@example.org"):
    with email_category(category):
        return EmailMessage("Hi", "Body", None, [to]).send()


def _work():
    worker = Worker()
    worker.drain()
    worker.close()


KEPT = [
    ("rcpt", "554 5.7.1 Relay access denied"),
    ("rcpt", "554 Relay access denied"),
    ("rcpt", "550 relay not permitted"),
    ("rcpt", "553 sorry, that domain isn't in my list of allowed rcpthosts"),
    ("rcpt", "550 5.7.60 Client does not have permissions to send as this sender"),
    ("rcpt", "553 5.7.1 Sender address rejected: not owned by user"),
    ("rcpt", "530 5.7.0 Authentication required"),
    ("rcpt", "554 5.7.1 Service unavailable; blocked using zen.spamhaus.org"),
    ("end", "550 5.7.26 This mail is unauthenticated: SPF did not pass"),
    ("end", "554 5.7.1 Rejected by policy"),
    ("end", "554 Transaction failed"),
]
NOT_KEPT = [
    ("rcpt", "550 5.1.1 User unknown"),
    ("rcpt", "550 No such user here"),
    ("rcpt", "552 5.2.2 Mailbox full"),
    ("end", "554 5.7.1 Spam message rejected"),
    ("end", "554 5.6.0 Message content rejected"),
    ("end", "550 Virus found"),
]


@pytest.mark.parametrize("delivery", ["immediate", "queued"])
@pytest.mark.parametrize(
    ("phase", "reply", "is_kept"),
    [(*each, True) for each in KEPT] + [(*each, False) for each in NOT_KEPT],
)
def test_what_is_refused_for_its_configuration_is_kept(
    make_set, reload, configure, phase, reply, is_kept, delivery
):
    configure(DELIVERY=delivery)
    with HostileServer(faults=[Fault(phase, "refuse", reply)]) as server:
        make_set(server)
        reload()
        if delivery == "queued":
            _send()
            _work()
        else:
            with pytest.raises(MessageRefused):
                _send()
    entry = LogEntry.objects.get()
    assert entry.state == "refused"
    assert can_resend(entry) is is_kept


@pytest.mark.parametrize("stored", ["none", "undelivered"])
@pytest.mark.parametrize("category", ["security", "other"])
def test_what_is_kept_is_up_to_category_and_setting(make_set, reload, configure, stored, category):
    configure(DELIVERY="queued", STORE_MESSAGES=stored, STANDARD_CATEGORIES=())
    refused = Fault("rcpt", "refuse", "554 5.7.1 Relay access denied")
    with HostileServer(faults=[refused]) as server:
        make_set(server)
        reload()
        _send(category)
        _work()
    entry = LogEntry.objects.get()
    assert hasattr(entry, "stored") is (stored == "undelivered" and category == "other")


def test_a_server_that_fails_fails_no_form(make_set, reload, configure):
    configure(COOL_DOWN=0.001)
    with HostileServer(faults=[Fault("banner", "refuse", "554 Down", times=1)]) as server:
        make_set(server)
        reload()
        assert _send("form") == 1
        entry = LogEntry.objects.get(category="form")
        assert (entry.state, entry.outbox.state) == ("deferred", "waiting")
        OutboxMessage.objects.update(due_at=entry.created_at)
        _work()
        assert "real@example.org" in [r.recipients[0] for r in server.received]


def test_a_form_that_is_refused_for_good_is_an_error(make_set, reload):
    with HostileServer(faults=[Fault("rcpt", "refuse", "550 5.1.1 Nobody")]) as server:
        make_set(server)
        reload()
        with pytest.raises(MessageRefused):
            _send("form")
    assert not OutboxMessage.objects.exists()


def test_forms_may_fail_where_the_project_wants_that(make_set, reload, configure):
    configure(RETRY_CATEGORIES=())
    with HostileServer(faults=[Fault("banner", "refuse", "554 Down")]) as server:
        make_set(server)
        reload()
        with pytest.raises(EmailDeliveryError):
            _send("form")


def test_admins_read_the_sites_language(make_set, reload, admins):
    with HostileServer(faults=[Fault("connect", "close")]) as server:
        make_set(server, name="Main")
        reload()
        with translation.override("de"), pytest.raises(EmailDeliveryError):
            _send()
    [alert] = mail.outbox
    assert alert.subject.strip() == "[Django] Email problem: “Main” is failing"
    assert "Email could not be sent through" in alert.body


def test_a_stored_reason_is_in_the_sites_language(make_set, reload, configure):
    configure(ENCRYPTION_KEYS=["a" * 43 + "="])
    with HostileServer() as server:
        make_set(server, name="Main")
        reload()
        configure(ENCRYPTION_KEYS=["b" * 43 + "="])
        with translation.override("de"), pytest.raises(EmailDeliveryError):
            _send()
    assert "can't be used" in LogEntry.objects.get().reason


@pytest.mark.parametrize(
    ("chosen", "word", "size"),
    [("de", "Empfänger: ", r"\d,\d MB"), ("", "Recipients: ", r"\d\.\d MB")],
)
def test_the_notify_user_reads_their_own_language(
    make_set, reload, django_user_model, chosen, word, size
):
    from wagtail.users.models import UserProfile

    user = django_user_model.objects.create_user("ada", "ada@example.com", "x")
    profile = UserProfile.get_for_user(user)
    profile.preferred_language = chosen
    profile.save()
    with HostileServer() as server:
        make_set(server, max_size=1, notify_user=user)
        reload()
        message = EmailMessage("Hi", "Body", None, ["real@example.org"])
        message.attach("a.bin", b"x" * 2_000_000, "application/octet-stream")
        with translation.override("fr" if chosen else "de"):
            message.send()
        told = [r for r in server.received if r.recipients == ["ada@example.com"]]
    [alert] = told
    content = alert.message.get_content()
    assert word in content
    assert re.search(rf"a\.bin \({size}\)", content)


def test_a_store_that_fills_is_told_of(db, configure, admins):
    configure(DELIVERY="queued")
    _send()
    used = stored_message.percent_used()
    assert used == 0
    assert not any("store" in alarm for alarm in status().alarms)
    size = LogEntry.objects.get().stored.size
    configure(MAX_STORED=int(size * 2.2))
    stored_message.forget()
    _send()
    assert any("store" in alarm for alarm in status().alarms)
    subjects = [entry.subject for entry in LogEntry.objects.filter(category="alert")]
    assert [s for s in subjects if "store" in s] == [
        "[Django] Email: the message store is 90% full"
    ]


def test_a_full_store_is_told_of_without_room(db, configure, admins):
    configure(DELIVERY="queued", MAX_STORED=10)
    for _ in range(2):
        with pytest.raises(StorageFull):
            _send()
    assert [m.subject.strip() for m in mail.outbox] == [
        "[Django] Email problem: the message store is full"
    ]
