"""The ledger: in any period, however it is placed, no more than the limit is accepted."""

import json
import random

import pytest

from wagtail_smtp.config.limits import LONGEST_WAIT, Ledger, Limits, Pause, Refusal

NOON = 1_700_000_000.0


def _refusal(ledger, limits, number=1, now=NOON, **values):
    return ledger.refusal(limits, number, now, **({"version": 1, "patience": 5} | values))


def _send(ledger, limits, number=1, at=NOON, takes=0.0):
    """Whether there was room at this time; it ended ``takes`` seconds later."""
    if _refusal(ledger, limits, number, at) is not None:
        return False
    ledger.begin("token", limits, number, at, 1)
    ledger.end("token", number, at + takes)
    return True


def test_a_set_without_limits_has_none():
    assert not Limits()
    assert Limits(day=1)
    assert list(Limits(second=3, day=5, minute=2).counted()) == [("minute", 2), ("day", 5)]


@pytest.mark.parametrize(
    ("limit", "others"), [(1, 1), (2, 1), (10, 9), (11, 9), (500, 450), (2000, 1800)]
)
def test_a_tenth_is_kept_for_security(limit, others):
    limits = Limits(second=5, hour=limit).without_reserve()
    assert (limits.second, limits.minute, limits.hour) == (5, None, others)


@pytest.mark.parametrize(("period", "seconds"), [("minute", 60), ("hour", 3600), ("day", 86400)])
def test_recipients_count_for_a_whole_period(period, seconds):
    ledger, limits = Ledger(), Limits(**{period: 3})
    assert _send(ledger, limits, 3)
    refused = _refusal(ledger, limits)
    assert (refused.period, refused.limit) == (period, 3)
    # At most one part, a sixtieth, longer than the period.
    assert seconds < refused.seconds <= seconds * 61 / 60
    assert _refusal(ledger, limits, now=NOON + seconds) is not None
    assert _refusal(ledger, limits, now=NOON + refused.seconds) is None
    assert ledger.used(period, NOON + refused.seconds) == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_period_ever_has_more(seed):
    """Random messages that take their time: whichever minute one looks at, 10 at most."""
    chance = random.Random(seed)
    ledger, limits = Ledger(), Limits(minute=10)
    now, going_on, ends = NOON, [], []
    for number in range(3000):
        now += chance.expovariate(1)
        for item in sorted(going_on):
            end, token, recipients = item
            if end <= now:
                ledger.end(token, recipients, end)
                ends += [end] * recipients
                going_on.remove(item)
        recipients = chance.choice([1, 1, 1, 2, 5])
        if _refusal(ledger, limits, recipients, now) is None:
            ledger.begin(str(number), limits, recipients, now, 1)
            going_on.append((now + chance.choice([0.1, 1, 20, 90]), str(number), recipients))
        ledger.forget(now)
        ledger = Ledger.of(json.loads(json.dumps(ledger.to_json())))
    ends.sort()
    assert len(ends) > 200
    for first, eleventh in zip(ends, ends[10:], strict=False):
        assert eleventh - first > 60


def test_what_goes_on_counts_until_it_ends():
    ledger, limits = Ledger(), Limits(minute=2)
    ledger.begin("slow", limits, 2, NOON, 1)
    # Longer than the minute: it may be accepted only now.
    assert _refusal(ledger, limits, now=NOON + 100).period == "minute"
    ledger.end("slow", 0, NOON + 100)
    assert _refusal(ledger, limits, now=NOON + 100) is None


def test_the_end_is_reported_once():
    ledger, limits = Ledger(), Limits(minute=5)
    ledger.begin("a", limits, 2, NOON, 1)
    ledger.end("a", 2, NOON)
    ledger.end("a", 2, NOON)
    assert ledger.used("minute", NOON) == 2


def test_attempts_of_dead_processes_count_and_end():
    ledger, limits = Ledger(), Limits(minute=1)
    ledger.begin("dead", limits, 1, NOON, 1)
    ledger.forget(NOON + 3000)
    assert ledger.going_on
    ledger.forget(NOON + 3700)
    assert not ledger.going_on
    assert ledger.used("minute", NOON + 3700) == 1
    assert ledger.used("minute", NOON + 3762) == 0


@pytest.mark.parametrize("back", [0.01, 10, 90, 7200, 50 * 365 * 86400])
def test_a_clock_that_is_set_back_stops_nothing(back):
    """A database that was in a wrong year for a moment, or an hour ahead."""
    ledger, limits = Ledger(), Limits(second=1, minute=3, hour=3)
    ledger.forget(NOON + back)
    _send(ledger, limits, 2, NOON + back)
    ledger.begin("dead", limits, 1, NOON + back, 1)
    ledger.take_turn(Refusal("minute", limit=3), 1, NOON + back)
    ledger.pause = Pause(NOON + back + 30, 1)
    ledger = Ledger.of(json.loads(json.dumps(ledger.to_json())))
    ledger.forget(NOON)
    assert [ledger.used(period, NOON) for period in ("minute", "hour", "day")] == [3, 3, 3]
    assert ledger.pause_at(NOON, 1).until == pytest.approx(NOON + 30)
    assert ledger.next_at == pytest.approx(NOON + 3)
    ledger.forget(NOON + 59)
    assert ledger.used("minute", NOON + 59) == 3
    ledger.forget(NOON + 3662)
    assert ledger.take_turn(Refusal("minute", limit=3), 1, NOON + 3662) == 0
    assert ledger.used("minute", NOON + 3662) == 1  # the dead one's
    assert _refusal(ledger, Limits(hour=3), 2, NOON + 3662) is None


def test_the_limit_that_lasts_longest_is_named():
    ledger, limits = Ledger(), Limits(minute=1, hour=1)
    _send(ledger, limits)
    assert _refusal(ledger, limits).period == "hour"


def test_a_message_with_more_recipients_than_the_limit():
    refused = _refusal(Ledger(), Limits(hour=3), 4)
    assert (refused.is_too_many, refused.limit, refused.period) == (True, 3, "hour")


def test_the_rate_delays_messages():
    ledger, limits = Ledger(), Limits(second=2)
    waits = [ledger.begin(str(number), limits, 1, NOON, 1) for number in range(4)]
    assert waits == [0, 0.5, 1, 1.5]
    assert _refusal(ledger, limits, patience=5) is None
    refused = _refusal(ledger, limits, patience=1)
    assert (refused.period, refused.seconds) == ("second", 2)
    # A message to many recipients delays the next one.
    assert ledger.begin("many", limits, 10, NOON + 10, 1) == 0
    assert ledger.begin("next", limits, 1, NOON + 10, 1) == 5


def test_waiting_messages_get_turns_at_the_pace_of_the_limit():
    ledger, refused = Ledger(), Refusal("hour", 60, limit=100)
    turns = [ledger.take_turn(refused, 1, NOON) for _number in range(3)]
    assert turns == [60, 96, 132]
    for _number in range(200):
        ledger.take_turn(refused, 1, NOON)
    assert ledger.take_turn(refused, 1, NOON) == LONGEST_WAIT
    # After a quota whose size isn't known, not all of them ask at the same time.
    ledger = Ledger()
    assert ledger.take_turn(Refusal("quota", 60), 1, NOON) == 60
    assert ledger.take_turn(Refusal("quota", 60), 1, NOON) == pytest.approx(60.1)


def test_a_pause_ends_by_time_or_with_the_next_version():
    ledger = Ledger(pause=Pause(NOON + 60, 7, 550, "5.4.5 Daily"))
    refused = _refusal(ledger, Limits(day=1), version=7)
    assert (refused.period, refused.seconds, refused.code) == ("quota", 60, 550)
    assert _refusal(ledger, Limits(day=1), version=8) is None
    assert _refusal(ledger, Limits(day=1), version=None) is None
    assert _refusal(ledger, Limits(day=1), version=7, now=NOON + 60) is None


def test_a_message_waits_for_the_end_of_a_short_pause():
    ledger = Ledger(pause=Pause(NOON + 4, 7))
    assert _refusal(ledger, Limits(), version=7, patience=1) is not None
    assert _refusal(ledger, Limits(), version=7, patience=5) is None
    assert ledger.begin("a", Limits(), 1, NOON, 7) == 4
    assert ledger.begin("b", Limits(second=1), 1, NOON, 7) == 4
    assert ledger.begin("c", Limits(second=1), 1, NOON, 7) == 5
    assert ledger.begin("d", Limits(), 1, NOON, None) == 0


def test_the_content_stays_small():
    ledger, limits = Ledger(), Limits(day=10**9)
    for second in range(0, 2 * 86400, 30):
        _send(ledger, limits, 1000, NOON + second)
        ledger.forget(NOON + second)
    assert len(json.dumps(ledger.to_json())) < 5000
    assert Ledger.of(json.loads(json.dumps(ledger.to_json()))) == ledger


def test_an_empty_ledger_can_be_read():
    assert Ledger.of({}).used("day", NOON) == 0
