"""Sending limits of a settings set, and the ledger that counts what counts towards them.

Everything counts recipients, as servers and email providers do. A ledger is pure calculation: it
never looks at a clock, so its times are whatever its caller uses (seconds, the database's).

A recipient counts from before the attempt until its end, and then for a whole period from the
moment of its end, because the server may have accepted it as late as that. In any period, however
it is placed, a server therefore never accepts more than the limit. Ends are grouped: a period
consists of 60 parts, and a part counts until all of it is older than the period.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: Seconds of the periods in which recipients are counted. The rate per second needs no counting.
PERIODS: Mapping[str, int] = {"minute": 60, "hour": 3600, "day": 86400}
_PARTS = 60
#: Seconds after which an attempt whose end was never reported counts as ended. No attempt takes
#: longer, so its process has died.
_LONGEST_ATTEMPT = 3600
#: Seconds after which a message asks again if it has no earlier turn: limits may be raised, and
#: messages before it may be cancelled.
LONGEST_WAIT = 3600
#: Seconds until a message asks again if attempts that are still going on use up the limit.
_ATTEMPT = 5
#: Seconds for each recipient after a quota whose size isn't known.
_UNKNOWN_PACE = 0.1
#: Share of each limit that only security email may use.
_RESERVE = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a set: recipients per period; None: no limit. False if there is none."""

    second: int | None = None
    minute: int | None = None
    hour: int | None = None
    day: int | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.second, self.minute, self.hour, self.day))

    def counted(self) -> Iterator[tuple[str, int]]:
        """The limits for which recipients are counted, the shortest period first."""
        for period in PERIODS:
            limit = getattr(self, period)
            if limit is not None:
                yield period, limit

    def without_reserve(self) -> "Limits":
        """What email may use that is not of category ``security``.

        A tenth of each limit is kept for ``security``, and at least one recipient.
        """
        return Limits(self.second, *(_less_reserve(getattr(self, period)) for period in PERIODS))


def _less_reserve(limit: int | None) -> int | None:
    # A limit of 1 has no room for both.
    return None if limit is None else limit - min(math.ceil(limit * _RESERVE), limit - 1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message may not be sent now.

    Attributes:
        period: of the limit that is reached; ``quota``: one that the server has reported.
        seconds: until there is probably room.
        limit: recipients per period; 0 for ``quota``.
        is_too_many: whether the message alone has more recipients than the limit.
        code, reply: the server's response, for ``quota``.
    """

    period: str
    seconds: float = 0
    limit: int = 0
    is_too_many: bool = False
    code: int = 0
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """A server said that a quota is used up, so the set isn't used until ``until``.

    It ends with the next ``version`` that is made live: someone may have raised the quota.
    """

    until: float
    version: int
    code: int = 0
    reply: str = ""


@dataclass(slots=True)
class Ledger:
    """What counts towards a set's limits.

    Attributes:
        sent: recipients by the part of the period in which their attempt ended, by period. All
            periods are counted, so a limit that is added later knows the last day.
        going_on: recipients of each attempt that is going on, and when it began, by its token.
        next_at: when the rate allows the next message.
        turns_until: until when messages that wait have been given turns.
        pause: None: no server has reported a quota.
        at: when it was last changed.
    """

    sent: dict[str, dict[int, int]] = field(default_factory=dict)
    going_on: dict[str, tuple[int, float]] = field(default_factory=dict)
    next_at: float = 0
    turns_until: float = 0
    pause: Pause | None = None
    at: float = 0

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Ledger":
        """Read what :meth:`to_json` has returned; an empty mapping is an empty ledger."""
        return cls(
            {period: dict(content.get("sent", {}).get(period, ())) for period in PERIODS},
            {token: (number, at) for token, (number, at) in content.get("going_on", {}).items()},
            content.get("next_at", 0),
            content.get("turns_until", 0),
            Pause(*content["pause"]) if content.get("pause") else None,
            content.get("at", 0),
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to values that JSON can represent. It is small, whatever was sent."""
        pause = self.pause
        return {
            "sent": {period: sorted(parts.items()) for period, parts in self.sent.items()},
            "going_on": self.going_on,
            "next_at": self.next_at,
            "turns_until": self.turns_until,
            "pause": pause and [pause.until, pause.version, pause.code, pause.reply],
            "at": self.at,
        }

    def forget(self, now: float) -> None:
        """Drop what no longer counts; end attempts whose process has died."""
        if now < self.at:
            self._set_back(self.at - now, now)
        self.at = now
        for token, (number, began) in list(self.going_on.items()):
            if began + _LONGEST_ATTEMPT < now:
                self.end(token, number, now)
        for period, seconds in PERIODS.items():
            parts = self.sent.get(period, {})
            self.sent[period] = {
                part: number for part, number in parts.items() if _counts_until(part, seconds) > now
            }

    def _set_back(self, seconds: float, now: float) -> None:
        """Follow a clock that was set back, so that nothing counts or waits longer than usual.

        Otherwise a database that was in a wrong year for a moment would stop the set until then.
        """
        self.next_at -= seconds
        self.turns_until -= seconds
        if self.pause is not None:
            self.pause = replace(self.pause, until=self.pause.until - seconds)
        self.going_on = {
            token: (number, began - seconds) for token, (number, began) in self.going_on.items()
        }
        for period, length in PERIODS.items():
            latest = _part(now, length)
            moved: dict[int, int] = {}
            for part, number in self.sent.get(period, {}).items():
                # Not further back: it is only known that it ended before now.
                moved[min(part, latest)] = moved.get(min(part, latest), 0) + number
            self.sent[period] = moved

    def used(self, period: str, now: float) -> int:
        """How many recipients count towards the limit of this period."""
        parts = self.sent.get(period, {})
        seconds = PERIODS[period]
        ended = sum(number for part, number in parts.items() if _counts_until(part, seconds) > now)
        return ended + sum(number for number, _began in self.going_on.values())

    def refusal(
        self, limits: Limits, number: int, now: float, version: int | None, patience: float
    ) -> Refusal | None:
        """Return why a message to ``number`` recipients may not be sent now; None if it may.

        Args:
            version: the live version; None: a pause doesn't matter.
            patience: how many seconds the message can wait for the rate, or the end of a pause.
        """
        pause = self.pause_at(now, version)
        if pause is not None and pause.until - now > patience:
            return Refusal("quota", pause.until - now, code=pause.code, reply=pause.reply)
        found: Refusal | None = None
        for period, limit in limits.counted():
            if number > limit:
                return Refusal(period, limit=limit, is_too_many=True)
            over = self.used(period, now) + number - limit
            if over > 0:
                seconds = self._free_in(period, over, now)
                if found is None or seconds >= found.seconds:
                    found = Refusal(period, seconds, limit)
        if found is None and limits.second is not None and self.next_at - now > patience:
            found = Refusal("second", self.next_at - now, limits.second)
        return found

    def _free_in(self, period: str, recipients: int, now: float) -> float:
        """Seconds until this number of recipients no longer counts."""
        seconds = PERIODS[period]
        for part, number in sorted(self.sent.get(period, {}).items()):
            recipients -= number if _counts_until(part, seconds) > now else 0
            if recipients <= 0:
                return _counts_until(part, seconds) - now
        return _ATTEMPT

    def pause_at(self, now: float, version: int | None) -> Pause | None:
        """The pause that applies, if any."""
        pause = self.pause
        return pause if pause and pause.version == version and pause.until > now else None

    def begin(
        self, token: str, limits: Limits, number: int, now: float, version: int | None
    ) -> float:
        """Count an attempt that begins; return the seconds to wait before it."""
        self.going_on[token] = (number, now)
        pause = self.pause_at(now, version)
        earliest = pause.until if pause else now
        if limits.second is None:
            return earliest - now
        at = max(earliest, self.next_at)
        # Amazon SES does the same: a message to many recipients delays the next one.
        self.next_at = at + number / limits.second
        return at - now

    def end(self, token: str, accepted: int, now: float) -> None:
        """End an attempt: ``accepted`` recipients count, the others no longer do."""
        if self.going_on.pop(token, None) is not None:
            self.add(accepted, now)

    def add(self, accepted: int, now: float) -> None:
        """Count recipients that were accepted just now."""
        for period, seconds in PERIODS.items() if accepted else ():
            parts = self.sent.setdefault(period, {})
            part = _part(now, seconds)
            parts[part] = parts.get(part, 0) + accepted

    def take_turn(self, refusal: Refusal, number: int, now: float) -> float:
        """Return the seconds until a waiting message should ask again.

        Messages get turns at the pace of the limit. If all of them asked as soon as there is room
        again, most would ask in vain, each time.
        """
        at = max(now + refusal.seconds, self.turns_until)
        pace = PERIODS.get(refusal.period, 1) / refusal.limit if refusal.limit else _UNKNOWN_PACE
        self.turns_until = min(at + number * pace, max(now + LONGEST_WAIT, self.turns_until))
        return min(at - now, LONGEST_WAIT)


def _part(at: float, seconds: int) -> int:
    return int(at * _PARTS // seconds)


def _counts_until(part: int, seconds: int) -> float:
    return (part + 1) * seconds / _PARTS + seconds
