"""Resend many messages, each once.

Skipped messages are counted by reason. A run can be repeated or continued: it skips
messages that an earlier run has sent.
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
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.maintenance.resend import (
    Member,
    Resent,
    claim,
    first_of,
    newest_resend,
    reason_to_skip,
    send_claimed,
)
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State

#: Why a message is skipped.
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
#: States of a message for which it is skipped.
_SKIPPED_STATES = {State.SENT: "sent", State.PARTLY_SENT: "partly", State.UNKNOWN: "unknown"}
#: Entries read together.
CHUNK = 200


class ResendFilter:
    """Decides which entries of a selection are resent.

    Args:
        unknown_too: also resend messages whose outcome is unknown, if the user asked for it.
    """

    def __init__(self, *, unknown_too: bool = False) -> None:
        self.unknown_too = unknown_too
        #: Families already seen that have several members, by the number of their original.
        self._seen: set[int] = set()

    def check(self, numbers: Iterable[int]) -> Iterator[tuple[LogEntry, str]]:
        """Yield each entry with the reason to skip it, a key of ``REASONS``; empty: resend it."""
        for chunk in _chunks(numbers):
            rows = LogEntry.objects.using(write_alias()).filter(pk__in=chunk).order_by("pk")
            entries = list(rows.select_related("stored").defer("stored__content"))
            families = _families(entries)
            for entry in entries:
                yield entry, self._reason(entry, families[first_of(entry)])

    def _reason(self, entry: LogEntry, family: Sequence[Member]) -> str:
        if entry.category == SECURITY:
            return "security"
        if not entry.is_final:
            return "waits"
        reason = _SKIPPED_STATES.get(State(entry.state), "")
        if reason and not (reason == "unknown" and self.unknown_too):
            return reason
        if not hasattr(entry, "stored"):
            return "gone"
        if reason := reason_to_skip(entry.pk, family):
            return reason
        if len(family) > 1:
            if first_of(entry) in self._seen:
                return "copy"
            self._seen.add(first_of(entry))
        return ""


def _chunks(numbers: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(numbers)
    while chunk := list(itertools.islice(rest, CHUNK)):
        yield chunk


def _families(entries: Sequence[LogEntry]) -> dict[int, list[Member]]:
    """The members of each family by the number of its original."""
    found: dict[int, list[Member]] = {first_of(entry): [] for entry in entries}
    rows = LogEntry.objects.using(write_alias()).order_by("pk")
    # Two queries, because each uses a different index.
    for condition in (Q(pk__in=[*found]), Q(resend_of_id__in=[*found])):
        members = rows.filter(condition)
        for key, first, state, began in members.values_list(
            "pk", "resend_of_id", "state", "resend_began"
        ):
            found[first or key].append((key, state, began))
    return found


@dataclass
class ResendSummary:
    """The result of a run.

    Attributes:
        resent: messages by the state of the new entry; empty if it could not be logged.
        failed: messages that were not sent; ``problem`` is the first error.
        left_out: skipped messages by reason.
        stopped_at: the number of the last entry if the run was not finished.
    """

    resent: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    problem: str = ""
    left_out: Counter[str] = field(default_factory=Counter)
    stopped_at: int | None = None

    def why_left_out(self) -> list[tuple[int, str]]:
        """The number of messages and the reason, in the reader's language."""
        return [
            (self.left_out[name], str(REASONS[name])) for name in REASONS if self.left_out[name]
        ]


def resend_several(
    numbers: Iterable[int],
    summary: ResendSummary,
    *,
    user: Any = None,
    seen: int | None = None,
    unknown_too: bool = False,
    seconds: float | None = None,
    dry_run: bool = False,
) -> None:
    """Resend entries in the order of their numbers.

    Args:
        summary: updated after each message, so it is correct even after an interruption.
        seen: the value of :func:`newest_resend` when the user confirmed it; default: now.
        seconds: send no further message after this time.
        dry_run: only count what would be resent.
    """
    began = time.monotonic()
    last_seen = newest_resend() if seen is None else seen
    for entry, reason in ResendFilter(unknown_too=unknown_too).check(numbers):
        if seconds is not None and time.monotonic() - began > seconds:
            return
        summary.stopped_at = entry.pk
        if not reason and not dry_run and not claim(entry, user, last_seen, in_bulk=True):
            reason = "meanwhile"
        if reason:
            summary.left_out[reason] += 1
            continue
        done = Resent() if dry_run else send_claimed(entry)
        if done.problem:
            summary.failed += 1
            summary.problem = summary.problem or done.problem
        else:
            summary.resent[done.entry.state if done.entry else ""] += 1
    summary.stopped_at = None


@dataclass(frozen=True)
class Selection:
    """Which entries to resend.

    Attributes:
        carrier: the transport that failed: a set's key, or ``standard``.
        cause: the slug of a cause.
    """

    since: datetime
    states: Sequence[str] = (State.FAILED,)
    carrier: str = ""
    category: str = ""
    cause: str = ""

    def numbers(self) -> list[int]:
        """The numbers of the entries that exist now, the oldest first."""
        rows = LogEntry.objects.using(write_alias()).filter(
            state__in=self.states, created_at__gte=self.since
        )
        if self.category:
            rows = rows.filter(category=self.category)
        if self.carrier:
            rows = rows.through(self.carrier)
        if self.cause:
            rows = rows.filter(cause=self.cause)
        return list(rows.order_by("pk").values_list("pk", flat=True))
