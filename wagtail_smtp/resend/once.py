"""Resending a message once for each time that someone asked for it.

A message and its resends are a family: all name the original in ``resend_of``. Before one of them
is resent, the family is claimed: its rows are locked, looked at, and marked with the time, and
Wagtail's audit log says who did it. That is committed before the message is sent, so a second
click, a second tab or a second process comes too late. The mark goes once the outcome is in the
log. Where the process died in between, it stays, and a person decides.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import router
from django.db.models import F, Max, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from wagtail.log_actions import registry

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.classify import Classification
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.delivery.pipeline import DeliveryPipeline
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.exceptions import (
    ConfigurationUnavailable,
    EmailDeliveryError,
    MessageUnreadable,
    ResendRefused,
    StorageFull,
)
from wagtail_smtp.live.db import autonomous, connections
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State
from wagtail_smtp.outbox.enqueue import enqueue, recorder

#: What the log says of how a resent message came to its category.
SOURCE = "resent"


def can_resend(entry: LogEntry) -> bool:
    """Whether the message is stored, not security mail, and no longer processed automatically."""
    return entry.is_final and entry.category != SECURITY and hasattr(entry, "stored")


def original(entry: LogEntry) -> LogEntry:
    """What the new entry names as the one it repeats: the first of all, also for a copy of a copy.

    So that one look-up by an index finds the original and all its copies.
    """
    return LogEntry(pk=entry.resend_of_id) if entry.resend_of_id else entry


def resend(entry: LogEntry) -> LogEntry | None:
    """Send the message of ``entry`` again, as a new message with an entry of its own.

    It goes to those it was meant for, whoever got the first one; a redirect that is in force
    holds. Category and, with it, the way are those of now.

    Returns:
        The new entry; None if it could not be written.

    Raises:
        ResendRefused: it may not be sent again.
        MessageUnreadable: it is not stored any more or can't be decrypted.
        EmailDeliveryError: or what the project's own backend raises; it has its entry too.
    """
    if entry.category == SECURITY:
        raise ResendRefused("Security messages are never resent. Request a new one instead.")
    if not entry.is_final:
        raise ResendRefused("The message is still in the outbox.")
    message = stored_message.load(entry)
    # A new message: mail programs drop a second one with the same Message-ID.
    message.extra_headers = {
        name: value
        for name, value in message.extra_headers.items()
        if name.lower() not in ("message-id", "date")
    }
    classification = Classification(entry.category, SOURCE)
    if conf.DELIVERY == "queued":
        return enqueue(message, classification, resend_of=original(entry))
    written: list[LogEntry | None] = []
    write = recorder(resend_of=original(entry))

    def record(delivery: DeliveryResult) -> LogEntry | None:
        written.append(write(delivery))
        return written[0]

    line = DeliveryPipeline(recorder=record)
    try:
        line.deliver(message, classification)
    finally:
        line.close()
    return written[0]


logger = logging.getLogger(__name__)

_ACTION = "wagtail_smtp.resend"
#: Errors after which nothing was sent, although no entry says so.
_NOTHING_SENT = (ResendRefused, MessageUnreadable, StorageFull, ConfigurationUnavailable)


def first_of(entry: LogEntry) -> int:
    """The number of the original of a family."""
    return entry.resend_of_id or entry.pk


def family(entry: LogEntry) -> Any:
    """Rows of the original and all its resends, read where they are written."""
    first = first_of(entry)
    rows = LogEntry.objects.using(connections.write_alias())
    return rows.filter(Q(pk=first) | Q(resend_of_id=first)).order_by("pk")


def newest_resend(entry: LogEntry | None = None) -> int:
    """The number of the newest resend in the audit log, of a family or of all; 0: there is none."""
    rows = registry.get_log_model_for_model(LogEntry).objects.filter(action=_ACTION).order_by()
    if entry is not None:
        members = family(entry).values_list("pk", flat=True)
        rows = rows.filter(object_id__in=[str(key) for key in members])
    return rows.using(router.db_for_write(rows.model)).aggregate(last=Max("pk"))["last"] or 0


def claim(entry: LogEntry, user: Any, seen: int, *, shown: str = "", unasked: bool = False) -> bool:
    """Write down that ``user`` resends ``entry``.

    It stays there whatever becomes of the request's transaction, as the message can't be taken
    back either.

    Args:
        seen: what :func:`newest_resend` was when it was confirmed.
        shown: the state of ``entry`` when it was confirmed; empty: it doesn't matter.
        unasked: nobody looked at this one message, so it is only claimed if its own state is still
            that of ``entry`` and none of its family was sent or may have been.

    Returns:
        False if it was resent or has changed since, or must not be; nothing may be sent then.
    """
    alias = connections.write_alias()
    title = _("Log entry %d") % entry.pk  # in the language of this thread
    began = timezone.now()

    def write() -> bool:
        # Locks the family: whoever comes second waits here. SQLite wants a transaction that
        # writes to begin with that.
        family(entry).order_by().update(changed_at=F("changed_at"))
        rows = list(family(entry).values_list("pk", "state", "resend_began"))
        if newest_resend(entry) > seen:
            return False
        is_as_seen = any(row[:2] == (entry.pk, entry.state) for row in rows)
        if shown and (entry.pk, shown) not in (row[:2] for row in rows):
            return False
        if unasked and (not is_as_seen or why_not_again(entry.pk, rows)):
            return False
        family(entry).order_by().update(resend_began=began)
        registry.log(entry, _ACTION, user=user, title=title)
        return True

    return autonomous.write(write, alias)


def why_not_again(number: int, rows: Iterable[tuple[int, str, Any]]) -> str:
    """Why a message isn't resent unasked, as :data:`several.REASONS` names it; empty: it may be.

    Args:
        rows: number, state and ``resend_began`` of all in its family.
    """
    others = {state for key, state, _began in rows if key != number}
    if State.SENT in others:
        return "sent"
    if any(began for _key, _state, began in rows):
        return "begun"
    if State.PARTLY_SENT in others:
        return "partly"
    if State.UNKNOWN in others:
        return "unknown"
    return "waits" if others & {State.QUEUED, State.SENDING, State.DEFERRED} else ""


@dataclass
class Resent:
    """What became of a resend: its entry, if there is one, and what went wrong, in words."""

    entry: LogEntry | None = None
    problem: str = ""


def send_claimed(entry: LogEntry) -> Resent:
    """Resend what :func:`claim` has claimed."""
    copies = LogEntry.objects.using(connections.write_alias()).filter(resend_of_id=first_of(entry))
    before = copies.aggregate(last=Max("pk"))["last"] or 0
    error: Exception | None = None
    made = None
    try:
        made = resend(entry)
    except Exception as raised:  # a project's own backend raises what it likes
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
        too_large = made is not None and made.state == State.TOO_LARGE
        return Resent(made, made.reason if made is not None and too_large else "")
    # Words of others may hold what the server echoed, a password for one.
    words = str(error) if isinstance(error, EmailDeliveryError) else ""
    return Resent(made, words or (made.reason if made else "") or type(error).__name__)
