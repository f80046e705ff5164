"""From a returned message to the recipient in the delivery log."""

import uuid

import pytest

from tests.support import bounces
from tests.support.bounces import RECIPIENT
from wagtail_smtp.bounces import messages
from wagtail_smtp.bounces.record import Outcome, process
from wagtail_smtp.config.bounce_address import signed
from wagtail_smtp.delivery.log import tracking_events
from wagtail_smtp.delivery.log.entries import recipient
from wagtail_smtp.models import DeliveryEvent, LogEntry, SuppressedAddress


def _reported(entry):
    entry.refresh_from_db()
    found = entry.recipients.get(address=RECIPIENT)
    return entry.reported, found.reported, found.reported_reason


def test_a_bounce_is_recorded(sent_to):
    entry, address = sent_to(RECIPIENT, "other@example.org")
    fields, kind, reason = bounces.STANDARD["postfix"]
    assert process(bounces.report(address, fields)) == Outcome.RECORDED
    assert _reported(entry) == (kind, kind, reason)
    assert entry.recipients.get(address="other@example.org").reported == ""
    [event] = entry.events.all()
    assert event.happened_at.isoformat() == "2026-11-30T02:00:00+00:00"


def test_the_sets_key_of_the_entry_does_not_matter(sent_to):
    """Its message may have gone through several sets; the entry has the last one's key."""
    entry, address = sent_to(RECIPIENT, set_key=uuid.uuid4())
    assert process(bounces.report(address, bounces.fields())) == Outcome.RECORDED
    assert _reported(entry)[0] == "bounced"


def test_the_same_message_is_recorded_once(sent_to):
    entry, address = sent_to(RECIPIENT)
    content = bounces.report(address, bounces.fields())
    assert [process(content), process(content)] == [Outcome.RECORDED] * 2
    assert entry.events.count() == 1


def test_a_later_delay_does_not_undo_a_bounce(sent_to):
    entry, address = sent_to(RECIPIENT)
    process(bounces.report(address, bounces.fields()))
    process(bounces.report(address, bounces.fields("4.4.1", "delayed"), headers="X-Other: 1\n"))
    assert _reported(entry)[:2] == ("bounced", "bounced")


def test_the_address_that_the_message_was_delivered_to_may_be_given(sent_to):
    entry, address = sent_to(RECIPIENT)
    content = bounces.report("undisclosed-recipients:;", bounces.fields())
    assert process(content) == Outcome.UNVERIFIED
    assert process(content, address) == Outcome.RECORDED
    assert _reported(entry)[0] == "bounced"


@pytest.mark.parametrize(
    "forge",
    [
        lambda address, key: "bounces@example.com",
        lambda address, key: f"bounces+{key}@example.com",
        lambda address, key: address.replace("example.com", "example.net"),
        lambda address, key: signed("bounces@example.com", "+", uuid.uuid4()).replace("+", "+a"),
    ],
    ids=["unsigned", "only the key", "another domain", "changed"],
)
def test_without_a_valid_signature_nothing_happens(sent_to, forge):
    """Not even if the returned message's Message-ID is right: every recipient knows it."""
    entry, address = sent_to(RECIPIENT, message_id="<original@example.com>")
    content = bounces.report(forge(address, entry.key), bounces.fields())
    assert process(content) == Outcome.UNVERIFIED
    assert not DeliveryEvent.objects.exists()


@pytest.mark.parametrize("make", [bounces.vacation, bounces.challenge, bounces.read_receipt])
def test_automatic_replies_are_ignored(sent_to, make):
    entry, address = sent_to(RECIPIENT)
    assert process(make(address)) == Outcome.IGNORED
    assert not entry.events.exists()


def test_only_recipients_of_the_message_can_bounce(sent_to):
    entry, address = sent_to(RECIPIENT)
    fields = bounces.fields(final="rfc822; victim@example.org")
    assert process(bounces.report(address, fields)) == Outcome.UNMATCHED
    entry.refresh_from_db()
    assert entry.reported == ""
    assert not DeliveryEvent.objects.exists()


def test_a_recipient_who_sends_many_fills_no_table(sent_to):
    entry, address = sent_to(RECIPIENT, "other@example.org")
    content = bounces.report(address, bounces.fields())
    others = (content.replace(b"<report@", b"<report%d@" % number) for number in range(25))
    assert [*map(process, others)] == [Outcome.RECORDED] * 20 + [Outcome.UNMATCHED] * 5
    assert entry.events.count() == 20
    fields = bounces.fields(final="rfc822; other@example.org")
    assert process(bounces.report(address, fields)) == Outcome.RECORDED


def test_the_original_recipients_of_redirected_mail_cannot_bounce(sent_to):
    entry, address = sent_to("qa@example.com")
    row = recipient(RECIPIENT, "redirected", role="to")
    row.entry = entry
    row.save()
    assert process(bounces.report(address, bounces.fields())) == Outcome.UNMATCHED


@pytest.mark.parametrize(("days", "outcome"), [(29, "recorded"), (31, "unmatched")])
def test_a_report_is_believed_for_thirty_days(sent_to, days, outcome):
    _entry, address = sent_to(RECIPIENT, days_ago=days)
    assert process(bounces.report(address, bounces.fields())) == outcome


def test_a_bounce_waits_for_its_entry(db):
    key = uuid.uuid4()
    address = signed("bounces@example.com", "+", key)
    assert process(bounces.report(address, bounces.fields())) == Outcome.RECORDED
    entry = LogEntry.objects.create(key=key, state="sent", category="form")
    row = recipient(RECIPIENT, "sent")
    row.entry = entry
    row.save()
    tracking_events.adopt(list(DeliveryEvent.objects.all()))
    assert _reported(entry)[:2] == ("bounced", "bounced")


def test_an_event_that_waited_only_matches_recipients(db):
    key = uuid.uuid4()
    process(bounces.report(signed("bounces@example.com", "+", key), bounces.fields()))
    entry = LogEntry.objects.create(key=key, state="sent", category="form")
    row = recipient("other@example.org", "sent")
    row.entry = entry
    row.save()
    tracking_events.adopt(list(DeliveryEvent.objects.all()))
    entry.refresh_from_db()
    assert (entry.reported, entry.events.count()) == ("", 0)


@pytest.mark.parametrize(
    ("given", "recipients", "outcome"),
    [
        (RECIPIENT, [RECIPIENT, "other@example.org"], "recorded"),
        ("", [RECIPIENT], "recorded"),
        ("", [RECIPIENT, "other@example.org"], "unmatched"),
    ],
)
def test_a_complaint_is_recorded_if_its_recipient_is_clear(sent_to, given, recipients, outcome):
    entry, address = sent_to(*recipients)
    assert process(bounces.complaint("abuse@example.com", address, given)) == outcome
    assert _reported(entry)[1] == ("complained" if outcome == "recorded" else "")


def test_a_message_that_cannot_be_read_is_set_aside(sent_to, monkeypatch, caplog):
    _entry, address = sent_to(RECIPIENT)

    def fail(message):
        raise RecursionError("secret text")

    monkeypatch.setattr(messages, "reports", fail)
    assert process(bounces.report(address, bounces.fields())) == Outcome.UNREADABLE
    assert "secret text" not in caplog.text


def test_an_implausible_date_is_not_stored(sent_to):
    entry, address = sent_to(RECIPIENT)
    content = bounces.report(address, bounces.fields())
    process(content.replace(b"30 Nov 2026", b"30 Nov 1026"))
    assert entry.events.get().happened_at.year >= 2026


@pytest.mark.parametrize(
    ("fields", "recipients", "is_suppressed"),
    [
        (bounces.STANDARD["postfix"][0], [RECIPIENT], True),
        (bounces.STANDARD["office 365"][0], [RECIPIENT], True),
        (bounces.STANDARD["postfix"][0], [RECIPIENT, "other@example.org"], False),
        (bounces.STANDARD["postfix without a domain"][0], [RECIPIENT], False),
        (bounces.STANDARD["full mailbox"][0], [RECIPIENT], False),
        (bounces.STANDARD["spam"][0], [RECIPIENT], False),
    ],
)
def test_only_a_certain_bounce_of_a_single_recipient_suppresses(
    sent_to, fields, recipients, is_suppressed
):
    """Of several recipients, each could forge a bounce of the others."""
    _entry, address = sent_to(*recipients)
    process(bounces.report(address, fields))
    assert SuppressedAddress.objects.exists() == is_suppressed
