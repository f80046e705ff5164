"""Resend a message from the delivery log, exactly once per request.

A message and its resends are a family: each resend names the original in ``resend_of``. Before a
message is resent, its family is claimed: the rows are locked, checked and marked with the time,
and the user is recorded in Wagtail's audit log. This is committed before the message is sent, so a
second click, tab or process is too late. The mark is removed after the outcome is logged. If the
process dies in between, the mark stays and an administrator decides.

If many are resent, skipped messages are counted by reason. A run can be repeated or continued: it
skips messages that an earlier run has sent.
"""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models import F, Max, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from wagtail.log_actions import registry

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.delivery.log.entries import site_of
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.delivery.routing import Classification
from wagtail_smtp.exceptions import (
    ConfigurationUnavailable,
    EmailDeliveryError,
    EnvironmentMismatch,
    MessageUnreadable,
    ResendRefused,
    StorageFull,
)
from wagtail_smtp.live import current, environments
from wagtail_smtp.live.db import autonomous, connections
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import PENDING, State
from wagtail_smtp.outbox.enqueue import enqueue, record_or_retry

logger = logging.getLogger(__name__)

#: The source of a resend's category and site.
SOURCE = "resent"
_ACTION = "wagtail_smtp.resend"
#: Errors after which nothing was sent, although no entry says so.
_NOTHING_SENT = (ResendRefused, MessageUnreadable, StorageFull, ConfigurationUnavailable)

#: Number, state and ``resend_began`` of an entry.
Member = tuple[int, str, datetime | None]


def can_resend(entry: LogEntry) -> bool:
    """Whether the message is stored, not security mail, and no longer processed automatically."""
    return entry.is_final and entry.category != SECURITY and hasattr(entry, "stored")


def refusal() -> str:
    """Why no message can be resent now; empty if nothing prevents it."""
    try:
        held_from = current().held_from
    except (ConfigurationUnavailable, ImproperlyConfigured) as error:
        return str(error)
    return environments.held_text(held_from) if environments.holds_all(held_from) else ""


def resend(entry: LogEntry) -> LogEntry | None:
    """Send the message of ``entry`` to its original recipients, as a new message.

    A redirect applies. Category and site stay, and the live configuration decides how it is sent.

    Returns:
        The new entry; None if it could not be written.

    Raises:
        ResendRefused: it may not be resent.
        EnvironmentMismatch: the live version comes from another environment.
        MessageUnreadable: it is no longer stored or can't be decrypted.
        EmailDeliveryError: or any error of the project's own backend; it is logged in an entry.
    """
    if entry.category == SECURITY:
        raise ResendRefused("Security messages are never resent. Request a new one instead.")
    if not entry.is_final:
        raise ResendRefused("The message is still in the outbox.")
    held_from = current().held_from
    if environments.holds(held_from, entry.category):
        # With queued delivery too: the outbox would send it after a reload.
        raise EnvironmentMismatch(environments.held_text(held_from))
    message = stored_message.load(entry)
    # Mail servers and clients may drop a second message with the same Message-ID.
    message.extra_headers = {
        name: value
        for name, value in message.extra_headers.items()
        if name.lower() not in ("message-id", "date")
    }
    classification = Classification(entry.category, SOURCE, site_of(entry, SOURCE))
    # Always refer to the first message, so that one index finds the whole family.
    original = LogEntry(pk=first_of(entry))
    if conf.DELIVERY == "queued":
        return enqueue(message, classification, original)
    written: list[LogEntry | None] = []

    def record(delivery: DeliveryResult) -> LogEntry | None:
        written.append(record_or_retry(delivery, original))
        return written[0]

    pipeline = DeliveryPipeline(recorder=record)
    try:
        pipeline.deliver(message, classification)
    finally:
        pipeline.close()
    return written[0]


def first_of(entry: LogEntry) -> int:
    """The number of the original message."""
    return entry.resend_of_id or entry.pk


def family(entry: LogEntry) -> Any:
    """The original and all its resends, on the database they are written to."""
    first = first_of(entry)
    rows = LogEntry.objects.using(connections.write_alias())
    return rows.filter(Q(pk=first) | Q(resend_of_id=first)).order_by("pk")


def newest_resend(entry: LogEntry | None = None) -> int:
    """The number of the newest resend in the audit log, of a family or of all; 0 without any."""
    rows = registry.get_log_model_for_model(LogEntry).objects.filter(action=_ACTION).order_by()
    if entry is not None:
        members = family(entry).values_list("pk", flat=True)
        rows = rows.filter(object_id__in=[str(key) for key in members])
    return rows.using(router.db_for_write(rows.model)).aggregate(last=Max("pk"))["last"] or 0


def claim(entry: LogEntry, user: Any, seen: int, *, shown: str = "", in_bulk: bool = False) -> bool:
    """Record that ``user`` resends ``entry``, even if the request's transaction is rolled back.

    Args:
        seen: the value of :func:`newest_resend` when the user confirmed it.
        shown: the entry's state that the user saw; empty: any state.
        in_bulk: the user didn't confirm this message individually, so its state must be that of
            ``entry`` and :func:`reason_to_skip` must find none.

    Returns:
        False if it was resent or has changed since. Then it must not be sent.
    """
    alias = connections.write_alias()
    title = _("Log entry %d") % entry.pk  # in this thread's language
    began = timezone.now()

    def write() -> bool:
        # This locks the family. On SQLite, a transaction that writes must begin with a write.
        family(entry).order_by().update(changed_at=F("changed_at"))
        rows = list(family(entry).values_list("pk", "state", "resend_began"))
        states = {key: state for key, state, _began in rows}
        if newest_resend(entry) > seen or (shown and states.get(entry.pk) != shown):
            return False
        if in_bulk and (states.get(entry.pk) != entry.state or reason_to_skip(entry.pk, rows)):
            return False
        family(entry).order_by().update(resend_began=began)
        registry.log(entry, _ACTION, user=user, title=title)
        return True

    return autonomous.write(write, alias)


def reason_to_skip(number: int, members: Iterable[Member]) -> str:
    """Why a bulk resend skips a message, a key of :data:`REASONS`; empty: it doesn't.

    Args:
        number: of the message's entry.
        members: its family.
    """
    others = {state for key, state, _began in members if key != number}
    if State.SENT in others:
        return "sent"
    if any(began for _key, _state, began in members):
        return "begun"
    if State.PARTLY_SENT in others:
        return "partly"
    if State.UNKNOWN in others:
        return "unknown"
    return "waits" if others & PENDING else ""


@dataclass
class Resent:
    """The new entry of a resend, if there is one, and the problem as text."""

    entry: LogEntry | None = None
    problem: str = ""


def send_claimed(entry: LogEntry) -> Resent:
    """Resend a message after :func:`claim`."""
    copies = LogEntry.objects.using(connections.write_alias()).filter(resend_of_id=first_of(entry))
    before = copies.aggregate(last=Max("pk"))["last"] or 0
    error: Exception | None = None
    made = None
    try:
        made = resend(entry)
    except Exception as raised:  # a project's own backend may raise anything
        error = raised
        if not isinstance(raised, EmailDeliveryError):
            logger.exception("Entry %s could not be resent.", entry.pk)

    def finish() -> LogEntry | None:
        found = made or copies.filter(pk__gt=before).order_by("-pk").first()
        if found is not None or isinstance(error, _NOTHING_SENT):
            family(entry).order_by().update(resend_began=None)
        return found

    made = autonomous.write(finish, connections.write_alias())
    if error is None:
        # Its sender gets no error either.
        is_unsent = made is not None and made.state in (State.TOO_LARGE, State.SUPPRESSED)
        return Resent(made, made.reason if made is not None and is_unsent else "")
    # The text of other errors may contain what a server echoed, for example a password.
    text = str(error) if isinstance(error, EmailDeliveryError) else ""
    return Resent(made, text or (made.reason if made else "") or type(error).__name__)


#: Why a message is skipped.
REASONS: Mapping[str, Any] = {
    "sent": gettext_lazy("already sent"),
    "partly": gettext_lazy("some recipients have it already"),
    "unknown": gettext_lazy("not known whether it was sent"),
    "begun": gettext_lazy("a resend started, but its outcome isn't known"),
    "waits": gettext_lazy("still in the outbox, or a resend of it is"),
    "copy": gettext_lazy("a copy of another message in this selection"),
    "meanwhile": gettext_lazy("resent by someone else in the meantime"),
    "security": gettext_lazy("security messages are never resent"),
    "gone": gettext_lazy("the message itself is no longer kept"),
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


def select(
    since: datetime,
    states: Sequence[str] = (State.FAILED,),
    carrier: str = "",
    category: str = "",
    cause: str = "",
) -> list[int]:
    """Return the numbers of the entries to resend that exist now, the oldest first.

    Args:
        carrier: the transport that failed: a set's key, or ``standard``; empty: any.
        category: empty: any.
        cause: the slug of a cause; empty: any.
    """
    rows = LogEntry.objects.using(write_alias()).filter(state__in=states, created_at__gte=since)
    if category:
        rows = rows.filter(category=category)
    if carrier:
        rows = rows.through(carrier)
    if cause:
        rows = rows.filter(cause=cause)
    return list(rows.order_by("pk").values_list("pk", flat=True))
