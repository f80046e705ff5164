"""The filters and the search of the delivery log."""

import re
from datetime import UTC, datetime, timedelta

import django_filters
from django import forms
from django.db import connections
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from wagtail.admin.filters import DateRangePickerWidget, WagtailFilterSet

from wagtail_smtp.admin.labels import STANDARD_DELIVERY, TRACKING_CHOICES, category_choices
from wagtail_smtp.config.validation import ascii_address, ascii_host, is_email_address, is_host
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.db.expressions import same
from wagtail_smtp.models import LogEntry, LogRecipient, SettingsSet
from wagtail_smtp.models.choices import State
from wagtail_smtp.models.log import SHOWN, STANDARD
from wagtail_smtp.runtime.project import as_kept

#: Days that a search for a word covers if no dates are chosen.
DAYS = 30
#: Limits of times that work with every database and time zone.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
#: The largest number that every database can compare with.
_LARGEST = 2**63 - 1


def _carrier_choices():
    sets = SettingsSet.objects.order_by("sort_order", "pk").values_list("key", "name")
    return [*((str(key), name) for key, name in sets), (STANDARD, STANDARD_DELIVERY)]


def _choice(label, choices, **options):
    return django_filters.ChoiceFilter(
        label=label, choices=choices, empty_label=_("All"), widget=forms.RadioSelect, **options
    )


class LogFilterSet(WagtailFilterSet):
    """Filters with fixed choices; none are read from the log."""

    state = _choice(_("State"), State.choices)
    category = _choice(_("Category"), category_choices)
    via = _choice(_("Sent through"), _carrier_choices, method="sent_through")
    reported = _choice(_("Tracking"), TRACKING_CHOICES)
    created_at = django_filters.DateFromToRangeFilter(
        label=_("Date"), widget=DateRangePickerWidget, method="in_period"
    )
    recipient = django_filters.CharFilter(
        label=_("Recipient"),
        help_text=_("An address or a part of it, such as ada@example.com, example.com or ada."),
        max_length=SHOWN,
        method="to_recipient",
    )

    #: Days to which the search was limited; 0 for all.
    days = 0

    class Meta:
        model = LogEntry
        fields = ()

    def sent_through(self, entries, _name, carrier):
        """Filter by a set's key, or standard delivery."""
        return entries.through(carrier)

    def in_period(self, entries, _name, period):
        """Filter by the time; ``period`` is a slice with one or two ends."""
        if period.start:
            entries = entries.since(_comparable(period.start))
        return entries.filter(created_at__lte=_comparable(period.stop)) if period.stop else entries

    def to_recipient(self, entries, _name, text):
        """Filter by an address, a domain, or a part of an address."""
        if is_recipient(text):
            return entries.filter(_to_recipient(text))
        return self._recent(entries).filter(_to_address_with(text))

    def search(self, text):
        """Return the entries that match the filters and ``text``, newest first.

        An address or a domain is searched as a recipient. Anything else, and a domain without
        matches, is searched in subjects and as a part of recipients' addresses. The parameter
        ``before`` of the URL is the number of an entry: only older ones are returned.
        """
        # Not from a replica, which may not have the newest entries yet.
        self.queryset = LogEntry.objects.using(write_alias()).order_by("-pk")
        before = number(self.data.get("before", ""))
        found = self._search(text.strip())
        return found if before is None else found.filter(pk__lt=before)

    def _search(self, text):
        if not text:
            return self.qs
        if len(text) > SHOWN or "\0" in text:
            return self.qs.none()  # nothing in the log is as long; PostgreSQL refuses NUL
        if is_recipient(text):
            found = self.qs.filter(_to_recipient(text))
            if "@" in text or found.exists():
                return found
        return self._recent(self.qs).filter(_contains(text))

    def _recent(self, entries):
        """Limit a search for a word, which has no index, unless a first day is chosen."""
        period = self.form.cleaned_data.get("created_at")
        if period and period.start:
            return entries
        self.days = DAYS
        end = period.stop if period else timezone.now()
        return entries.since(_comparable(end) - timedelta(days=DAYS))


def _comparable(moment):
    return min(max(as_kept(_EARLIEST), moment), as_kept(_LATEST))


def _contains(text):
    """The condition that the subject or a recipient's address contains ``text``."""
    if connections[write_alias()].vendor == "sqlite" and not text.isascii():
        # SQLite's LIKE is case-sensitive for ü and Ü; its REGEXP is Python's.
        in_subject = Q(subject__iregex=re.escape(text))
    else:
        in_subject = Q(subject__icontains=text)
    return in_subject if " " in text else in_subject | _to_address_with(text)


def _to_address_with(text):
    # Checked for each entry, the newest first: with a common text, a list of all matching
    # recipients takes ten times as long.
    rows = LogRecipient.objects.using(write_alias()).filter(
        entry=OuterRef("pk"), address__contains=text.strip().lower()
    )
    return Exists(rows.order_by())


def _to_recipient(text):
    lookup = recipient_lookup(text)
    rows = LogRecipient.objects.using(write_alias()).filter(
        *(same(field, value) for field, value in lookup.items())
    )
    return Q(pk__in=rows.order_by().values("entry"))


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


def number(text):
    """Parse an entry's number from a query string; None if it isn't a number."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return min(int(text), _LARGEST)
