"""The filters and the search of the delivery log."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import django_filters
from django import forms
from django.db import connections
from django.db.models import Count, Exists, Min, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from wagtail.admin.filters import DateRangePickerWidget, WagtailFilterSet

from wagtail_smtp.admin.labels import category_choices, via_label
from wagtail_smtp.admin.log.states import TRACKING_CHOICES
from wagtail_smtp.config.validation import ascii_address, ascii_host, is_email_address, is_host
from wagtail_smtp.live.db.bytewise import same
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, LogRecipient, SettingsSet
from wagtail_smtp.models.log import STATES
from wagtail_smtp.runtime.project import as_kept
from wagtail_smtp.transports import standard

#: Entries that a listing counts and pages through; older ones have a listing of their own.
CAP = 1000
#: Entries that are searched at a time if no index covers the search.
SPAN = 100_000
#: The same for one recipient's entries; each is a query parameter.
CANDIDATES = 2000
#: Concurrent transactions may number their entries in a different order than their times.
_SLACK = 1000
#: Limits of times that work with every database and time zone.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Criteria:
    """What to search for; empty values match anything. ``before`` is the number of an entry.

    ``subject`` also matches a part of a recipient's address.
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
        """Lookups of the fields that have an index."""
        names = ("state", "category", "via", "reported")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    @property
    def times(self):
        """``since`` and ``until``, limited to times that can be compared."""
        ends = (self.since, self.until)
        return tuple(end and min(max(as_kept(_EARLIEST), end), as_kept(_LATEST)) for end in ends)


@dataclass(frozen=True)
class Matches(Sequence):
    """Matching entries, newest first: their numbers, and as a sequence the entries.

    ``older`` is the ``before`` of the next search, None if everything was searched. If it is set,
    ``is_capped`` means that there are more matches; otherwise there may be.
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


def find(criteria, limit=CAP):
    """Find up to ``limit`` entries."""
    bounds = _bounds(criteria)
    if bounds is None or len(criteria.subject) > LogEntry._meta.get_field("subject").max_length:
        return Matches()
    by = _by_recipient if criteria.recipient else _by_entry
    return by(criteria, bounds, limit)


def find_further(criteria, limit):
    """Like :func:`find`, but continue up to ``limit`` or the end of the log."""
    found = find(criteria, limit)
    numbers = found.numbers
    while found.older is not None and len(numbers) < limit:
        found = find(replace(criteria, before=found.older), limit - len(numbers))
        numbers += found.numbers
    return replace(found, numbers=numbers)


def _entries():
    """The log's entries from the primary database; a replica may not have them yet."""
    return LogEntry.objects.using(write_alias())


def _recipients():
    return LogRecipient.objects.using(write_alias())


def _bounds(criteria):
    """Return the range of numbers for the period and ``before``; None if it is empty."""
    since, until = criteria.times
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
    if criteria.before is not None:
        highest.append(criteria.before - 1)
    if highest:
        bounds["lte"] = min(highest)
    return bounds


def _matching(criteria):
    """Filter entries by everything except number and recipient."""
    rows = _entries().filter(**criteria.conditions)
    if criteria.subject:
        rows = rows.filter(_contains(criteria.subject, rows.db))
    since, until = criteria.times
    if since or until:
        # An expression keeps the database from using the index on the time, which would make it
        # sort the whole period.
        rows = rows.annotate(at=Coalesce("created_at", "created_at"))
        rows = rows.filter(at__gte=since) if since else rows
        rows = rows.filter(at__lte=until) if until else rows
    return rows


def _contains(text, alias):
    """The condition that the subject or a recipient's address contains ``text``."""
    if connections[alias].vendor == "sqlite" and not text.isascii():
        # SQLite's LIKE is case-sensitive for ü and Ü; its REGEXP is Python's.
        found = Q(subject__iregex=re.escape(text))
    else:
        found = Q(subject__icontains=text)
    if " " in text:
        return found
    rows = _recipients().filter(entry=OuterRef("pk"), address__contains=text.lower())
    return found | Exists(rows.order_by())


def _by_entry(criteria, bounds, limit):
    edge = None
    if criteria.subject or len(criteria.conditions) > 1:
        edge = _edge(_entries().filter(**_of("pk", bounds)))
    if edge is not None:
        # Only one lower bound: with two, SQLite may start at the wrong one.
        bounds = bounds | {"gte": edge}
    rows = _matching(criteria).filter(**_of("pk", bounds)).order_by("-pk")
    return _found(tuple(rows.values_list("pk", flat=True)[: limit + 1]), limit, edge)


def _of(field, bounds):
    return {f"{field}__{lookup}": value for lookup, value in bounds.items()}


def _edge(rows):
    """Return the last number to search this time; None to search all."""
    newest = rows.order_by("-pk").values_list("pk", flat=True).first()
    if newest is None or not rows.filter(pk__lte=newest - SPAN).exists():
        return None
    return newest - SPAN + 1


def _by_recipient(criteria, bounds, limit):
    address = recipient_lookup(criteria.recipient)
    conditions = [same(field, value) for field, value in address.items()]
    rows = _recipients().filter(*conditions, **_of("entry_id", bounds))
    newest = rows.order_by("-entry_id").values_list("entry_id", flat=True).distinct()
    if not criteria.conditions and not criteria.subject and not any(criteria.times):
        return _found(tuple(newest[: limit + 1]), limit, None)
    candidates = list(newest[: CANDIDATES + 1])
    edge = candidates[CANDIDATES - 1] if len(candidates) > CANDIDATES else None
    among = _matching(criteria).filter(pk__in=candidates[:CANDIDATES]).order_by("-pk")
    return _found(tuple(among.values_list("pk", flat=True)[: limit + 1]), limit, edge)


def _found(numbers, limit, edge):
    if len(numbers) > limit:
        return Matches(numbers[:limit], numbers[limit - 1], is_capped=True)
    return Matches(numbers, edge)


def recipient_lookup(text):
    """Return the lookup of :class:`LogRecipient` for an address or a domain."""
    text = text.strip().lower()
    local, _at, domain = text.rpartition("@")
    try:
        return {"address": ascii_address(text)} if local else {"domain": ascii_host(domain)}
    except ValueError:
        return {"address": text} if local else {"domain": domain}


def is_recipient(text):
    """Whether ``text`` is an address or may be a domain."""
    text = text.strip()
    if is_email_address(text):
        return True
    domain = text.removeprefix("@")
    return "." in domain.strip(".") and is_host(domain)


def entries(numbers):
    """Return the entries with these numbers, newest first.

    Each has the attributes ``recipient``, its first address, and ``more``, the number of others.
    """
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


#: Filters with a single value.
_BY_VALUE = ("state", "category", "via", "reported", "recipient")
#: Days that a search covers by default.
DAYS = 30
#: The largest number that every database can compare with.
_LARGEST = 2**63 - 1


def _carriers():
    names = SettingsSet.objects.order_by("sort_order", "pk").values_list("name", flat=True)
    return [(name, via_label(name)) for name in dict.fromkeys([*names, standard.NAME])]


class LogFilterSet(WagtailFilterSet):
    """Filters with fixed choices; none are read from the log."""

    state = django_filters.ChoiceFilter(
        label=_("State"), choices=STATES, empty_label=_("All"), widget=forms.RadioSelect
    )
    category = django_filters.ChoiceFilter(
        label=_("Category"),
        choices=category_choices,
        empty_label=_("All"),
        widget=forms.RadioSelect,
    )
    via = django_filters.ChoiceFilter(
        label=_("Sent through"), choices=_carriers, empty_label=_("All"), widget=forms.RadioSelect
    )
    reported = django_filters.ChoiceFilter(
        label=_("Tracking"),
        choices=TRACKING_CHOICES,
        empty_label=_("All"),
        widget=forms.RadioSelect,
    )
    created_at = django_filters.DateFromToRangeFilter(label=_("Date"), widget=DateRangePickerWidget)
    recipient = django_filters.CharFilter(
        label=_("Recipient"),
        help_text=_("A whole address or a domain, such as ada@example.com or example.com."),
    )

    class Meta:
        model = LogEntry
        fields = ()

    @property
    def criteria(self):
        """The chosen filters as :class:`Criteria`; invalid values are ignored."""
        self.is_valid()
        given = self.form.cleaned_data
        period = given.get("created_at")
        return Criteria(
            **{name: given.get(name) or "" for name in _BY_VALUE},
            since=period.start if period else None,
            until=period.stop if period else None,
            before=number(self.data.get("before", "")),
        )


def number(text):
    """Parse an entry's number from a query string; None if it isn't a number."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return min(int(text), _LARGEST)


def search(criteria, text):
    """Return the matches and the criteria that the search box adds ``text`` to.

    An address or a domain is searched as a recipient. Anything else, and a domain without matches,
    is searched in subjects and as a part of recipients' addresses.
    """
    if not text:
        return find(criteria), criteria
    if not criteria.recipient and is_recipient(text):
        refined = replace(criteria, recipient=text)
        if "@" in text or find(replace(refined, before=None), 1):
            return find(refined), refined
    since, until = criteria.times
    if since is None:
        since = (until or timezone.now()) - timedelta(days=DAYS)
    refined = replace(criteria, subject=text.strip(), since=since)
    return find(refined), refined
