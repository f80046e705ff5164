"""Messages per day by state, as a chart and as a table."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

from django.conf import settings
from django.db.models import Count
from django.utils import timezone
from django.utils.translation import get_language_bidi
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.admin.base import cached, environment_problem
from wagtail_smtp.admin.labels import local_time
from wagtail_smtp.diagnostics.figures import NOT_SENT
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import PENDING, State
from wagtail_smtp.outbox import held
from wagtail_smtp.runtime.project import midnight

DAYS = 30
#: Seconds for which the counts of past days are cached. Today is counted each time.
_CACHED = 600
#: Percentage of a day's width that is left as a gap.
_GAP = 20
#: Days between two dates below the chart, counted from today.
_LABEL_EVERY = 7

#: Messages that came with a copied database and are not sent from here. Their entries' states say
#: only that they wait.
HELD = "held"
_LABELS = [*State.choices, (HELD, _("Held"))]

#: The series of the chart from the bottom up: name, label, states.
SERIES = (
    ("sent", _("Sent"), frozenset({State.SENT})),
    ("waiting", _("Waiting"), PENDING),
    ("held", _("Held"), frozenset({HELD})),
    ("unsure", _("Partly sent or unknown"), frozenset({State.PARTLY_SENT, State.UNKNOWN})),
    (
        "unsent",
        _("Not sent"),
        frozenset(
            {
                *(State.REFUSED, State.FAILED, State.TOO_LARGE, State.BLOCKED),
                *(State.CANCELLED, State.SUPPRESSED),
            }
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One rectangle; all but ``series`` as a percentage of the chart."""

    series: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True)
class Day:
    """One day in the site's time zone, with its messages by state."""

    day: date
    counts: dict[str, int]
    x: float

    @property
    def total(self):
        return sum(self.counts.values())

    @property
    def middle(self):
        return _percent(self.x + 50 / DAYS)

    def parts(self):
        """Yield name, label and number of each series on that day."""
        for name, label, states in SERIES:
            if number := sum(self.counts.get(state, 0) for state in states):
                yield name, label, number

    def bars(self, highest):
        """Yield the day's rectangles, stacked from the bottom up."""
        width, top = 100 / DAYS, 100.0
        for name, _label, number in self.parts():
            height = number * 100 / highest
            top -= height
            x = self.x + width * _GAP / 200
            yield Bar(
                name, *map(_percent, (x, top, width * (100 - _GAP) / 100, height))
            )  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """The messages of the last days, the oldest day first."""

    days: list[Day]

    @property
    def total(self):
        return sum(day.total for day in self.days)

    @property
    def highest(self):
        """The top of the scale, as a round number."""
        most = max((day.total for day in self.days), default=0)
        step = 10 ** max(len(str(most)) - 1, 0)
        return next(n * step for n in (1, 2, 4, 6, 8, 10) if n * step >= most)

    @property
    def start(self):
        """The x position where text begins."""
        return "100%" if get_language_bidi() else "0%"

    @property
    def series(self):
        """Name and label of the series that occur."""
        present = {name for day in self.days for name, *_rest in day.parts()}
        return [(name, label) for name, label, _states in SERIES if name in present]

    @property
    def labelled(self):
        """The days with a date below the chart."""
        return self.days[::-1][::_LABEL_EVERY]

    @property
    def columns(self):
        """Each day with its parts and rectangles."""
        return [(day, list(day.parts()), list(day.bars(self.highest))) for day in self.days]

    @property
    def states(self):
        """Value and label of the states that occur."""
        present = {state for day in self.days for state in day.counts}
        return [(state, label) for state, label in _LABELS if state in present]

    @property
    def rows(self):
        """Rows of the table, newest first: a day and its numbers by :attr:`states`."""
        return [
            (day, [day.counts.get(state, 0) for state, _label in self.states])
            for day in reversed(self.days)
            if day.total
        ]


def volume(now=None):
    """Count the messages of the last days, in the site's time zone."""
    with timezone.override(timezone.get_default_timezone()):
        today = local_time(now or timezone.now()).date()
    days = [today - timedelta(days=ago) for ago in range(DAYS - 1, -1, -1)]
    counts = [*_earlier(days[:-1]), _count(today)]
    # The newest day is where reading ends: right, or left in RTL languages.
    places = reversed(range(DAYS)) if get_language_bidi() else range(DAYS)
    return Volume(
        [
            Day(day, found, place * 100 / DAYS)
            for day, found, place in zip(days, counts, places, strict=True)
        ]
    )


def _earlier(days):
    """Count the messages of past days, whose numbers hardly change."""
    key = f"wagtail_smtp.volume.{days[-1]}.{settings.TIME_ZONE}"
    return cached(key, _CACHED, lambda: [_count(day) for day in days])


def _count(day):
    """Count one day's messages by state, with the index on the time."""
    rows = LogEntry.objects.using(write_alias()).filter(
        created_at__gte=midnight(day), created_at__lt=midnight(day + timedelta(days=1))
    )
    counts = Counter(_by_state(rows))
    if not counts.keys().isdisjoint(NOT_SENT):
        # A message that was resent successfully counts on the day of the resend.
        counts -= Counter(_by_state(rows.filter(state__in=NOT_SENT).resolved()))
    if not (counts.keys().isdisjoint(PENDING) or environment_problem()):
        waiting = rows.filter(state__in=PENDING)
        found = Counter(_by_state(waiting.filter(pk__in=held.rows().values("entry"))))
        counts = counts - found + Counter({HELD: found.total()})
    return dict(counts)


def _by_state(rows):
    return dict(rows.order_by().values_list("state").annotate(number=Count("pk")))


def _percent(number):
    """Format as an SVG attribute, with a decimal point in every language."""
    return f"{number:.2f}%"
