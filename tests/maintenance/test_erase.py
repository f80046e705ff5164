"""Everything about one address goes, nothing about another does."""

import pytest
from django.core.mail import EmailMessage
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from tests.support.log_entries import make_entry, make_message
from tests.support.outbox import claim
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from wagtail_smtp import live, suppression
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.maintenance import erase
from wagtail_smtp.models import (
    Alert,
    LogAttempt,
    LogEntry,
    LogRecipient,
    OutboxMessage,
    SettingsSet,
    StoredMessage,
    SuppressedAddress,
)
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
        message = stored_message.opened(stored.content, stored.entry_id)
        head, _separator, _body = message.frozen_content.partition(b"\r\n\r\n")
        assert b"anna" not in head.lower(), head
        assert "anna" not in str(message.wagtail_smtp_frozen[0]).lower()


@pytest.mark.parametrize("typed", [ANNA, STORED, "ANNA@BÜCHER.example"])
def test_what_went_to_her_alone(server, erased, typed):
    entry = _send(f"Anna <{ANNA}>", subject="Dear Anna")
    other = _send("joanna@bücher.example", subject="Dear Jo")
    assert "entries deleted: 1" in erased(typed)
    assert not LogEntry.objects.filter(pk=entry.pk).exists()
    for model in (LogRecipient, LogAttempt, StoredMessage):
        assert {row.entry_id for row in model.objects.all()} == {other.pk}
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
    assert [r.address for r in entry.recipients.all()] == ["bob@example.org"]
    assert "anna@x" not in entry.reason + str(list(entry.attempts.values()))
    assert not StoredMessage.objects.exists()


def test_what_came_from_her(server, erased):
    _send("bob@example.org", sender=f"Anna <{ANNA}>", subject="Mine")
    _send("bob@example.org", reply_to=[ANNA], subject="Contact form")
    other = _send("bob@example.org")
    assert "entries deleted: 2" in erased()
    assert LogEntry.objects.get() == other
    _is_gone()


def test_a_redirected_message_to_her(make_set, reload, erased):
    with HostileServer() as server:
        make_set(server, redirect=True, reports=["qa@example.com"])
        reload()
        _send(ANNA, subject="Dear Anna")
        to_both = _send(ANNA, "bob@example.org")
    erased()
    assert LogEntry.objects.get() == to_both
    addresses = {r.address for r in to_both.recipients.all()}
    assert addresses == {"bob@example.org", "qa@example.com"}


def test_what_waits_for_her_alone_is_cancelled(server, erased, configure):
    configure(DELIVERY="queued")
    _send(ANNA, subject="Dear Anna")
    _send("bob@example.org", sender=ANNA)
    assert "messages cancelled: 2" in erased()
    assert Worker().drain() == 0
    assert server.received == []
    assert not OutboxMessage.objects.exists()
    assert not StoredMessage.objects.exists()
    assert not LogEntry.objects.exists()


def test_what_waits_for_others_too_is_erased_once_it_is_sent(server, erased, configure):
    configure(DELIVERY="queued")
    entry = _send("bob@example.org", f"Anna <{ANNA}>", subject=f"For {ANNA}", cc=[ANNA.upper()])
    other = _send(ANNA)
    with pytest.raises(CommandError, match=f"entries {entry.pk}[.]"):
        erased()
    assert not LogEntry.objects.filter(pk=other.pk).exists()
    assert Worker().drain() == 1
    [received] = server.received
    assert received.recipients == ["bob@example.org", STORED, f"ANNA@{STORED[5:]}"]
    assert "kept without the address, for their other recipients: 1" in erased()
    _is_gone()
    entry.refresh_from_db()
    assert (entry.state, entry.subject) == ("sent", "For erased")
    assert entry.recipients.get().address == "bob@example.org"
    assert not StoredMessage.objects.exists()


def test_whose_address_only_ends_alike_is_left_alone(server, erased):
    others = ["o'brien@example.com", "x.brien@example.com", "{brien@example.com"]
    answer = _send("bob@example.org", reply_to=others, subject=f"From {others[0]}")
    to_both = _send("brien@example.com", *others, subject=f"To {others[0]}")
    said = "550 'brien@example.com' isn't o'brien@example.com"
    LogEntry.objects.filter(pk=to_both.pk).update(reason=said)
    assert "entries deleted: 0" in erased("brien@example.com")
    assert {e.subject for e in LogEntry.objects.all()} == {answer.subject, to_both.subject}
    assert stored_message.load(answer).reply_to == others
    to_both.refresh_from_db()
    assert to_both.reason == "550 'erased' isn't o'brien@example.com"
    assert {r.address for r in to_both.recipients.all()} == set(others)


def test_whose_address_a_collation_takes_for_hers_is_left_alone(db, erased):
    """MySQL's collations ignore accents and the case of every letter."""
    hers, alike = "muller@example.org", "m\u00fcller@example.org"
    other = make_entry(alike, message=make_message(to=[alike]))
    to_both = make_entry(hers, alike, message=make_message(to=[hers, alike]))
    make_entry(hers)
    assert "entries deleted: 1" in erased(hers)
    assert list(LogEntry.objects.order_by("pk")) == [other, to_both]
    assert [row.address for row in to_both.recipients.all()] == [alike]
    assert StoredMessage.objects.get().entry == other


def test_her_address_is_known_in_whatever_form(server, erased):
    entry = _send("Anna <anna@BÜCHER。example>", "bob@example.org")
    erased()
    assert [r.address for r in entry.recipients.all()] == ["bob@example.org"]


@pytest.mark.parametrize(
    "values",
    [
        {"reply_to": [ANNA, "shop@example.com"]},
        {"headers": {"To": f"Anna <{ANNA}>, Bob <bob@example.org>"}},
        {"headers": {"X-Customer": ANNA}},
        {"headers": {"List-Unsubscribe": f"<mailto:{STORED}>, <https://example.com/>"}},
    ],
)
def test_a_message_with_the_address_in_a_header(server, erased, configure, values):
    configure(DELIVERY="queued")
    _send("bob@example.org", **values)
    assert "messages cancelled: 1" in erased()
    assert not LogEntry.objects.exists()
    assert not StoredMessage.objects.exists()


def test_what_is_being_sent_is_left_alone(server, erased, configure):
    configure(DELIVERY="queued")
    entry = _send(ANNA)
    claim()
    configure(DELIVERY="immediate")
    _send(ANNA)
    with pytest.raises(CommandError, match=f"entries {entry.pk}[.]"):
        erased()
    assert entry.recipients.get().address == STORED
    assert LogEntry.objects.get() == entry
    assert OutboxMessage.objects.get().state == "sending"


def test_a_dry_run_changes_nothing(server, erased, configure):
    _send(ANNA, "bob@example.org")
    _send("bob@example.org", sender=ANNA)
    configure(DELIVERY="queued")
    _send(ANNA)

    def everything():
        models = (LogEntry, LogRecipient, StoredMessage, OutboxMessage)
        return [list(model.objects.order_by("pk").values()) for model in models]

    before = everything()
    told = erased(dry_run=True)
    assert everything() == before
    really = erased()
    assert told.splitlines()[1:] == really.splitlines()[1:]
    assert "entries deleted: 2" in told
    assert "other recipients: 1" in told
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
    assert "entries deleted: 9" in erased()
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
    assert "other recipients: 1" in erased()
    call_command("smtp_prune")
    settings.DATABASE_ROUTERS = []
    _is_gone()


def test_alerts_name_no_one(db, erased):
    Alert.objects.create(kind="given_up", subject=f"To {ANNA}", text=f"550 <{ANNA}> unknown\nEnd")
    Alert.objects.create(kind="given_up", subject="To joanna@bücher.example", text="End")
    erased(ANNA)
    assert list(Alert.objects.order_by("pk").values_list("subject", "text")) == [
        ("To erased", "550 <erased> unknown\nEnd"),
        ("To joanna@bücher.example", "End"),
    ]


def test_of_a_suppressed_address_a_hash_is_kept(db, erased):
    suppression.suppress(ANNA.title(), "complained", detail=f"Told by {STORED}")
    suppression.suppress("bob@example.com", detail=f"friend of {ANNA}")
    assert "hash is kept: 1" in erased(dry_run=True)
    assert SuppressedAddress.objects.filter(address=STORED).exists()
    assert "hash is kept: 1" in erased()
    row = SuppressedAddress.objects.get(reason="complained")
    assert (row.address, row.domain, row.detail) == ("", "", "")
    assert SuppressedAddress.objects.get(reason="manual").detail == "friend of erased"
    assert suppression.is_suppressed(ANNA)
    assert "hash is kept: 0" in erased()
