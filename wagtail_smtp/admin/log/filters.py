"""The filters and the search of the delivery log."""

from dataclasses import replace
from datetime import timedelta

import django_filters
from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from wagtail.admin.filters import DateRangePickerWidget, WagtailFilterSet

from wagtail_smtp.admin.labels import category_choices, via_label
from wagtail_smtp.admin.log.query import Criteria, find, is_recipient
from wagtail_smtp.admin.log.tracking import CHOICES
from wagtail_smtp.models import LogEntry, SettingsSet
from wagtail_smtp.models.log import STATES
from wagtail_smtp.transports import standard

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
        label=_("Tracking"), choices=CHOICES, empty_label=_("All"), widget=forms.RadioSelect
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
