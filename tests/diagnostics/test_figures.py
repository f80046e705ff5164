"""The numbers of a period are those that one gets by counting the entries of the log."""

import random
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from tests.support.log_entries import make_entry, make_waiting, write_quickly
from wagtail_smtp import suppression
from wagtail_smtp.diagnostics import figures as module
from wagtail_smtp.diagnostics.figures import Period, figures
from wagtail_smtp.models import DeliveryEvent, LogEntry, OutboxMessage
from wagtail_smtp.models.choices import Reported, State

ENTRIES = 100_000
#: Germany's clocks go back on 25 October 2026: that day and week have an hour more.
FIRST, LAST = date(2026, 10, 5), date(2026, 11, 8)
BERLIN = ZoneInfo("Europe/Berlin")
NOT_SENT = {"failed", "refused", "partly_sent", "unknown", "too_large", "blocked"}
SETS = [(uuid.UUID(int=number), f"Set {number}") for number in range(1, 5)]
CAUSES = ["connect-refused", "dns", "too-large", "outcome-unknown", ""]


@dataclass
class Log:
    """What the entries of the log say, remembered in Python."""

    entries: list[LogEntry]
    held: set[int]
    events: list[DeliveryEvent]

    def expected(self, first, last):
        """Count by the day in Berlin."""

        def is_in(row):
            return first <= row.created_at.astimezone(BERLIN).date() <= last

        resent = {
            row.resend_of_id: row.pk for row in self.entries if row.resend_of_id and is_sent(row)
        }
        states, causes, carriers = Counter(), Counter(), Counter()
        held = redirected = 0
        for row in filter(is_in, self.entries):
            if row.pk in self.held:
                held += 1
                continue
            if row.state in NOT_SENT:
                if resent.get(row.resend_of_id or row.pk, 0) > row.pk:
                    continue
                causes[row.cause] += 1
                if row.via:
                    carriers[str(row.set_key or "standard")] += 1
            states[row.state] += 1
            redirected += bool(row.redirected_by) and is_sent(row)
        tracked = {(e.type, e.entry_id) for e in filter(is_in, self.events) if e.entry_id}
        return states, held, redirected, causes, carriers, Counter(kind for kind, _ in tracked)


def is_sent(row):
    return row.state == "sent"


def _moment(rnd):
    """Often at the edge of a day in Berlin."""
    day = FIRST + timedelta(days=rnd.randrange((LAST - FIRST).days + 1))
    midnight = datetime(day.year, day.month, day.day, tzinfo=BERLIN).astimezone(UTC)
    if rnd.random() < 0.2:
        return midnight + timedelta(microseconds=rnd.choice([-1, 0, 1]))
    return midnight + timedelta(seconds=rnd.randrange(25 * 3600))


@pytest.fixture
def log(db, run_in):
    run_in("production")
    rnd = random.Random(20261025)
    rows = []
    states = [state for state in State.values if state != "sent"]
    for number in range(1, ENTRIES + 1):
        key, name = rnd.choice([*SETS, (None, "standard delivery"), (None, "")])
        state = rnd.choice(states) if rnd.random() < 0.3 else "sent"
        row = LogEntry(
            pk=number,
            created_at=_moment(rnd),
            state=state,
            category="form",
            set_key=key,
            # It was renamed.
            via=f"{name} before" if key and number < ENTRIES / 2 else name,
            redirected_by=rnd.choice(["", "", "", "Set 1"]),
            cause=rnd.choice(CAUSES) if state in NOT_SENT else "",
        )
        if rnd.random() < 0.05 and (failed := rnd.choice(rows[-50:] or [None])):
            row.resend_of_id = failed.resend_of_id or failed.pk
        rows.append(row)
    write_quickly(rows)
    return Log(rows, _hold(rnd, rows), _report(rnd, rows))


def _hold(rnd, rows):
    pending = [row for row in rows if row.state in ("queued", "deferred", "sending")]
    chosen = rnd.sample(pending, 2000)
    waiting = []
    for row in chosen:
        here = rnd.choice(["production", "", "staging"])
        state = "sending" if row.state == "sending" else rnd.choice(["waiting", "held"])
        waiting.append(
            OutboxMessage(entry=row, state=state, environment=here, expires_at=timezone.now())
        )
    OutboxMessage.objects.bulk_create(waiting, batch_size=1000)
    return {
        row.entry_id
        for row in waiting
        if row.state == "held" or (row.state == "waiting" and row.environment == "staging")
    }


def _report(rnd, rows):
    events = []
    for number in range(5000):
        entry = rnd.choice(rows[:500]) if rnd.random() < 0.9 else None
        events.append(
            DeliveryEvent(
                entry=entry,
                set_key=SETS[0][0],
                digest=str(number),
                type=rnd.choice(Reported.values),
                happened_at=timezone.now(),
                created_at=_moment(rnd),
            )
        )
    DeliveryEvent.objects.bulk_create(events, batch_size=1000)
    return events


def test_they_match_a_log_counted_in_python(log):
    periods = [
        *(Period(day, day) for day in (date(2026, 10, 24), date(2026, 10, 25), LAST)),
        *(Period(monday, monday + timedelta(days=6)) for monday in (FIRST, date(2026, 10, 19))),
        Period(FIRST, LAST),
        Period(date(2026, 9, 1), date(2026, 9, 7)),
    ]
    for period in periods:
        found = period.figures()
        states, held, redirected, causes, carriers, tracked = log.expected(
            period.first, period.last
        )
        assert found.states == states
        assert (found.held, found.redirected) == (held, redirected)
        assert [(each.slug, each.count) for each in found.causes] == _most(causes)
        assert [(each.key, each.count) for each in found.carriers] == _most(carriers)
        assert found.tracked == {kind: tracked[kind] for kind in module.TRACKED}
        assert found.total == sum(states.values()) + held
        assert found.sent == states["sent"]
        assert found.not_sent == sum(states[state] for state in NOT_SENT)
        assert found.waiting == sum(states[state] for state in ("queued", "sending", "deferred"))
        assert found.complained == tracked["complained"]
        assert found.returned == sum(tracked[kind] for kind in ("bounced", "rejected", "failed"))
    assert not found.total, "The last period has no entries."


def _most(counts):
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def test_an_hour_more_is_counted_on_the_day_of_the_change():
    day = Period(date(2026, 10, 25), date(2026, 10, 25))
    start, stop = (module.midnight(d) for d in (day.first, day.first + timedelta(days=1)))
    # In UTC: without that, Python compares the clocks of one zone.
    assert stop.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=25)


def test_the_period_before_has_as_many_days():
    assert Period(date(2026, 3, 2), date(2026, 3, 8)).before == Period(
        date(2026, 2, 23), date(2026, 3, 1)
    )
    assert Period(date(2026, 3, 1), date(2026, 3, 1)).before == Period(
        date(2026, 2, 28), date(2026, 2, 28)
    )


def _last_days(days=7):
    now = timezone.now()
    return figures(now - timedelta(days=days), now + timedelta(seconds=1))


def test_a_failure_that_was_resent_counts_only_as_sent(db):
    failed = make_entry(state="failed", cause="too-large", ago=2)
    assert [(each.cause.slug, each.count) for each in _last_days().causes] == [("too-large", 1)]
    make_entry(state="failed", cause="too-large", ago=1, resend_of=failed)
    assert _last_days().not_sent == 2
    make_entry(state="sent", resend_of=failed)
    assert _last_days().states == {"sent": 1}
    assert _last_days().causes == _last_days().carriers == ()


def test_a_set_has_its_latest_name(db):
    key = uuid.uuid4()
    make_entry(via="Newsletter", set_key=key)
    make_entry(via="Mailings", set_key=key)
    make_entry(via="", set_key=None)
    [carrier] = _last_days().carriers
    assert (carrier.key, carrier.name, carrier.count) == (str(key), "Mailings", 2)


def test_held_messages_are_not_waiting_and_not_sent(db, run_in):
    run_in("staging")
    make_waiting("production")
    make_waiting("staging")
    found = _last_days()
    assert (found.held, found.waiting, found.sent, found.total) == (1, 1, 0, 2)


def test_an_invalid_environment_is_reported_elsewhere(db, run_in):
    run_in("Not valid")
    make_waiting("production")
    found = _last_days()
    assert (found.held, found.waiting) == (0, 1)


def test_the_number_of_queries_is_fixed(db, django_assert_max_num_queries):
    for state in State.values:
        make_entry(state=state)
    with django_assert_max_num_queries(5):
        _last_days()


@pytest.mark.parametrize("use_tz", [True, False])
def test_without_time_zones(db, settings, use_tz):
    settings.USE_TZ = use_tz
    today = timezone.localdate() if use_tz else timezone.now().date()
    make_entry(state="sent")
    assert Period(today, today).figures().sent == 1


def test_suppressed_messages_and_addresses(db):
    make_entry(state="suppressed")
    suppression.suppress("ada@example.org", "bounced")
    suppression.suppress("bob@example.org", "complained")
    suppression.suppress("carol@example.org", "imported")
    found = _last_days()
    assert (found.suppressed, found.not_sent, found.newly_suppressed) == (1, 0, 2)
