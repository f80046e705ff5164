"""Resending everything that failed, each message once.

What is left out is counted by the reason, so that nobody believes more was sent than was. A run
can be repeated and continued: what the one before has sent is left out by the next.
"""

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.config.values import Configuration
from wagtail_smtp.diagnostics.explain import cause_of
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State
from wagtail_smtp.resend.once import claim, first_of, newest_resend, send_claimed, why_not_again

#: Why a message is left out.
REASONS: Mapping[str, Any] = {
    "sent": _("already sent"),
    "partly": _("some recipients have it already"),
    "unknown": _("not known whether it was sent"),
    "begun": _("a resend started, but its outcome isn't known"),
    "waits": _("still in the outbox, or a resend of it is"),
    "copy": _("a copy of another message in this selection"),
    "meanwhile": _("resent by someone else in the meantime"),
    "security": _("security messages are never resent"),
    "gone": _("the message itself is no longer kept"),
}
#: States of a message itself that speak against resending it unasked.
_OF_STATES = {State.SENT: "sent", State.PARTLY_SENT: "partly", State.UNKNOWN: "unknown"}
#: Entries looked at together.
CHUNK = 200
#: Entries of concurrent transactions may be numbered in another order than that of their times.
_SLACK = 1000


class ResendFilter:
    """Tells what of a selection may be resent unasked, and why the rest may not.

    Args:
        unknown_too: messages whose outcome is unknown were asked for, so they aren't left out.
    """

    def __init__(self, *, unknown_too: bool = False) -> None:
        self.unknown_too = unknown_too
        #: Originals of families with several members that were met already.
        self._met: set[int] = set()

    def look_at(self, numbers: Iterable[int]) -> Iterator[tuple[LogEntry, str]]:
        """Each entry with the reason to leave it out, empty if there is none."""
        rest = iter(numbers)
        while chunk := list(itertools.islice(rest, CHUNK)):
            rows = LogEntry.objects.using(write_alias()).filter(pk__in=chunk).order_by("pk")
            entries = list(rows.select_related("stored").defer("stored__content"))
            families = _families(entries)
            for entry in entries:
                yield entry, self._reason(entry, families[first_of(entry)])

    def _reason(self, entry: LogEntry, family: Sequence[tuple[int, str, Any]]) -> str:
        if entry.category == SECURITY:
            return "security"
        if not entry.is_final:
            return "waits"
        reason = _OF_STATES.get(State(entry.state), "")
        if reason and not (reason == "unknown" and self.unknown_too):
            return reason
        if not hasattr(entry, "stored"):
            return "gone"
        if reason := why_not_again(entry.pk, family):
            return reason
        if len(family) > 1:
            if first_of(entry) in self._met:
                return "copy"
            self._met.add(first_of(entry))
        return ""


def _families(entries: Sequence[LogEntry]) -> dict[int, list[tuple[int, str, Any]]]:
    """By the number of the original: number, state and ``resend_began`` of each member."""
    found: dict[int, list[tuple[int, str, Any]]] = {first_of(entry): [] for entry in entries}
    rows = LogEntry.objects.using(write_alias()).order_by("pk")
    # Two queries, each by an index of its own.
    for condition in (Q(pk__in=[*found]), Q(resend_of_id__in=[*found])):
        members = rows.filter(condition)
        for key, first, state, began in members.values_list(
            "pk", "resend_of_id", "state", "resend_began"
        ):
            found[first or key].append((key, state, began))
    return found


@dataclass
class ResendSummary:
    """What a run did.

    ``stopped_at`` is the number of the last entry it came to, if it did not come to the end.
    """

    #: By the state of the new entry, those that went well; empty where the log has no entry.
    resent: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    problem: str = ""
    left_out: Counter[str] = field(default_factory=Counter)
    stopped_at: int | None = None

    def why_left_out(self) -> list[tuple[int, str]]:
        """Number and reason, in the reader's language."""
        return [
            (self.left_out[name], str(REASONS[name])) for name in REASONS if self.left_out[name]
        ]


def preview(numbers: Iterable[int], *, unknown_too: bool = False) -> tuple[int, ResendSummary]:
    """How many would be resent, and an account of what would be left out."""
    account, count = ResendSummary(), 0
    for _entry, reason in ResendFilter(unknown_too=unknown_too).look_at(numbers):
        if reason:
            account.left_out[reason] += 1
        else:
            count += 1
    return count, account


def resend_several(
    numbers: Iterable[int],
    account: ResendSummary,
    *,
    user: Any = None,
    seen: int | None = None,
    unknown_too: bool = False,
    seconds: float | None = None,
) -> None:
    """Resend entries in the order of their numbers.

    Args:
        account: is kept up to date, so that it is true when the run is interrupted.
        seen: what :func:`newest_resend` was when it was confirmed; by default now.
        seconds: after which no further message is begun.
    """
    began = time.monotonic()
    last_seen = newest_resend() if seen is None else seen
    for entry, reason in ResendFilter(unknown_too=unknown_too).look_at(numbers):
        if seconds is not None and time.monotonic() - began > seconds:
            return
        account.stopped_at = entry.pk
        if not reason and not claim(entry, user, last_seen, unasked=True):
            reason = "meanwhile"
        if reason:
            account.left_out[reason] += 1
            continue
        done = send_claimed(entry)
        if done.problem:
            account.failed += 1
            account.problem = account.problem or done.problem
        else:
            account.resent[done.entry.state if done.entry else ""] += 1
    account.stopped_at = None


@dataclass(frozen=True)
class Selection:
    """Which entries of the log are meant, by everything but their numbers.

    Attributes:
        via: a set's name or standard delivery's.
        set_key: of the set, which may have had another name.
        cause: the slug of a cause.
    """

    since: datetime
    states: Sequence[str] = (State.FAILED,)
    via: str = ""
    set_key: Any = None
    category: str = ""
    cause: str = ""

    def numbers(self, configuration: Configuration) -> Iterator[int]:
        """Of all that exist now, state by state, the oldest first; read in small pieces.

        Args:
            configuration: what is live, for the cause.
        """
        entries = LogEntry.objects.using(write_alias())
        later = entries.filter(created_at__gte=self.since).order_by("created_at")
        first = later.values_list("pk", flat=True).first()
        newest = entries.order_by("-pk").values_list("pk", flat=True).first()
        if first is None or newest is None:
            return
        for state in self.states:
            after = max(first - _SLACK, 0) - 1
            while chunk := self._chunk(state, after, newest):
                after = chunk[-1].pk
                for entry in chunk:
                    if not self.cause or self._has_cause(entry, configuration):
                        yield entry.pk

    def _chunk(self, state: str, after: int, newest: int) -> list[LogEntry]:
        rows = LogEntry.objects.using(write_alias()).filter(
            state=state, pk__gt=after, pk__lte=newest, created_at__gte=self.since
        )
        if self.category:
            rows = rows.filter(category=self.category)
        if self.set_key:
            rows = rows.filter(Q(set_key=self.set_key) | Q(via=self.via, set_key=None))
        elif self.via:
            rows = rows.filter(via=self.via)
        if self.cause:
            rows = rows.prefetch_related("attempts")
        return list(rows.order_by("pk")[:CHUNK])

    def _has_cause(self, entry: LogEntry, configuration: Configuration) -> bool:
        cause = cause_of(entry, configuration)
        return cause is not None and cause.slug == self.cause
