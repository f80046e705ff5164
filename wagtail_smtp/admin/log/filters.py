"""The filters and the search of the delivery log.

No request reads more of a long log than of a short one. One filter alone is an index that is read
from the newest entry. Several filters, and words, have no index in common: the filter that reaches
back furthest is read by its index, a limited number of entries of it, and each of these is checked
for everything else. The user can continue with older entries.

The start of an address or of a domain has an index too, but it isn't ordered by time. It finds
entries of any age, unless more than :data:`NAMED` recipients match: then new entries match too.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import django_filters
from django import forms
from django.db import connections
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from wagtail.admin.filters import DateRangePickerWidget, WagtailFilterSet

from wagtail_smtp.admin.labels import STANDARD_DELIVERY, TRACKING_CHOICES, category_choices
from wagtail_smtp.admin.paging import Found, Span, number
from wagtail_smtp.config.validation import ascii_address, ascii_host, is_email_address, is_host
from wagtail_smtp.live import sites
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.db.expressions import same, starts_with
from wagtail_smtp.models import LogEntry, LogRecipient, SettingsSet
from wagtail_smtp.models.choices import State
from wagtail_smtp.models.log import SHOWN, STANDARD
from wagtail_smtp.runtime.project import as_kept

#: Days that a search for a word covers if no dates are chosen.
DAYS = 30
#: Entries in which a page searches, those for each *Search older entries*, and the most in which
#: an export or an action on all that match searches.
LOOK, LOOK_FURTHER, LOOK_MOST = 5_000, 50_000, 1_000_000
#: Entries that match a filter are scattered in the table, so only this part of them is checked.
SCATTERED = 5
#: Recipients to look up by the start of their address, and by that of their domain.
NAMED = 500
#: Limits of times that work with every database and time zone.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _carrier_choices():
    sets = SettingsSet.objects.order_by("sort_order", "pk").values_list("key", "name")
    return [*((str(key), name) for key, name in sets), (STANDARD, STANDARD_DELIVERY)]


def site_choices():
    """The sites to choose from; empty if there are not several."""
    named = sites.names(sites.known())
    return [(str(key), name) for key, name in named.items()] if len(named) > 1 else []


def _choice(label, choices):
    return django_filters.ChoiceFilter(
        label=label, choices=choices, empty_label=_("All"), widget=forms.RadioSelect
    )


class LogFilterSet(WagtailFilterSet):
    """Filters with fixed choices; none are read from the log. Use :meth:`search`, not ``qs``."""

    state = _choice(_("State"), State.choices)
    category = _choice(_("Category"), category_choices)
    via = _choice(_("Sent through"), _carrier_choices)
    site = _choice(_("Site"), site_choices)
    reported = _choice(_("Tracking"), TRACKING_CHOICES)
    created_at = django_filters.DateFromToRangeFilter(label=_("Date"), widget=DateRangePickerWidget)
    recipient = django_filters.CharFilter(
        label=_("Recipient"),
        help_text=_("An address or a part of it, such as ada@example.com, example.com or ada."),
        max_length=SHOWN,
    )

    #: Days to which the last search was limited; 0 for all.
    days = 0

    class Meta:
        model = LogEntry
        fields = ()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not site_choices():
            del self.filters["site"]

    def search(self, text: str, limit: int, look: int = LOOK, before: int | None = None) -> Found:
        """Find up to ``limit`` entries that match the filters and ``text``, the newest first.

        An address or a domain is searched as a recipient. Anything else, and a domain to which
        no email went, is searched in subjects and as a part of recipients' addresses.

        Args:
            look: entries to read from an index, unless one index is enough.
            before: find older entries only.
        """
        text = text.strip()
        if len(text) > SHOWN or "\0" in text:
            return Found([])  # nothing in the log is as long; PostgreSQL refuses NUL
        self.errors  # noqa: B018 - validates the form; invalid filters are ignored
        chosen = self.form.cleaned_data
        search = _Search()
        for column in ("state", "category", "reported"):
            if chosen.get(column):
                search.indexes.append(_Column(column, chosen[column]))
        if carrier := chosen.get("via"):
            search.add_carrier(carrier)
        if site := chosen.get("site"):
            search.indexes.append(_Column("site_key", int(site)))
        if recipient := chosen.get("recipient"):
            search.add_recipient(recipient)
        if _has_recipient(text):
            search.add_recipient(text)
        elif text:
            search.words.append(_Words(text))
        is_in_log = self._limit_to_period(search, chosen.get("created_at"))
        return search.find(limit, look, before) if is_in_log else Found([])

    def search_all(self, text: str, limit: int) -> tuple[list[int], bool]:
        """Return the newest entries that match, up to ``limit``, and whether these are all.

        Searches in up to :data:`LOOK_MOST` entries.
        """
        numbers: set[int] = set()
        before = number(self.data.get("before", ""))
        for _step in range(LOOK_MOST // LOOK_FURTHER):
            found = self.search(text, limit - len(numbers), LOOK_FURTHER, before)
            numbers.update(found.numbers)
            before = found.rest
            if before is None or len(numbers) >= limit:
                break
        return sorted(numbers, reverse=True), before is None

    def _limit_to_period(self, search, period):
        """Limit a search to the dates, or that for a word to :data:`DAYS`; False: it has none."""
        start, stop = (period.start, period.stop) if period else (None, None)
        self.days = 0
        if search.words and not start:
            self.days = DAYS
            start = comparable(stop or timezone.now()) - timedelta(days=DAYS)
        if not (start or stop):
            return True
        times = [moment and comparable(moment) for moment in (start, stop)]
        numbers = _log().numbers_between(*times)
        if numbers is None:
            return False
        search.span = Span(numbers[0], numbers[1] + 1)
        for lookup, moment in zip(("gte", "lte"), times, strict=True):
            if moment:
                search.times[f"{_hidden('created_at')}__{lookup}"] = moment
        return True


class _Everything:
    """The index of all entries; the base of those of a filter."""

    def numbers(self, span: Span) -> "QuerySet[Any, int]":
        """Numbers from the index alone, the newest first."""
        return self.entries(span).order_by("-pk").values_list("pk", flat=True)

    def entries(self, span: Span) -> "QuerySet[LogEntry]":
        """The entries, found by the index."""
        return span.of(_log(), "pk")

    def check(self, entries: "QuerySet[LogEntry]") -> "QuerySet[LogEntry]":
        """Those of ``entries`` that the filter matches, without using its index."""
        return entries


class _Column(_Everything):
    def __init__(self, column: str, value: str | int | None) -> None:
        self._column, self._value = column, value

    def entries(self, span):
        return super().entries(span).filter(**{self._column: self._value})

    def check(self, entries):
        return entries.filter(**{_hidden(self._column): self._value})


class _Recipient(_Everything):
    def __init__(self, text: str) -> None:
        lookup = recipient_lookup(text)
        self._rows = _recipients().filter(*(same(name, value) for name, value in lookup.items()))

    def numbers(self, span):
        # Not by "entry", which would sort by the entry's own order, with a join.
        rows = span.of(self._rows, "entry_id").order_by("-entry_id")
        return rows.values_list("entry_id", flat=True)

    def entries(self, span):
        numbers = span.of(self._rows, "entry_id").order_by().values("entry_id")
        return super().entries(span).filter(pk__in=numbers)

    def check(self, entries):
        return entries.filter(_has(self._rows))


@dataclass
class _Search:
    """What to search, by :attr:`indexes` or not."""

    indexes: list[_Everything] = field(default_factory=list)
    conditions: list[Q | IsNull] = field(default_factory=list)
    words: "list[_Words]" = field(default_factory=list)
    span: Span = field(default_factory=Span)
    #: Exact limits of the time, which few entries at the ends of ``span`` don't meet.
    times: dict[str, datetime] = field(default_factory=dict)

    def add_carrier(self, carrier: str) -> None:
        """Only those sent through a set, given by its key, or standard delivery."""
        self.indexes.append(_Column("set_key", None if carrier == STANDARD else carrier))
        if carrier == STANDARD:
            self.conditions.append(~Q(via=""))  # empty: there was no attempt

    def add_recipient(self, text: str) -> None:
        """Only those to an address, to a domain, or to an address with a part."""
        if is_recipient(text):
            self.indexes.append(_Recipient(text))
        else:
            self.words.append(_Words(text, in_subject=False))

    def find(self, limit: int, look: int, before: int | None) -> Found:
        """See :meth:`LogFilterSet.search`."""
        if before is not None:
            known = self.span.before
            self.span = replace(self.span, before=before if known is None else min(known, before))
        index, first = self._furthest(look)
        span = self.span if first is None else replace(self.span, first=first)
        others = [each for each in self.indexes if each is not index]
        words = [each.condition(None if self.indexes else span) for each in self.words]
        entries = self._check(index.entries(span), others, words)
        found = set(self._newest(entries, limit + 1))
        if named := {number for each in self.words for number in each.named()}:
            entries = self.span.of(_log().filter(pk__in=named), "pk")
            words = [each.condition() for each in self.words]
            found.update(self._newest(self._check(entries, self.indexes, words), limit + 1))
        numbers = sorted(found, reverse=True)
        if len(numbers) > limit:
            return Found(numbers[:limit], numbers[limit - 1], is_cut=True)
        return Found(numbers, first)

    def _furthest(self, look: int) -> tuple[_Everything, int | None]:
        """The index to read, and the number at which to stop; None if it is read to its end."""
        if not self.indexes and not self.words:
            return _Everything(), None
        if self.words or self.conditions or len(self.indexes) > 1:
            look //= SCATTERED if self.indexes else 1
        elif isinstance(self.indexes[0], _Column):
            return self.indexes[0], None
        reached = []
        for index in self.indexes or [_Everything()]:
            last = list(index.numbers(self.span)[look - 1 : look + 1])
            if len(last) < 2:
                return index, None
            reached.append((last[0], index))
        first, index = min(reached, key=lambda each: each[0])
        return index, first

    def _check(self, entries, indexes, words):
        for index in indexes:
            entries = index.check(entries)
        return entries.filter(*self.conditions, *words, **self.times)

    @staticmethod
    def _newest(entries, limit):
        return entries.order_by("-pk").values_list("pk", flat=True)[:limit]


@dataclass(frozen=True)
class _Words:
    """A text to find in subjects and addresses, or only in addresses."""

    text: str
    in_subject: bool = True

    def condition(self, span: Span | None = None) -> Q:
        """The condition that an entry has the text.

        Args:
            span: read all addresses of these entries, rather than those of each entry checked.
        """
        rows = _recipients().filter(address__contains=self.text.strip().lower())
        if span is None:
            in_address = Q(_has(rows))
        else:
            in_address = Q(pk__in=span.of(rows, "entry_id").order_by().values("entry_id"))
        if not self.in_subject:
            return in_address
        if connections[write_alias()].vendor == "sqlite" and not self.text.isascii():
            # SQLite's LIKE is case-sensitive for ü and Ü; its REGEXP is Python's.
            in_subject = Q(subject__iregex=re.escape(self.text))
        else:
            in_subject = Q(subject__icontains=self.text)
        return in_subject if " " in self.text else in_subject | in_address

    def named(self) -> set[int]:
        """Numbers of the entries to addresses or domains that start with the text."""
        found: set[int] = set()
        start = self.text.strip().lower().removeprefix("@")
        if not start or " " in start:
            return found
        for column in ("address", "domain"):
            rows = _recipients().filter(starts_with(column, start)).order_by()
            numbers = rows.values_list("entry_id", flat=True)[: NAMED + 1]
            found.update(numbers if len(numbers) <= NAMED else ())
        return found


def _log():
    # Not from a replica, which may not have the newest entries yet. The columns that are hidden
    # from the indexes let a filter be checked without the database choosing its index after all.
    entries = LogEntry.objects.using(write_alias())
    columns = ("state", "category", "reported", "set_key", "site_key", "created_at")
    return entries.alias(**{_hidden(name): Coalesce(F(name), F(name)) for name in columns})


def _recipients():
    return LogRecipient.objects.using(write_alias())


def _hidden(column):
    return f"hidden_{column}"


def _has(rows):
    """The condition that an entry has one of the rows of recipients.

    Not ``Exists``, for which PostgreSQL may read all recipients first.
    """
    of_entry = rows.filter(entry=OuterRef("pk")).order_by().values("pk")
    return IsNull(Subquery(of_entry[:1]), False)


def comparable(moment):
    """Return the nearest time that every database can compare with."""
    return min(max(as_kept(_EARLIEST), moment), as_kept(_LATEST))


def _has_recipient(text):
    """Whether ``text`` is an address, or a domain in the log."""
    if not text or not is_recipient(text):
        return False
    return "@" in text or bool(_Recipient(text).numbers(Span())[:1])


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
