"""What was not sent lately, and what to do about it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from wagtail_smtp.admin.labels import category_label, via_label
from wagtail_smtp.admin.log import states
from wagtail_smtp.diagnostics.causes.base import Cause
from wagtail_smtp.diagnostics.from_log import cause_of
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State

#: States of messages that did not reach everybody, for all that is known.
NOT_SENT = (
    State.FAILED,
    State.REFUSED,
    State.PARTLY_SENT,
    State.UNKNOWN,
    State.TOO_LARGE,
    State.BLOCKED,
)
#: Those of them that a server or its settings may be to blame for.
_OF_SERVERS = (State.FAILED, State.UNKNOWN)
#: After these, what failed before works again.
WORKS = (State.SENT, State.PARTLY_SENT)
#: How many are listed, and how old they may be.
LISTED = 10
RECENT = timedelta(days=7)
#: Entries of concurrent transactions may be numbered in another order than that of their times.
_SLACK = 1000


@dataclass(frozen=True)
class Failure:
    """One of them; ``words`` may name people."""

    entry: LogEntry
    cause: Cause | None

    @property
    def category(self):
        return category_label(self.entry.category)

    @property
    def via(self):
        return via_label(self.entry.via)

    @property
    def state(self):
        return states.tag(self.entry.state)

    @property
    def words(self):
        return self.entry.reason

    @property
    def url(self):
        """Where the cause is described."""
        return problem_url(self.cause)


def problem_url(cause):
    """Where a cause is described in the admin; empty: nowhere."""
    try:
        return f"{reverse('wagtail_smtp_problems:index')}#{cause.slug}" if cause else ""
    except NoReverseMatch:
        return ""


def last_failures(configuration):
    """The newest of the last week, without those that were resent successfully.

    Args:
        configuration: what is live, for the remedies.
    """
    since = timezone.now() - RECENT
    # Read where it is written: a test email's own failure is to be in it.
    entries = LogEntry.objects.using(write_alias())
    keys = []
    for state in NOT_SENT:
        # One query each: all of them at once would sort every such entry there is.
        newest = entries.filter(state=state).not_made_up_for().order_by("-id")
        keys += [key for key, at in newest.values_list("pk", "created_at")[:LISTED] if at >= since]
    rows = entries.filter(pk__in=sorted(keys)[-LISTED:]).order_by("-pk")
    return [
        Failure(entry, cause_of(entry, configuration))
        for entry in rows.prefetch_related("attempts")
    ]


@dataclass(frozen=True)
class SetFailures:
    """What a set failed to send in the last day, with the newest of it."""

    key: str
    count: int
    newest: Failure


def of_sets(configuration, since):
    """:class:`SetFailures` by the key of each set that has failed and has sent nothing since.

    Four queries, however many sets there are, and two more for each set that fails.
    """
    entries = LogEntry.objects.using(write_alias())
    newer = entries.filter(created_at__gte=since).order_by("created_at")
    first = newer.values_list("pk", flat=True).first()
    if first is None:
        return {}
    rows = entries.filter(state__in=_OF_SERVERS, pk__gte=first - _SLACK, created_at__gte=since)
    rows = rows.exclude(set_key=None).not_made_up_for().order_by()
    counted = rows.values_list("set_key").annotate(count=Count("pk"), newest=Max("pk"))
    found = {newest: count for _key, count, newest in counted}
    failing = {}
    for entry in entries.filter(pk__in=found).prefetch_related("attempts"):
        later = entries.filter(via=entry.via, state__in=WORKS, pk__gt=entry.pk)
        if not later.filter(set_key=entry.set_key).exists():
            newest = Failure(entry, cause_of(entry, configuration))
            failing[str(entry.set_key)] = SetFailures(str(entry.set_key), found[entry.pk], newest)
    return failing


def count_since(since: datetime) -> int:
    """How many messages did not reach everybody since then, and were not resent successfully."""
    entries = LogEntry.objects.using(write_alias())
    newer = entries.filter(created_at__gte=since).order_by("created_at")
    first = newer.values_list("pk", flat=True).first()
    if first is None:
        return 0
    # By the index of states, which knows the order of numbers but not of times.
    rows = entries.filter(state__in=NOT_SENT, pk__gte=first - _SLACK)
    return rows.filter(created_at__gte=since).not_made_up_for().count()
