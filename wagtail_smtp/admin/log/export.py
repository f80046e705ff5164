"""Export the delivery log as a spreadsheet."""

import re
from typing import Any

from django.core.exceptions import BadRequest
from django.db.models import Prefetch
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin.views.mixins import SpreadsheetExportMixin
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import LOG, AdminPage
from wagtail_smtp.admin.labels import carrier_label, category_label
from wagtail_smtp.admin.log.filters import LOOK_MOST, LogFilterSet
from wagtail_smtp.admin.paging import number
from wagtail_smtp.models import LogEntry, LogRecipient

#: Rows of an export, and entries read at a time.
ROWS = 50_000
_CHUNK = 500
#: Entries that are counted before an export; counting more takes too long.
COUNTED = 1000
#: Maximum number of addresses in a cell, which is limited to 32,767 characters.
_ADDRESSES = 100
#: What a spreadsheet may treat as the start of a formula: also full-width characters, and
#: characters after spaces and quotes (OWASP, "CSV Injection").
_FORMULA = r"[\s\ufeff\u200b\u2060\"']*[=+\-@\uff1d\uff0b\uff0d\uff20]"
_STARTS = re.compile(rf"{_FORMULA}|[\t\r\n]")
#: The same after a cell separator, which isn't a comma in every language.
_AFTER_SEPARATOR = re.compile(rf"(?<=[;,\t|\r\n])(?={_FORMULA})")

_HEADINGS = {
    "time": gettext_lazy("Time"),
    "state": gettext_lazy("State"),
    "category": gettext_lazy("Category"),
    "subject": gettext_lazy("Subject"),
    "recipients": gettext_lazy("Recipients"),
    "via": gettext_lazy("Sent through"),
    "site": gettext_lazy("Site"),
    "message_id": gettext_lazy("Message-ID"),
    "reason": gettext_lazy("Reason"),
    "reported": gettext_lazy("Tracking"),
}


class ExportView(AdminPage, SpreadsheetExportMixin, TemplateView):
    """Shows what will be exported; POST returns the file."""

    permission_required = (permissions.VIEW_LOG, permissions.EXPORT_LOG)
    template_name = "wagtail_smtp/log/export.html"
    page_title = gettext_lazy("Export")
    header_icon = "list-ul"
    header_more_buttons: list[Any] = []  # the mixin's buttons would export by GET
    export_headings = _HEADINGS
    export_filename = "delivery-log"

    def get_parents(self):
        return [(_("Delivery log"), f"{reverse(LOG)}?{self.request.GET.urlencode()}")]

    @cached_property
    def list_export(self):
        has_sites = "site" in self.filters.filters
        return [name for name in _HEADINGS if name != "site" or has_sites]

    @cached_property
    def filters(self):
        return LogFilterSet(self.request.GET, request=self.request)

    @property
    def text(self):
        return self.request.GET.get("q", "")

    def get_context_data(self, **kwargs):
        found = self.filters.search(
            self.text, COUNTED, before=number(self.request.GET.get("before", ""))
        )
        return super().get_context_data(**kwargs) | {
            "count": len(found.numbers),
            "is_counted": found.rest is None,
            "rows": ROWS,
            "searched": LOOK_MOST,
        }

    def post(self, request, *args, **kwargs):
        wanted_format = request.POST.get("format")
        if wanted_format not in self.FORMATS:
            raise BadRequest
        numbers, _is_all = self.filters.search_all(self.text, ROWS)
        log(
            instance=request.user,
            action="wagtail_smtp.export",
            title=_("Delivery log"),
            data={"rows": len(numbers), "format": wanted_format},
        )
        return self.as_spreadsheet(_entries(numbers), wanted_format)

    def to_row_dict(self, item):
        row = {
            "time": item.created_at,
            "state": item.get_state_display(),
            "category": category_label(item.category),
            "subject": item.subject,
            "recipients": _joined([row.address for row in item.envelope]),
            "via": carrier_label(item),
            "site": item.site,
            "message_id": item.message_id,
            "reason": item.reason,
            "reported": item.get_reported_display(),
        }
        return {name: row[name] for name in self.list_export}

    def get_heading(self, queryset, field):
        heading = super().get_heading(queryset, field)
        # Times in a spreadsheet have no time zone.
        return f"{heading} ({timezone.get_current_timezone_name()})" if field == "time" else heading

    def preprocess_field_value(self, field, value, export_format):
        if field == "time":
            local = timezone.localtime(value) if timezone.is_aware(value) else value
            if export_format == self.FORMAT_CSV:
                return local.isoformat(" ", "seconds")
            return local.replace(tzinfo=None)
        value = super().preprocess_field_value(field, value, export_format)
        return neutral(value) if isinstance(value, str) else value


def neutral(value):
    """Escape ``value`` so that a spreadsheet reads no part of it as a formula."""
    value = _AFTER_SEPARATOR.sub("'", value)
    return f"'{value}" if _STARTS.match(value) else value


def _entries(numbers):
    """Yield the entries, each with its recipients as ``envelope``."""
    recipients = LogRecipient.objects.filter(role=LogRecipient.Role.ENVELOPE).order_by("pk")
    entries = LogEntry.objects.order_by("-pk").prefetch_related(
        Prefetch("recipients", recipients, to_attr="envelope")
    )
    for start in range(0, len(numbers), _CHUNK):
        yield from entries.filter(pk__in=numbers[start : start + _CHUNK])


def _joined(addresses):
    text = ", ".join(addresses[:_ADDRESSES])
    more = len(addresses) - _ADDRESSES
    return f"{text} +{more}" if more > 0 else text
