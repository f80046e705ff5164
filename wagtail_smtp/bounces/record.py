"""Record what a returned message reports, if it proves which message it is about."""

import hashlib
import logging
import uuid
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from enum import StrEnum

from django.db import DataError
from django.db.models import Count, QuerySet
from django.utils import timezone

from wagtail_smtp.bounces import messages
from wagtail_smtp.bounces.messages import Report
from wagtail_smtp.config import bounce_address
from wagtail_smtp.delivery.log import tracking_events
from wagtail_smtp.delivery.log.tracking_events import BY_SIGNED_KEY
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import BounceSource, DeliveryEvent, LogEntry, LogRecipient
from wagtail_smtp.runtime.project import as_kept

logger = logging.getLogger(__name__)

#: How old an entry may be. Mail servers give up after five days, so a later report is a replay.
MAX_AGE = timedelta(days=30)
#: Events that are recorded of a recipient, who could send any number of them.
_MOST = 20


class Outcome(StrEnum):
    """What became of one message; the names of the counters of a source."""

    #: Its events are in the delivery log, or wait for their entry.
    RECORDED = "recorded"
    #: It is authentic but reports nothing: an automatic reply, for example.
    IGNORED = "ignored"
    #: It isn't addressed to a valid signed address, so anyone may have written it.
    UNVERIFIED = "unverified"
    #: The entry is older than 30 days, has none of the recipients, or enough events of them.
    UNMATCHED = "unmatched"
    #: It can't be parsed.
    UNREADABLE = "unreadable"


def process(content: bytes, receiver: str = "") -> Outcome:
    """Record the events that a message reports.

    Args:
        content: the message, at least its first :data:`~wagtail_smtp.bounces.messages.MAX_SIZE`
            bytes.
        receiver: the address it was delivered to, if that is known.

    Raises:
        django.db.Error: nothing is lost if the same message is processed again.
    """
    try:
        message = messages.parse(content)
        key = entry_key(message, receiver)
        if key is None:
            return Outcome.UNVERIFIED
        reports = messages.reports(message)
    except Exception as error:
        # Anything: parsers don't expect every input. Nothing of it is logged.
        logger.warning("A returned message can't be read: %s", type(error).__name__)
        return Outcome.UNREADABLE
    if not reports:
        return Outcome.IGNORED
    try:
        return _store(key, reports, message, content)
    except DataError:
        # The database can't store it, now or later.
        logger.warning("A returned message can't be stored.")
        return Outcome.UNREADABLE


def entry_key(message: Message, receiver: str = "") -> uuid.UUID | None:
    """The key of the entry that a message proves to be about; its headers may be enough."""
    addresses = (receiver, *messages.receivers(message))
    return next(filter(None, map(bounce_address.verified, addresses)), None)


def _store(key: uuid.UUID, reports: Sequence[Report], message: Message, content: bytes) -> Outcome:
    entry = _entries().filter(key=key).values_list("pk", "changed_at").first()
    if entry is not None and entry[1] < timezone.now() - MAX_AGE:
        return Outcome.UNMATCHED
    identity = str(message.get("Message-ID") or hashlib.sha256(content).hexdigest())
    events = [
        tracking_events.event(
            BY_SIGNED_KEY,
            report.type,
            _date(message),
            address=address,
            reason=report.reason,
            event_id=f"{key} {identity}",
            entry_key=key,
            # With several recipients, one of them could have forged a bounce of another.
            suppresses=report.suppresses if is_only else "",
        )
        for report, address, is_only in _meant(entry and entry[0], reports)
    ]
    tracking_events.store(events)
    return Outcome.RECORDED if events else Outcome.UNMATCHED


def _meant(entry: int | None, reports: Sequence[Report]) -> Iterator[tuple[Report, str, bool]]:
    """Yield each report about a recipient of the entry, with its address, and whether it is alone.

    Args:
        entry: None: it isn't written yet. The events wait for it.
    """
    named = {address for report in reports for address in report.addresses}
    if entry is None:
        known, only = named, ""
    else:
        recipients = LogRecipient.objects.using(write_alias()).filter(
            entry=entry, role=LogRecipient.Role.ENVELOPE
        )
        first_two = list(recipients.values_list("address", flat=True)[:2])
        only = first_two[0] if len(first_two) == 1 else ""
        known = set(recipients.filter(address__in=named).values_list("address", flat=True))
        full = _with_enough(entry, known | {only})
        known, only = known - full, "" if only in full else only
    for report in reports:
        addresses = [each for each in report.addresses if each in known]
        if addresses:
            yield report, addresses[0], addresses[0] == only
        elif only and not report.addresses:
            yield report, only, True


def _with_enough(entry: int, addresses: Collection[str]) -> set[str]:
    """Those of the addresses of which no more events are recorded."""
    events = DeliveryEvent.objects.using(write_alias()).order_by()
    counted = events.filter(entry=entry, set_key=BY_SIGNED_KEY, address__in=addresses)
    full = counted.values("address").annotate(number=Count("pk")).filter(number__gte=_MOST)
    return set(full.values_list("address", flat=True))


def _entries() -> "QuerySet[LogEntry]":
    return LogEntry.objects.using(write_alias())


def _date(message: Message) -> datetime:
    """When the report was written; now, if it doesn't say that plausibly."""
    now = timezone.now()
    try:
        at = as_kept(parsedate_to_datetime(str(message["Date"])))
    except (ValueError, TypeError, OverflowError):
        return now
    return at if now - MAX_AGE < at < now else now


def count(source: uuid.UUID, outcome: Outcome) -> None:
    """Count a message in the figures of a source."""
    BounceSource.of(source).add({outcome: 1})
