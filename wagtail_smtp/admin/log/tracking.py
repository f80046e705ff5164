"""Delivery tracking on the page of an entry and in the listing."""

from django.utils.html import format_html
from django.utils.translation import gettext_lazy
from wagtail.admin.ui.tables import Column, DateColumn, StatusTagColumn, Table

from wagtail_smtp.models.choices import RANKS, Reported
from wagtail_smtp.models.log import REPORTS

#: Successful events, and events that need attention.
WELL = frozenset({Reported.DELIVERED, Reported.OPENED, Reported.CLICKED})
BAD = frozenset({Reported.BOUNCED, Reported.COMPLAINED, Reported.REJECTED, Reported.FAILED})
CHOICES = [
    (state, label)
    for state, label in reversed(REPORTS)
    if RANKS.get(state, 0) >= RANKS[Reported.DEFERRED]
]
_LABELS = dict(REPORTS)

RECIPIENT_COLUMN = StatusTagColumn(
    "reported",
    accessor="get_reported_display",
    label=gettext_lazy("Tracking"),
    primary=lambda row: row.reported in WELL,
)
_COLUMNS = [
    DateColumn("happened_at", label=gettext_lazy("Time"), classname="w-whitespace-nowrap"),
    Column("address", label=gettext_lazy("Address"), accessor=lambda row: _foreign(row.address)),
    StatusTagColumn(
        "type",
        accessor="get_type_display",
        label=gettext_lazy("Tracking"),
        primary=lambda row: row.type in WELL,
    ),
    Column(
        "reason",
        label=gettext_lazy("Reason"),
        width="180",
        accessor=lambda row: _foreign(row.reason),
    ),
]



def of_entry(entry):
    """Return the context of an entry's page: its events by recipient and time."""
    rows = list(entry.events.order_by("address", "happened_at", "pk")[: LISTED + 1])
    return {
        "events": Table(_COLUMNS, rows[:LISTED]) if rows else None,
        "events_are_cut": len(rows) > LISTED,
        "bad_event": entry.get_reported_display() if entry.reported in BAD else "",
    }


def marked(shown, entry):
    """Return ``shown``, with a mark if tracking reported a failure."""
    if entry.reported not in BAD:
        return shown
    return format_html('{} <span class="w-status">{}</span>', shown, _LABELS[entry.reported])
