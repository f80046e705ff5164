"""Everything about one address goes, nothing about another does."""

import pytest
from django.core.mail import EmailMessage
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import live
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.maintenance import erase
from wagtail_smtp.models import LogEntry, LogRecipient, OutboxMessage, SettingsSet, StoredMessage
from wagtail_smtp.outbox import claims
from wagtail_smtp.outbox.worker import Worker

ANNA = "anna@bücher.example"
STORED = "anna@xn--bcher-kva.example"


@pytest.fixture(autouse=True)
def _no_tasks(settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}


@pytest.fixture
def erased(capsys):
    def run(address=ANNA, **options):
        call_command("smtp_erase", address, **options)
        return capsys.readouterr().out

    return run


@pytest.fixture
def server(make_set, reload, configure):
    configure(STORE_MESSAGES="all")
    with HostileServer() as server:
        make_set(server, name="Main")
        reload()
        yield server


def _send(*to, subject="Hi", sender="shop@example.com", **values):
    EmailMessage(subject, "Body", sender, to, **values).send()
    return LogEntry.objects.latest("pk")


def _is_gone():
    """Nothing in log and outbox names her, encrypted or not."""
    names = ("anna@b", "anna@xn", "anna")
    for model in (LogEntry, LogRecipient):
        for row in model.objects.values():
            assert not any(name in str(row).lower() for name in names), row
    for stored in StoredMessage.objects.all():
        message = stored_message.opened(stored.content)
        head, _separator, _body = message.frozen_content.partition(b"\r\n\r\n")
        assert b"anna" not in head.lower(), head
        assert "anna" not in str(message.wagtail_smtp_frozen[0]).lower()


@pytest.mark.parametrize("typed", [ANNA, STORED, "ANNA@BÜCHER.example"])
def test_what_went_to_her_alone(server, erased, typed):
    entry = _send(f"Anna <{ANNA}>", subject="Dear Anna")
    other = _send("joanna@bücher.example", subject="Dear Jo")
    assert "anonymised: 1" in erased(typed)
    entry.refresh_from_db()
    assert (entry.subject, entry.sender, entry.message_id) == ("", "", "")
    assert (entry.state, hasattr(entry, "stored")) == ("sent", False)
    [recipient] = entry.recipients.all()
    assert (recipient.address, recipient.domain, recipient.state) == ("erased", "", "sent")
    other.refresh_from_db()
    assert (other.subject, hasattr(other, "stored")) == ("Dear Jo", True)
    assert other.recipients.get().address.startswith("joanna@")


def test_what_went_to_others_too_keeps_what_concerns_them(make_set, reload, erased, configure):
    configure(STORE_MESSAGES="all")
    words = f"550 5.1.1 <{STORED}>: unknown; not joanna@b.example"
    with HostileServer(faults=[Fault("rcpt", "recipients", replies=((STORED, words),))]) as server:
        make_set(server)
        reload()
        entry = _send(ANNA, "bob@example.org", subject=f"For {ANNA}")
    erased()
    entry.refresh_from_db()
    assert entry.subject == "For erased"
    assert entry.sender == "shop@example.com"
    assert {r.address for r in entry.recipients.all()} == {"erased", "bob@example.org"}
    assert "anna@x" not in entry.reason + str(list(entry.attempts.values()))
    assert not StoredMessage.objects.exists()


def test_what_came_from_her(server, erased):
    by_her = _send("bob@example.org", sender=f"Anna <{ANNA}>", subject="Mine")
    answer = _send("bob@example.org", reply_to=[ANNA], subject="Contact form")
    erased()
    for entry in (by_her, answer):
        entry.refresh_from_db()
        assert (entry.subject, entry.sender, hasattr(entry, "stored")) == ("", "", False)
        assert entry.recipients.get().address == "bob@example.org"
    _is_gone()


def test_a_redirected_message_to_her(make_set, reload, erased):
    with HostileServer() as server:
        make_set(server, redirect=True, reports=["qa@example.com"])
        reload()
        entry = _send(ANNA, subject="Dear Anna")
    erased()
    entry.refresh_from_db()
    assert entry.subject == ""
    assert {r.address for r in entry.recipients.all()} == {"erased", "qa@example.com"}


def test_what_waits_for_her_alone_is_cancelled(server, erased, configure):
    configure(DELIVERY="queued")
    entry = _send(ANNA, subject="Dear Anna")
    by_her = _send("bob@example.org", sender=ANNA)
    assert "messages cancelled: 2" in erased()
    assert Worker().drain() == 0
    assert server.received == []
    for cancelled in (entry, by_her):
        cancelled.refresh_from_db()
        assert cancelled.state == "cancelled"
    assert not OutboxMessage.objects.exists()
    assert not StoredMessage.objects.exists()
    _is_gone()


@pytest.mark.parametrize("is_claimed", [False, True])
def test_what_waits_for_others_too_leaves_without_her(server, erased, configure, is_claimed):
    configure(DELIVERY="queued")
    entry = _send("bob@example.org", f"Anna <{ANNA}>", cc=[ANNA.upper()], bcc=["c@example.org"])
    if is_claimed:
        token, rows = claims.claim(10)
    assert "sent without this recipient: 1" in erased()
    _is_gone()
    if is_claimed:
        # Its message is in that worker's memory, as it was.
        assert claims.begin(token, rows) == []
    assert Worker().drain() == 1
    [received] = server.received
    assert received.recipients == ["bob@example.org", "c@example.org"]
    assert received.message["To"] == "bob@example.org"
    assert received.message["Cc"] is None
    assert received.message.get_payload() == "Body\r\n"
    entry.refresh_from_db()
    assert (entry.state, entry.recipients.count()) == ("sent", 2)


def test_whose_address_only_ends_alike_is_left_alone(server, erased, configure):
    configure(DELIVERY="queued")
    others = ["o'brien@example.com", "x.brien@example.com", "{brien@example.com"]
    answer = _send("bob@example.org", reply_to=others, subject=f"From {others[0]}")
    to_both = _send("brien@example.com", *others, subject=f"To {others[0]}")
    said = "550 'brien@example.com' isn't o'brien@example.com"
    LogEntry.objects.filter(pk=to_both.pk).update(reason=said)
    assert "messages cancelled: 0" in erased("brien@example.com")
    assert {e.subject for e in LogEntry.objects.all()} == {answer.subject, to_both.subject}
    assert stored_message.load(answer).reply_to == others
    assert stored_message.load(to_both).to == others
    to_both.refresh_from_db()
    assert to_both.reason == "550 'erased' isn't o'brien@example.com"


def test_her_address_is_known_in_whatever_form(server, erased, configure):
    configure(DELIVERY="queued")
    entry = _send("Anna <anna@BÜCHER。example>", "bob@example.org")
    erased()
    assert stored_message.load(entry).to == ["bob@example.org"]


def test_what_providers_and_own_headers_name_goes_too(server, erased, configure):
    configure(DELIVERY="queued")
    message = EmailMessage(
        f"For {ANNA}",
        "Body",
        "shop@example.com",
        [ANNA, "bob@example.org"],
        reply_to=[ANNA, "shop@example.com"],
        headers={
            "To": f"Anna <{ANNA}>, Bob <bob@example.org>",
            "X-Customer": ANNA,
            "List-Unsubscribe": f"<mailto:{STORED}>, <https://example.com/>",
        },
    )
    message.metadata = {"customer": ANNA, "order": 7}
    message.tags = [ANNA, "order"]
    message.send()
    erased()
    _is_gone()
    thawed = stored_message.load(LogEntry.objects.get())
    assert (thawed.metadata, thawed.tags) == ({"order": 7}, ["order"])
    assert Worker().drain() == 1
    [received] = server.received
    assert received.message["To"] == "Bob <bob@example.org>"
    assert received.message["Reply-To"] == "shop@example.com"
    assert received.message["X-Customer"] is None
    assert received.message["List-Unsubscribe"] == "<mailto:erased>, <https://example.com/>"


def test_data_of_her_own_goes_too(server, erased, configure):
    configure(DELIVERY="queued")
    message = EmailMessage("Yours", "Body", "shop@example.com", [ANNA, "bob@example.org"])
    message.merge_data = {ANNA: {"code": 1}, "bob@example.org": {"code": 2}}
    message.merge_metadata = {STORED.upper(): {"id": 1}, "bob@example.org": {"id": 2}}
    message.send()
    erased()
    _is_gone()
    thawed = stored_message.load(LogEntry.objects.get())
    assert thawed.merge_data == {"bob@example.org": {"code": 2}}
    assert thawed.merge_metadata == {"bob@example.org": {"id": 2}}


def test_what_is_being_sent_is_left_alone(server, erased, configure):
    configure(DELIVERY="queued")
    entry = _send(ANNA)
    token, rows = claims.claim(10)
    claims.begin(token, rows)
    configure(DELIVERY="immediate")
    _send(ANNA)
    with pytest.raises(CommandError, match=f"entries {entry.pk}[.]"):
        erased()
    assert entry.recipients.get().address == STORED
    assert LogRecipient.objects.filter(address="erased").count() == 1
    assert OutboxMessage.objects.get().state == "sending"


def test_a_dry_run_changes_nothing(server, erased, configure):
    _send(ANNA, "bob@example.org")
    _send("bob@example.org", sender=ANNA)
    configure(DELIVERY="queued")
    _send(ANNA)
    _send(ANNA, "bob@example.org")

    def everything():
        models = (LogEntry, LogRecipient, StoredMessage, OutboxMessage)
        return [list(model.objects.order_by("pk").values()) for model in models]

    before = everything()
    told = erased(dry_run=True)
    assert everything() == before
    really = erased()
    assert told.splitlines()[1:] == really.splitlines()[1:]
    assert "anonymised: 4" in told
    assert "Nothing was changed" in told
    _is_gone()


def test_configuration_is_named_and_stays(make_set, reload, erased):
    make_set(name="Main", bounce_address=STORED, reports=[STORED])
    live.reload()
    told = erased()
    assert "SMTP settings Main: bounce_address" in told
    assert "SMTP settings Main: report emails" in told
    assert "Version 1" in told
    assert SettingsSet.objects.get().bounce_address == STORED


def test_steps_reach_everything(db, erased, monkeypatch):
    monkeypatch.setattr(erase, "_BATCH", 2)
    entries = LogEntry.objects.bulk_create(
        LogEntry(state="sent", category="other", sender=ANNA if i % 2 else "bob@example.org")
        for i in range(9)
    )
    LogRecipient.objects.bulk_create(
        LogRecipient(entry=entry, address=STORED, domain="x", state="sent") for entry in entries
    )
    LogRecipient.objects.create(entry=entries[3], address=STORED, domain="x", state="sent")
    assert "anonymised: 9" in erased()
    _is_gone()


def test_a_message_that_cannot_be_read_is_told(db, erased):
    entry = LogEntry.objects.create(state="failed", category="other")
    StoredMessage.objects.create(entry=entry, content=b"?", size=1, created_at=timezone.now())
    assert "can't be decrypted" in erased()


@pytest.mark.parametrize("typed", ["", "anna", "a@b@c", "%@example.org\n", "_" * 10_000])
def test_no_address(db, erased, typed):
    with pytest.raises(CommandError, match="email address"):
        erased(typed)


def test_nothing_is_read_from_a_replica(server, erased, settings, monkeypatch):
    _send(ANNA, "bob@example.org", subject=f"For {ANNA}")
    settings.DATABASE_ROUTERS = ["tests.live.test_replicas.Replicas"]
    settings_of_replica = connections.settings["default"] | {"NAME": "/nowhere/replica"}
    monkeypatch.setitem(connections.settings, "replica", settings_of_replica)
    assert "anonymised: 1" in erased()
    call_command("smtp_prune")
    settings.DATABASE_ROUTERS = []
    _is_gone()
