"""Store what email providers and mail servers report, and match it with entries and recipients.

Events arrive in any order, more than once, and sometimes before the entry is written. Each step is
a single statement that can be repeated, so no locks are held between steps. If two processes update
the same row, the event with the higher rank remains.
"""

import hashlib
import json
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from django.db.models import Q
from django.utils import timezone

from wagtail_smtp.delivery.log import hard_bounces
from wagtail_smtp.live.db import connections
from wagtail_smtp.live.db.expressions import same
from wagtail_smtp.models import DeliveryEvent, LogEntry, LogRecipient
from wagtail_smtp.models.choices import RANKS, Reported
from wagtail_smtp.models.log import SHOWN

logger = logging.getLogger(__name__)

#: How long an event waits for its entry, and how many events of one set may wait. Other
#: applications may use the same account, so some events never get an entry.
WAIT = timedelta(days=1)
WAITING = 10_000
#: Maximum length of a stored reason, in characters.
REASON = 2 * SHOWN
#: The ``set_key`` of events that a signed bounce address has proved. Only the entry's key counts
#: for them: a message that several sets sent has one entry, with the last one's key.
BY_SIGNED_KEY = uuid.UUID(int=0)
#: Events processed at a time, and per step of pruning.
_BATCH = 200


def event(
    set_key: uuid.UUID,
    type: Reported,
    at: datetime | None = None,
    *,
    message_id: str = "",
    address: str = "",
    reason: str = "",
    event_id: str = "",
    entry_key: uuid.UUID | None = None,
    names_recipient: bool = True,
    suppresses: str = "",
) -> DeliveryEvent:
    """Return a tracking event about one message as an unsaved row.

    Args:
        set_key: the set whose webhook received it; only entries sent through this set match. Or
            :data:`BY_SIGNED_KEY`: only the recipients of the entry ``entry_key`` match.
        at: when it happened; None: unknown.
        message_id: the provider's id of the message.
        address: the recipient, as normalised by
            :func:`wagtail_smtp.delivery.log.entries.recipient`; empty: unknown.
        entry_key: the entry's key, if the provider returns the metadata that was sent.
        names_recipient: whether ``address`` is reliable for messages with several recipients.
        suppresses: why the address is not to be emailed again, a ``SuppressionReason``; empty: it
            may be. *Bounced* and *complained* depend on the project's settings.
    """
    same: list[object] = [str(set_key), type, address]
    same += [event_id] if event_id else [message_id, at and at.isoformat(), reason]
    return DeliveryEvent(
        set_key=set_key,
        digest=hashlib.sha256(json.dumps(same).encode()).hexdigest(),
        event_id=event_id[:SHOWN],
        message_id=_bare(message_id)[:SHOWN],
        entry_key=entry_key,
        address=address[:SHOWN] if names_recipient else "",
        type=type,
        happened_at=min(at or timezone.now(), timezone.now()),
        reason=reason[:REASON],
        suppresses=suppresses,
    )


def store(events: Sequence[DeliveryEvent]) -> None:
    """Store the new events of one set, and update entries and recipients.

    Call this outside a transaction: its locks would make other processes wait.
    """
    for start in range(0, len(events), _BATCH):
        # Sorted, so that two processes with the same events don't deadlock.
        found = {row.digest: row for row in events[start:][:_BATCH]}
        rows = [found[digest] for digest in sorted(found)]
        _match(rows)
        kept = [row for row in rows if row.entry_id is not None]
        kept += _within_limit([row for row in rows if row.entry_id is None])
        # Before they are stored: if the process ends in between, they are new the next time too.
        hard_bounces.after_events(_new(kept))
        _events().bulk_create(sorted(kept, key=attrgetter("digest")), ignore_conflicts=True)
        # Including known events: the process that stored them may not have reached this step.
        _raise(rows)
        # Events that arrived before the entry, and were not visible when it was written.
        adopt(_waiting(rows[0].set_key, {row.message_id for row in kept if row.entry_id}))


def catch_up(entry: LogEntry, rows: Iterable[LogRecipient]) -> None:
    """Apply the events that arrived before their entry, which is being written now."""
    ids = {_bare(row.provider_id) for row in rows} - {""}
    if ids and entry.set_key:
        adopt(_waiting(entry.set_key, ids))


def adopt(rows: Sequence[DeliveryEvent]) -> None:
    """Match events that waited for their entries, and apply those whose entry is found."""
    _match(rows)
    hard_bounces.after_events([row for row in rows if row.entry_id is not None])
    for row in rows:
        if row.entry_id is not None:
            _events().filter(pk=row.pk).update(entry_id=row.entry_id, recipient_id=row.recipient_id)
    _raise(rows)


def sweep(keep: timedelta) -> bool:
    """Match waiting events again, and remove those that waited too long.

    Args:
        keep: how long events are kept, which is as long as their entries.

    Returns:
        Whether there may be more to remove.
    """
    now = timezone.now()
    # Two queries, so that each uses an index.
    old = _events().filter(created_at__lt=now - keep).order_by("created_at")
    late = _events().filter(entry=None, created_at__lt=now - WAIT).order_by()
    gone = [key for rows in (old, late) for key in rows.values_list("pk", flat=True)[:_BATCH]]
    _events().filter(pk__in=gone)._raw_delete(connections.write_alias())
    adopt(list(_events().filter(entry=None).order_by("-pk")[:_BATCH]))
    return len(gone) >= _BATCH


def erase(address: str, clean: Callable[[str], str], entry: int | None) -> None:
    """Erase an address from the events of an entry; None: from events without an entry.

    Args:
        clean: removes it from a text.
    """
    if entry is None:
        waiting = _events().filter(entry=None)
        naming = [row.pk for row in waiting.iterator() if clean(row.reason) != row.reason]
        waiting.filter(Q(same("address", address)) | Q(pk__in=naming)).delete()
        return
    _events().filter(same("address", address), entry=entry).delete()
    for row in _events().filter(entry=entry).exclude(reason=""):
        if clean(row.reason) != row.reason:
            _events().filter(pk=row.pk).update(reason=clean(row.reason))
    recipients = _recipients().filter(entry=entry)
    for item in recipients.exclude(reported_reason=""):
        if clean(item.reported_reason) != item.reported_reason:
            recipients.filter(pk=item.pk).update(reported_reason=clean(item.reported_reason))


def _events() -> Any:
    return DeliveryEvent.objects.using(connections.write_alias())


def _recipients() -> Any:
    return LogRecipient.objects.using(connections.write_alias())


def _new(rows: Sequence[DeliveryEvent]) -> list[DeliveryEvent]:
    """Events that suppress an address and aren't stored yet.

    A provider may send an event again after someone has allowed the address.
    """
    found = [row for row in rows if row.suppresses and row.entry_id is not None]
    known = _events().filter(digest__in=[row.digest for row in found])
    stored = set(known.values_list("digest", flat=True)) if found else set()
    return [row for row in found if row.digest not in stored]


def _bare(message_id: str) -> str:
    """An id without angle brackets, which not all providers write."""
    return message_id.strip().removeprefix("<").removesuffix(">")


def _waiting(set_key: uuid.UUID, ids: Iterable[str]) -> list[DeliveryEvent]:
    wanted = sorted(filter(None, ids))
    if not wanted:
        return []
    found = _events().filter(set_key=set_key, message_id__in=wanted, entry=None)
    return list(found.order_by("digest")[:_BATCH])


def _within_limit(rows: list[DeliveryEvent]) -> list[DeliveryEvent]:
    if not rows:
        return []
    waiting = _events().filter(set_key=rows[0].set_key, entry=None).order_by()
    if waiting.values("pk")[WAITING:].exists():
        logger.warning("Reports about unknown messages are dropped: too many wait already.")
        return []
    return rows


def _match(rows: Sequence[DeliveryEvent]) -> None:
    """Set the entry and recipient of each event, if they are in the log."""
    by_set: defaultdict[uuid.UUID, list[DeliveryEvent]] = defaultdict(list)
    for row in rows:
        by_set[row.set_key].append(row)
    for set_key, group in by_set.items():
        by_id, by_entry = _candidates(set_key, group)
        for row in group:
            known = by_id.get(row.message_id) or (row.entry_key and by_entry.get(row.entry_key))
            if not known:
                continue
            meant = [item for item in known if item.address == row.address]
            if set_key == BY_SIGNED_KEY and not meant:
                continue
            row.entry_id = known[-1].entry_id
            if meant or (not row.address and len(known) == 1):
                row.recipient_id = (meant or known)[-1].pk


def _candidates(
    set_key: uuid.UUID, rows: Sequence[DeliveryEvent]
) -> tuple[dict[str, list[LogRecipient]], dict[uuid.UUID, list[LogRecipient]]]:
    """The recipients these events may concern, by the provider's id and by the entry's key."""
    bare = {row.message_id for row in rows} - {""}
    keys = {row.entry_key for row in rows} - {None}
    of_set = _recipients().filter(role=LogRecipient.Role.ENVELOPE)
    if set_key != BY_SIGNED_KEY:
        of_set = of_set.filter(entry__set_key=set_key)
    by_id: defaultdict[str, list[LogRecipient]] = defaultdict(list)
    by_entry: defaultdict[uuid.UUID, list[LogRecipient]] = defaultdict(list)
    if bare:
        written = [form for each in sorted(bare) for form in (each, f"<{each}>")]
        for item in of_set.filter(provider_id__in=written).order_by("pk"):
            by_id[_bare(item.provider_id)].append(item)
    if keys:
        for item in of_set.filter(entry__key__in=keys).select_related("entry").order_by("pk"):
            by_entry[item.entry.key].append(item)
    return by_id, by_entry


def _raise(rows: Iterable[DeliveryEvent]) -> None:
    """Update recipients and entries to the event with the highest rank."""
    ranked = [row for row in rows if row.entry_id is not None and row.type in RANKS]
    ranked.sort(key=lambda row: (RANKS[row.type], row.happened_at))
    # Sorted by rank, so the last event of each recipient has the highest.
    of_recipients = {row.recipient_id: row for row in ranked if row.recipient_id is not None}
    for key, row in sorted(of_recipients.items()):
        lower = _states_below(RANKS[row.type])
        same = [state for state, rank in RANKS.items() if rank == RANKS[row.type]]
        is_lower = Q(reported__in=lower) | Q(reported__in=same, reported_at__lt=row.happened_at)
        _recipients().filter(is_lower, pk=key).update(
            reported=row.type, reported_at=row.happened_at, reported_reason=row.reason
        )
    entries = LogEntry.objects.using(connections.write_alias())
    of_entries = {row.entry_id: row for row in ranked if row.entry_id is not None}
    for key, row in sorted(of_entries.items()):
        entries.filter(pk=key, reported__in=_states_below(RANKS[row.type])).update(
            reported=row.type
        )


def _states_below(rank: int) -> list[str]:
    return [state for state, other in RANKS.items() if other < rank]
