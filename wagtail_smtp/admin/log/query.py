"""Which entries a page of the delivery log shows, by queries that don't grow with the log.

Everything is found by an index, newest first, and only so much of it. What no index answers, a
word in a subject or two filters at once, is looked for in the newest entries only; the page says
so, and goes on further back when asked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from django.db import connections
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.db.models.functions import Coalesce

from wagtail_smtp.config.validation import ascii_address, ascii_host, is_email_address, is_host
from wagtail_smtp.live.db.bytewise import same
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.runtime.project import as_kept

#: Entries that a listing counts and pages through; older ones follow on a page of their own.
CAP = 1000
#: Entries looked through at a time for what no index answers.
SPAN = 100_000
#: The same of one recipient's entries; each is a parameter of a query.
CANDIDATES = 2000
#: Entries of concurrent transactions may be numbered in another order than that of their times.
_SLACK = 1000
#: Times that every database and time zone can compare with.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Criteria:
    """What somebody looks for; empty: anything. ``before`` is the number of an entry.

    ``subject`` may also be a part of a recipient's address.
    """

    state: str = ""
    category: str = ""
    via: str = ""
    reported: str = ""
    recipient: str = ""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None

    @property
    def conditions(self):
        """Look-ups of fields that an index leads with."""
        names = ("state", "category", "via", "reported")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    @property
    def times(self):
        """Since and until, within what can be compared."""
        ends = (self.since, self.until)
        return tuple(end and min(max(as_kept(_EARLIEST), end), as_kept(_LATEST)) for end in ends)


@dataclass(frozen=True)
class Matches(Sequence):
    """The numbers of the entries, newest first; as a sequence, the entries themselves.

    ``older`` is the ``before`` to go on with, None if all was looked through. ``is_capped``
    says that there are more, else that there may be.
    """

    numbers: tuple[int, ...] = ()
    older: int | None = None
    is_capped: bool = False

    model = LogEntry
    ordered = True

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return entries(self.numbers[index])
        return entries([self.numbers[index]])[0]


def find(wanted, limit=CAP):
    """Up to ``limit`` entries."""
    bounds = _bounds(wanted)
    if bounds is None or len(wanted.subject) > LogEntry._meta.get_field("subject").max_length:
        return Matches()
    by = _by_recipient if wanted.recipient else _by_entry
    return by(wanted, bounds, limit)


def find_further(wanted, limit):
    """As :func:`find`, going on until ``limit`` or the end of the log."""
    found = find(wanted, limit)
    numbers = found.numbers
    while found.older is not None and len(numbers) < limit:
        found = find(replace(wanted, before=found.older), limit - len(numbers))
        numbers += found.numbers
    return replace(found, numbers=numbers)


def _entries():
    """The log's entries from where they are written: a replica may not have them yet."""
    return LogEntry.objects.using(write_alias())


def _recipients():
    return LogRecipient.objects.using(write_alias())


def _bounds(wanted):
    """Conditions that keep to the period and before; None if nothing lies there."""
    since, until = wanted.times
    bounds = {}
    if since is not None:
        later = _entries().filter(created_at__gte=since).order_by("created_at")
        first = later.values_list("pk", flat=True).first()
        if first is None:
            return None
        bounds["gte"] = first - _SLACK
    highest = []
    if until is not None:
        earlier = _entries().filter(created_at__lte=until).order_by("-created_at")
        last = earlier.values_list("pk", flat=True).first()
        if last is None:
            return None
        highest.append(last + _SLACK)
    if wanted.before is not None:
        highest.append(wanted.before - 1)
    if highest:
        bounds["lte"] = min(highest)
    return bounds


def _matching(wanted):
    """Entries by everything but number and recipient."""
    rows = _entries().filter(**wanted.conditions)
    if wanted.subject:
        rows = rows.filter(_contains(wanted.subject, rows.db))
    since, until = wanted.times
    if since or until:
        # An expression, lest the index on the time is read instead of that on the number,
        # and all of the period sorted.
        rows = rows.annotate(at=Coalesce("created_at", "created_at"))
        rows = rows.filter(at__gte=since) if since else rows
        rows = rows.filter(at__lte=until) if until else rows
    return rows


def _contains(text, alias):
    """The condition that a subject contains ``text``, or a recipient's address does."""
    if connections[alias].vendor == "sqlite" and not text.isascii():
        # SQLite's LIKE takes ü and Ü for two letters; its REGEXP is Python's.
        found = Q(subject__iregex=re.escape(text))
    else:
        found = Q(subject__icontains=text)
    if " " in text:
        return found
    rows = _recipients().filter(entry=OuterRef("pk"), address__contains=text.lower())
    return found | Exists(rows.order_by())


def _by_entry(wanted, bounds, limit):
    edge = None
    if wanted.subject or len(wanted.conditions) > 1:
        edge = _edge(_entries().filter(**_of("pk", bounds)))
    if edge is not None:
        # One lower bound: of two, SQLite may begin at the wrong one.
        bounds = bounds | {"gte": edge}
    rows = _matching(wanted).filter(**_of("pk", bounds)).order_by("-pk")
    return _found(tuple(rows.values_list("pk", flat=True)[: limit + 1]), limit, edge)


def _of(field, bounds):
    return {f"{field}__{lookup}": value for lookup, value in bounds.items()}


def _edge(rows):
    """The last to be looked through this time; None: all of them are."""
    newest = rows.order_by("-pk").values_list("pk", flat=True).first()
    if newest is None or not rows.filter(pk__lte=newest - SPAN).exists():
        return None
    return newest - SPAN + 1


def _by_recipient(wanted, bounds, limit):
    address = recipient_lookup(wanted.recipient)
    its = [same(field, value) for field, value in address.items()]
    rows = _recipients().filter(*its, **_of("entry_id", bounds))
    newest = rows.order_by("-entry_id").values_list("entry_id", flat=True).distinct()
    if not wanted.conditions and not wanted.subject and not any(wanted.times):
        return _found(tuple(newest[: limit + 1]), limit, None)
    candidates = list(newest[: CANDIDATES + 1])
    edge = candidates[CANDIDATES - 1] if len(candidates) > CANDIDATES else None
    among = _matching(wanted).filter(pk__in=candidates[:CANDIDATES]).order_by("-pk")
    return _found(tuple(among.values_list("pk", flat=True)[: limit + 1]), limit, edge)


def _found(numbers, limit, edge):
    if len(numbers) > limit:
        return Matches(numbers[:limit], numbers[limit - 1], is_capped=True)
    return Matches(numbers, edge)


def recipient_lookup(text):
    """The look-up of :class:`LogRecipient` for an address or a domain."""
    text = text.strip().lower()
    local, _at, domain = text.rpartition("@")
    try:
        return {"address": ascii_address(text)} if local else {"domain": ascii_host(domain)}
    except ValueError:
        return {"address": text} if local else {"domain": domain}


def is_recipient(text):
    """Whether a search for ``text`` means an address, or may mean a domain."""
    text = text.strip()
    if is_email_address(text):
        return True
    domain = text.removeprefix("@")
    return "." in domain.strip(".") and is_host(domain)


def entries(numbers):
    """The entries with these numbers, newest first, with ``recipient`` and ``more`` of each:
    the first address, and how many others there are."""
    rows = list(_entries().filter(pk__in=numbers).order_by("-pk"))
    counted = (
        _recipients()
        .filter(entry__in=numbers, role=LogRecipient.Role.ENVELOPE)
        .order_by()
        .values("entry")
        .annotate(first=Min("pk"), count=Count("pk"))
        .values_list("entry", "first", "count")
    )
    found = {entry: (first, count) for entry, first, count in counted}
    firsts = [first for first, _count in found.values()]
    addresses = dict(_recipients().filter(pk__in=firsts).values_list("pk", "address"))
    for row in rows:
        first, count = found.get(row.pk, (None, 1))
        row.recipient, row.more = addresses.get(first, ""), count - 1
    return rows
