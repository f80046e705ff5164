"""What reports do to entries: in any order, repeated, too early, and until they are pruned."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from wagtail_smtp.config.values import Attempt, Outcome, Recipient
from wagtail_smtp.delivery.log import entries, tracking_events
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.delivery.routing import Classification, Route
from wagtail_smtp.maintenance import retention
from wagtail_smtp.maintenance.erase import Erasure
from wagtail_smtp.models import DeliveryEvent, LogEntry, LogRecipient
from wagtail_smtp.models.choices import RANKS, Reported

pytestmark = pytest.mark.django_db
SET, TO = uuid.uuid4(), "recipient@example.com"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def sent(*addresses, provider_id="<abc@provider>", set_key=SET, **values):
    """An entry of a message that a provider took."""
    entry = LogEntry.objects.create(
        state="sent", category="form", category_source="default", set_key=set_key, **values
    )
    for address in addresses or (TO,):
        row = entries.recipient(address, "sent", provider_id=provider_id)
        row.entry = entry
        row.save()
    return LogEntry.objects.get(pk=entry.pk)


def told(kind, minute=0, **values):
    """A report, so many minutes after noon."""
    known = {"message_id": "abc@provider", "address": TO, "at": NOON + timedelta(minutes=minute)}
    return tracking_events.event(SET, Reported(kind), **(known | values))


def outcome():
    row = LogRecipient.objects.get()
    return row.reported, row.reported_at, row.reported_reason, row.entry.reported


def story():
    """What a provider tells of one message."""
    return [
        told("queued", 1),
        told("deferred", 2, reason="451 Greylisted"),
        told("delivered", 3, reason="250 OK"),
        told("opened", 4),
        told("bounced", 5, reason="550 Mailbox full"),
    ]


@pytest.mark.parametrize("count", range(0, 120, 7))
def test_the_order_in_which_reports_come_makes_no_difference(count):
    entry = sent()
    order = next(itertools.islice(itertools.permutations(story()), count, None))
    for report in order:
        tracking_events.store([report])
    assert outcome() == ("bounced", NOON + timedelta(minutes=5), "550 Mailbox full", "bounced")
    assert [event.type for event in entry.events.all()] == [report.type for report in story()]


def test_all_at_once_is_the_same():
    sent()
    tracking_events.store([*story(), *story()])
    assert outcome()[0] == "bounced"
    assert DeliveryEvent.objects.count() == len(story())


@pytest.mark.parametrize(
    ("first", "later", "stays"),
    [
        ("bounced", "delivered", "bounced"),
        ("bounced", "opened", "bounced"),
        ("opened", "delivered", "opened"),
        ("delivered", "bounced", "bounced"),
        ("bounced", "complained", "complained"),
        ("complained", "unsubscribed", "complained"),
        ("clicked", "opened", "clicked"),
        ("delivered", "deferred", "delivered"),
        ("delivered", "autoresponded", "delivered"),
        ("rejected", "sent", "rejected"),
    ],
)
def test_nothing_lowers_what_is_known(first, later, stays):
    sent()
    tracking_events.store([told(first, 1)])
    tracking_events.store([told(later, 2)])
    assert outcome()[0] == stays == outcome()[3]
    assert DeliveryEvent.objects.count() == 2


def test_of_equals_the_later_one_counts():
    sent()
    for minute in (5, 9, 7):
        tracking_events.store([told("deferred", minute, reason=f"451 {minute}")])
    assert outcome()[1:3] == (NOON + timedelta(minutes=9), "451 9")


def test_every_kind_has_a_rank_or_is_meant_to_have_none():
    assert set(Reported) - set(RANKS) == {Reported.AUTORESPONDED, Reported.SUBSCRIBED}


@pytest.mark.parametrize("given", ["abc@provider", "<abc@provider>"])
@pytest.mark.parametrize("kept", ["abc@provider", "<abc@provider>"])
def test_ids_match_with_angle_brackets_and_without(given, kept):
    sent(provider_id=kept)
    tracking_events.store([told("delivered", message_id=given)])
    assert outcome()[0] == "delivered"


def test_the_same_report_is_kept_once_by_its_id_or_by_what_it_says():
    sent()
    for _ in range(2):
        tracking_events.store([told("opened", 1, event_id="7"), told("opened", 2, event_id="8")])
        tracking_events.store([told("opened", 3), told("opened", 4)])
    # One report about several recipients has one id.
    tracking_events.store([told("opened", 1, event_id="7", address="other@example.com")])
    assert DeliveryEvent.objects.count() == 5


def test_a_recipient_is_told_from_the_others():
    entry = sent(TO, "other@example.com")
    tracking_events.store([told("bounced"), told("delivered", address="other@example.com")])
    states = dict(entry.recipients.values_list("address", "reported"))
    assert states == {TO: "bounced", "other@example.com": "delivered"}
    entry.refresh_from_db()
    assert entry.reported == "bounced"


def test_a_report_that_does_not_say_of_whom_is_the_messages():
    entry = sent(TO, "other@example.com")
    tracking_events.store([told("opened", names_recipient=False), told("clicked", address="")])
    assert not entry.recipients.exclude(reported="").exists()
    entry.refresh_from_db()
    assert entry.reported == "clicked"
    assert entry.events.filter(recipient=None, address="").count() == 2
    one = sent(provider_id="one")
    tracking_events.store([told("opened", message_id="one", names_recipient=False)])
    assert one.recipients.get().reported == "opened"


def test_only_mail_of_the_set_is_meant():
    other = sent(set_key=uuid.uuid4())
    tracking_events.store([told("bounced"), told("bounced", entry_key=other.key, message_id="")])
    assert outcome()[0] == ""
    assert DeliveryEvent.objects.filter(entry=None).count() == 2


def test_people_whom_a_redirect_kept_the_message_from_are_not_meant():
    entry = sent("qa@example.com")
    kept_from = entries.recipient(TO, "redirected", role="to", provider_id="<abc@provider>")
    kept_from.entry = entry
    kept_from.save()
    tracking_events.store([told("delivered")])
    kept_from.refresh_from_db()
    assert kept_from.reported == ""


def test_a_message_whose_answer_never_came_is_known_by_what_was_sent_along():
    entry = sent(provider_id="")
    tracking_events.store([told("delivered", entry_key=entry.key)])
    assert outcome()[0] == "delivered"


def delivery(provider_id="<abc@provider>"):
    """What the pipeline hands to the log."""
    from django.core.mail import EmailMessage

    message = EmailMessage("Hello", "Text", "shop@example.com", [TO])
    done = Outcome("Provider", (Recipient(TO),))
    attempt = Attempt("Provider", 0.1, key=str(SET), outcome=done)
    route = Route("form", (), "")
    return DeliveryResult(
        message, message, Classification("form", "default"), route, 1, (attempt,), outcome=done
    )


@pytest.fixture
def named(monkeypatch):
    """Recipients get the provider's id as the provider's transport will hand it in."""
    real = entries.recipients

    def recipients(*args, **kwargs):
        for row in real(*args, **kwargs):
            row.provider_id = "<abc@provider>"
            yield row

    monkeypatch.setattr(entries, "recipients", recipients)


@pytest.mark.django_db(transaction=True)
def test_reports_that_come_before_the_entry_wait_for_it(named):
    tracking_events.store([told("delivered", 1), told("opened", 2)])
    assert DeliveryEvent.objects.filter(entry=None).count() == 2
    entry = entries.record(delivery())
    assert outcome()[0] == "opened" == outcome()[3]
    assert entry.events.filter(recipient=LogRecipient.objects.get()).count() == 2


def test_one_that_was_missed_is_found_with_the_next_and_by_pruning():
    tracking_events.store([told("bounced", 1)])
    entry = sent()  # as if it were written at the same moment: nobody saw the other
    tracking_events.store([told("opened", 2)])
    assert outcome()[0] == "bounced"
    assert entry.events.count() == 2
    DeliveryEvent.objects.update(entry=None, recipient=None)
    LogRecipient.objects.update(reported="", reported_at=None)
    retention.prune_step()
    assert outcome()[0] == "bounced"
    assert entry.events.count() == 2


def test_what_came_to_nothing_is_done_again_when_the_report_is_repeated():
    sent()
    tracking_events.store([told("bounced")])
    # As after a crash between keeping it and showing it.
    LogRecipient.objects.update(reported="", reported_at=None)
    LogEntry.objects.update(reported="")
    tracking_events.store([told("bounced")])
    assert outcome()[0] == "bounced" == outcome()[3]


def test_reports_nobody_waits_for_are_pruned_after_a_day():
    tracking_events.store([told("bounced"), told("opened")])
    retention.prune_step()
    assert DeliveryEvent.objects.count() == 2
    DeliveryEvent.objects.update(created_at=timezone.now() - timedelta(days=1, minutes=1))
    retention.prune_step()
    assert not DeliveryEvent.objects.exists()


def test_only_so_many_wait(monkeypatch, caplog):
    monkeypatch.setattr(tracking_events, "WAITING", 3)
    tracking_events.store([told("opened", minute) for minute in range(4)])
    tracking_events.store([told("opened", 60)])
    assert DeliveryEvent.objects.count() == 4
    assert "too many" in caplog.text
    sent()
    tracking_events.store([told("delivered")])
    assert outcome()[0] == "opened"


def test_reports_go_with_their_entry(configure):
    entry = sent()
    tracking_events.store(story())
    LogEntry.objects.update(created_at=timezone.now() - timedelta(days=91))
    retention.prune_step()
    assert not LogEntry.objects.exists()
    assert not DeliveryEvent.objects.exists()
    # One that comes when its entry is gone, and one whose entry went at that moment.
    tracking_events.store([told("opened")])
    DeliveryEvent.objects.update(entry=entry.pk, created_at=timezone.now() - timedelta(days=91))
    retention.prune_step()
    assert not DeliveryEvent.objects.exists()


def test_erasing_an_address_covers_reports():
    sent(TO, "other@example.com")
    reason = f"550 <{TO}> is unknown"
    tracking_events.store(
        [
            told("bounced", reason=reason),
            told("bounced", address="other@example.com", reason=reason),
            told("opened", message_id="unknown"),
            told("opened", message_id="unknown", address="", reason=reason),
            told("opened", message_id="unknown", address="other@example.com"),
        ]
    )
    Erasure(TO, dry_run=True).run()
    assert DeliveryEvent.objects.filter(address=TO).count() == 2
    Erasure(TO).run()
    kept = [
        *DeliveryEvent.objects.values_list("address", "reason"),
        *LogRecipient.objects.values_list("address", "reported_reason"),
    ]
    assert TO not in str(kept)
    assert DeliveryEvent.objects.count() == 2
    other = LogRecipient.objects.get(address="other@example.com")
    assert other.reported_reason == "550 <erased> is unknown"


def test_events_of_an_address_that_a_collation_takes_for_the_erased_one_stay():
    """MySQL's collations ignore accents."""
    address, alike = "muller@example.com", "m\u00fcller@example.com"
    sent(address, alike)
    events = [("abc@provider", address), ("abc@provider", alike)]
    events += [("unknown", address), ("unknown", alike)]
    tracking_events.store([told("opened", message_id=id_, address=to) for id_, to in events])
    Erasure(address).run()
    kept = DeliveryEvent.objects.order_by("message_id").values_list("message_id", "address")
    assert list(kept) == [("abc@provider", alike), ("unknown", alike)]


def test_a_batch_costs_few_queries(django_assert_max_num_queries):
    for number in range(50):
        sent(f"{number}@example.com", provider_id=f"id{number}")
    reports = [
        told("delivered", message_id=f"id{n}", address=f"{n}@example.com") for n in range(50)
    ]
    # Two for each recipient and entry, and a few for all of them.
    with django_assert_max_num_queries(100 + 8):
        tracking_events.store(reports)
    assert LogEntry.objects.filter(reported="delivered").count() == 50


def test_no_key_of_a_report_is_enforced_by_the_database():
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, DeliveryEvent._meta.db_table)
    assert not [item for item in constraints.values() if item["foreign_key"]]
