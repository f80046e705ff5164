"""Resend a message from the delivery log, exactly once per request.

A message and its resends are a family: each resend names the original in ``resend_of``. Before a
message is resent, its family is claimed: the rows are locked, checked and marked with the time,
and the user is recorded in Wagtail's audit log. This is committed before the message is sent, so a
second click, tab or process is too late. The mark is removed after the outcome is logged. If the
process dies in between, the mark stays and an administrator decides.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
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
from wagtail_smtp.models.choices import PENDING, State
from wagtail_smtp.outbox.enqueue import enqueue, record_or_retry

logger = logging.getLogger(__name__)

#: The category source of a resend.
SOURCE = "resent"
_ACTION = "wagtail_smtp.resend"
#: Errors after which nothing was sent, although no entry says so.
_NOTHING_SENT = (ResendRefused, MessageUnreadable, StorageFull, ConfigurationUnavailable)

#: Number, state and ``resend_began`` of an entry.
Member = tuple[int, str, datetime | None]


def can_resend(entry: LogEntry) -> bool:
    """Whether the message is stored, not security mail, and no longer processed automatically."""
    return entry.is_final and entry.category != SECURITY and hasattr(entry, "stored")


def resend(entry: LogEntry) -> LogEntry | None:
    """Send the message of ``entry`` to its original recipients, as a new message.

    A redirect applies. The category stays, and the live configuration decides how it is sent.

    Returns:
        The new entry; None if it could not be written.

    Raises:
        ResendRefused: it may not be resent.
        MessageUnreadable: it is no longer stored or can't be decrypted.
        EmailDeliveryError: or any error of the project's own backend; it is logged in an entry.
    """
    if entry.category == SECURITY:
        raise ResendRefused("Security messages are never resent. Request a new one instead.")
    if not entry.is_final:
        raise ResendRefused("The message is still in the outbox.")
    message = stored_message.load(entry)
    # Mail servers and clients may drop a second message with the same Message-ID.
    message.extra_headers = {
        name: value
        for name, value in message.extra_headers.items()
        if name.lower() not in ("message-id", "date")
    }
    classification = Classification(entry.category, SOURCE)
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
    """Why a bulk resend skips a message, a key of :data:`bulk_resend.REASONS`; empty: it doesn't.

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
        is_too_large = made is not None and made.state == State.TOO_LARGE
        return Resent(made, made.reason if made is not None and is_too_large else "")
    # The text of other errors may contain what a server echoed, for example a password.
    text = str(error) if isinstance(error, EmailDeliveryError) else ""
    return Resent(made, text or (made.reason if made else "") or type(error).__name__)
