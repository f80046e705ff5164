"""The filters of the delivery log, and what they and the search box come to."""

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

#: Filters with one value.
_BY_VALUE = ("state", "category", "via", "reported", "recipient")
#: Days in which a subject is looked for, unless others are chosen.
DAYS = 30
#: A number that every database can compare with.
_LARGEST = 2**63 - 1


def _carriers():
    names = SettingsSet.objects.order_by("sort_order", "pk").values_list("name", flat=True)
    return [(name, via_label(name)) for name in dict.fromkeys([*names, standard.NAME])]


class LogFilterSet(WagtailFilterSet):
    """Fixed choices: none is read from the log."""

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
        label=_("Reported"), choices=CHOICES, empty_label=_("All"), widget=forms.RadioSelect
    )
    created_at = django_filters.DateFromToRangeFilter(label=_("Date"), widget=DateRangePickerWidget)
    recipient = django_filters.CharFilter(
        label=_("Recipient"), help_text=_("A whole address, or a domain.")
    )

    class Meta:
        model = LogEntry
        fields = ()

    @property
    def wanted(self):
        """What the filters ask for; one with a value that isn't offered asks for nothing."""
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
    """The number of an entry in a query string; None: it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    return min(int(text), _LARGEST)


def search(wanted, text):
    """What was found, and what was asked for, once the search box is understood.

    An address or a domain is a recipient; anything else, and a domain that nothing went to,
    is looked for in subjects and as a part of recipients' addresses.
    """
    if not text:
        return find(wanted), wanted
    if not wanted.recipient and is_recipient(text):
        asked = replace(wanted, recipient=text)
        if "@" in text or find(replace(asked, before=None), 1):
            return find(asked), asked
    since, until = wanted.times
    if since is None:
        since = (until or timezone.now()) - timedelta(days=DAYS)
    asked = replace(wanted, subject=text.strip(), since=since)
    return find(asked), asked
