"""What was told, what arrived and what the log says: do they agree on every message?"""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import SupportsIndex

from tests.soak.sender import RECIPIENT
from tests.support.servers.smtp_server import Received

#: Seconds that the delivery of a message may take once its route is decided.
LONGEST = 15.0
PREFIX = "[Redirected] "
#: States in which a message has not been accepted, or may have been, or has been.
NOT_SENT = ("refused", "failed", "blocked", "cancelled")

Period = tuple[float, float]


@dataclass(frozen=True)
class Told:
    """What a sender was told of a message."""

    subject: str
    began: float
    ended: float
    how: str
    error: str

    @classmethod
    def read(cls, line: str) -> "Told":
        return cls(*json.loads(line))


@dataclass(frozen=True)
class Arrival:
    """A message as it arrived, without its content."""

    at: float
    subject: str
    is_redirected: bool
    recipients: tuple[str, ...]


class Arrivals(list[Received]):
    """What a server receives: only what is needed of it is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Arrival] = []

    def append(self, item: Received, /) -> None:
        subject = str(item.message["Subject"])
        self.all.append(
            Arrival(
                time.monotonic(),
                subject.removeprefix(PREFIX),
                subject.startswith(PREFIX),
                tuple(item.recipients),
            )
        )

    def __getitem__(self, _index: SupportsIndex | slice) -> object:  # type: ignore[override]
        raise IndexError("the content isn't kept")


class Account:
    """Compares the three; the lists name the messages with which something is wrong."""

    def __init__(
        self,
        told: Sequence[Told],
        states: Mapping[str, str],
        arrivals: Arrivals,
        redirected: Sequence[Period],
        away: Sequence[Period],
        left: int,
    ) -> None:
        mine = [arrival for arrival in arrivals.all if arrival.subject.startswith("sender")]
        counts = Counter(arrival.subject for arrival in mine)
        self.told = len(told)
        self.errors = Counter(each.error for each in told if each.error)
        self.states = Counter(states.values())
        self.left = left
        #: More than once, or although it wasn't sent.
        self.repeated = [
            subject
            for subject, count in counts.items()
            if count > 1 or (states.get(subject) in NOT_SENT and count)
        ]
        #: Sent, by what the log or the sender's answer says, but never arrived.
        self.lost = [
            each.subject
            for each in told
            if not counts[each.subject]
            and (states.get(each.subject) == "sent" or (each.how == "immediate" and not each.error))
            and states.get(each.subject) not in ("deferred", "unknown", *NOT_SENT)
        ]
        #: Without an entry although its sender was told that all is well.
        self.unlogged = [
            each.subject
            for each in told
            if not each.error and each.subject not in states and not _during(each, away)
        ]
        self.unlogged_while_away = sum(
            not each.error and each.subject not in states and _during(each, away) for each in told
        )
        self.leaked = _leaked(told, mine, redirected)
        #: How many arrived while all email was redirected.
        self.redirected = sum(arrival.is_redirected for arrival in mine)


def _during(told: Told, periods: Sequence[Period]) -> bool:
    return any(told.began < end + LONGEST and told.ended > start for start, end in periods)


def _leaked(
    told: Sequence[Told], arrivals: Sequence[Arrival], redirected: Sequence[Period]
) -> list[str]:
    """Messages that reached a real recipient although all email was redirected."""
    began = {each.subject: each.began for each in told if each.how == "immediate"}
    found = []
    for arrival in arrivals:
        if arrival.is_redirected and RECIPIENT in arrival.recipients:
            found.append(arrival.subject)
        elif not arrival.is_redirected:
            # An immediate message belongs to the time when its sending began; a queued one was
            # routed at most so long before it arrived.
            routed = began.get(arrival.subject, arrival.at - LONGEST)
            if any(start <= routed and arrival.at <= end for start, end in redirected):
                found.append(arrival.subject)
    return found
