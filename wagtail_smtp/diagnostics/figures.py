"""Count the messages of a period: by state, cause and carrier, and what was reported later.

A resent message counts on the day of the resend, as in the chart of *Email delivery*: once it was
sent, its first attempt no longer counts as a failure. An index on the time limits every query.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Count, F, Max, Q, QuerySet
from django.db.models.functions import Coalesce

from wagtail_smtp.causes import by_slug
from wagtail_smtp.causes.base import Cause
from wagtail_smtp.live import environments
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import (
    DeliveryEvent,
    LogEntry,
    OutboxMessage,
    SuppressedAddress,
    SuppressionReason,
)
from wagtail_smtp.models.choices import PENDING, Reported, State
from wagtail_smtp.models.log import STANDARD
from wagtail_smtp.runtime.project import midnight

#: States of messages that did not reach all recipients, or may not have.
NOT_SENT = (
    State.FAILED,
    State.REFUSED,
    State.PARTLY_SENT,
    State.UNKNOWN,
    State.TOO_LARGE,
    State.BLOCKED,
)
#: Tracking events that are counted: the message didn't arrive, or wasn't wanted.
TRACKED = (Reported.BOUNCED, Reported.REJECTED, Reported.FAILED, Reported.COMPLAINED)

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class CauseCount:
    """How many messages were not sent for one cause; ``slug`` is empty if it is unknown."""

    slug: str
    count: int

    @property
    def cause(self) -> Cause | None:
        """The cause with its fix; None if it is unknown."""
        return by_slug(self.slug)


@dataclass(frozen=True, slots=True)
class CarrierCount:
    """How many messages one carrier did not send.

    Attributes:
        key: a set's key, or :data:`wagtail_smtp.models.log.STANDARD`.
        name: the set's name when it failed last.
    """

    key: str
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class SiteCount:
    """How many messages of one site were sent and not sent; ``key`` is its primary key."""

    key: int
    sent: int
    not_sent: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The messages of a period.

    Attributes:
        states: how many are in each state. Failures that were resent successfully are left out,
            and so are held messages.
        held: messages that came with a copied database and are not sent from here.
        redirected: those of the sent messages that went to report emails instead.
        causes: why messages were not sent, the most frequent cause first.
        carriers: what did not send them, the most failures first; without those that had no
            attempt.
        sites: each site with messages, the most first; empty unless there are several.
        tracked: for how many messages each of :data:`TRACKED` was reported in the period, whenever
            they were sent.
        newly_suppressed: addresses that bounced, or whose owners reported spam or unsubscribed.
    """

    states: Mapping[str, int]
    held: int = 0
    redirected: int = 0
    causes: tuple[CauseCount, ...] = ()
    carriers: tuple[CarrierCount, ...] = ()
    sites: tuple[SiteCount, ...] = ()
    tracked: Mapping[str, int] = field(default_factory=dict)
    newly_suppressed: int = 0

    @property
    def sent(self) -> int:
        """Messages that were sent to all their recipients."""
        return self.states.get(State.SENT, 0)

    @property
    def not_sent(self) -> int:
        """Messages that did not reach all recipients, or may not have."""
        return sum(self.states.get(state, 0) for state in NOT_SENT)

    @property
    def suppressed(self) -> int:
        """Messages that were not sent because all recipients are on the suppression list."""
        return self.states.get(State.SUPPRESSED, 0)

    @property
    def waiting(self) -> int:
        """Messages that are still processed automatically."""
        return sum(self.states.get(state, 0) for state in PENDING)

    @property
    def total(self) -> int:
        """All messages, held ones included."""
        return sum(self.states.values()) + self.held

    @property
    def returned(self) -> int:
        """Messages that an email provider accepted but could not deliver."""
        return sum(self.tracked.values()) - self.complained

    @property
    def complained(self) -> int:
        """Messages that a recipient reported as spam."""
        return self.tracked.get(Reported.COMPLAINED, 0)


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days in the site's time zone, from ``first`` to ``last``."""

    first: date
    last: date

    @property
    def before(self) -> "Period":
        """As many days immediately before."""
        return Period(self.first - (self.last - self.first) - _DAY, self.first - _DAY)

    def figures(self) -> Figures:
        """Count the messages of these days."""
        return figures(midnight(self.first), midnight(self.last + _DAY))


_DAY = timedelta(days=1)


def figures(start: datetime, stop: datetime) -> Figures:
    """Count the messages from ``start`` up to, but without, ``stop``."""
    # Not from a replica, which may not have the newest entries yet.
    rows = LogEntry.objects.using(write_alias())
    rows = rows.filter(created_at__gte=start, created_at__lt=stop).order_by()
    states: Counter[str] = Counter()
    sent_of: Counter[int | None] = Counter()
    redirected = 0
    elsewhere = Count("pk", filter=~Q(redirected_by=""))
    groups = rows.values_list("state", "site_key").annotate(all=Count("pk"), elsewhere=elsewhere)
    for state, site, number, elsewhere in groups:
        states[state] += number
        sent_of[site] += number if state == State.SENT else 0
        redirected += elsewhere if state == State.SENT else 0
    failures = _Failures(rows if states.keys() & set(NOT_SENT) else rows.none())
    states.update({state: failures.states[state] - states[state] for state in NOT_SENT})
    held = _held(rows) if states.keys() & PENDING else Counter[str]()
    states.subtract(held)
    return Figures(
        states={state: number for state, number in states.items() if number},
        held=held.total(),
        redirected=redirected,
        causes=failures.of_causes(),
        carriers=failures.of_carriers(),
        sites=_of_sites(sent_of, failures.sites),
        tracked=_tracked(start, stop),
        newly_suppressed=_newly_suppressed(start, stop),
    )


class _Failures:
    """Counts of the messages among ``rows`` that were not sent, and not resent successfully."""

    def __init__(self, rows: "QuerySet[LogEntry]") -> None:
        self.states: Counter[str] = Counter()
        self.sites: Counter[int | None] = Counter()
        self._causes: Counter[str] = Counter()
        self._carriers: Counter[str] = Counter()
        #: The newest entry of each carrier, and the carrier's name there.
        self._names: dict[str, tuple[int, str]] = {}
        # The index on the state would read all failures of the log. This hides the state from it.
        hidden = Coalesce(F("state"), F("state"))
        failed = rows.alias(hidden=hidden).filter(hidden__in=NOT_SENT)
        failed = failed.unresolved()  # type: ignore[attr-defined]
        columns = failed.values_list("state", "site_key", "cause", "set_key", "via")
        groups = columns.annotate(Count("pk"), Max("pk"))
        for state, site, cause, key, via, number, newest in groups:
            self.states[state] += number
            self.sites[site] += number
            self._causes[cause] += number
            if via:
                carrier = str(key) if key else STANDARD
                self._carriers[carrier] += number
                self._names[carrier] = max(self._names.get(carrier, (0, "")), (newest, via))

    def of_causes(self) -> tuple[CauseCount, ...]:
        return tuple(CauseCount(slug, number) for slug, number in _most(self._causes))

    def of_carriers(self) -> tuple[CarrierCount, ...]:
        return tuple(
            CarrierCount(key, self._names[key][1], number) for key, number in _most(self._carriers)
        )


def _of_sites(
    sent: Mapping[int | None, int], not_sent: Mapping[int | None, int]
) -> tuple[SiteCount, ...]:
    found = [
        SiteCount(key, sent.get(key, 0), not_sent.get(key, 0))
        for key in {*sent, *not_sent}
        if key is not None
    ]
    if len(found) < 2:
        return ()
    return tuple(sorted(found, key=lambda each: (-each.sent - each.not_sent, each.key)))


def _most(counts: Mapping[K, int]) -> Iterable[tuple[K, int]]:
    """The highest counts first; equal ones always in the same order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _held(rows: "QuerySet[LogEntry]") -> Counter[str]:
    """Count the messages among ``rows`` that came with a copied database, by state."""
    try:
        own = environments.own_names()
    except ImproperlyConfigured:
        return Counter()  # no one knows what comes from another environment
    waits = Q(outbox__state=OutboxMessage.State.WAITING) & ~Q(outbox__environment__in=own)
    held = rows.filter(Q(outbox__state=OutboxMessage.State.HELD) | waits, state__in=PENDING)
    return Counter(dict(held.values_list("state").annotate(Count("pk"))))


def _tracked(start: datetime, stop: datetime) -> dict[str, int]:
    """Count the messages for which each event was reported in the period."""
    events = DeliveryEvent.objects.using(write_alias()).filter(
        created_at__gte=start, created_at__lt=stop, type__in=TRACKED
    )
    # Events of other applications that use the same account have no entry.
    counted = events.exclude(entry=None).order_by().values_list("type")
    found = dict(counted.annotate(Count("entry", distinct=True)))
    return {kind: found.get(kind, 0) for kind in TRACKED}


def _newly_suppressed(start: datetime, stop: datetime) -> int:
    """Count the addresses that were suppressed in the period, without those added by hand."""
    rows = SuppressedAddress.objects.filter(created_at__gte=start, created_at__lt=stop)
    by_people = (SuppressionReason.MANUAL, SuppressionReason.IMPORTED)
    return rows.exclude(reason__in=by_people).count()
