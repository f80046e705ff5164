"""What a provider reported, on the page of an entry and in the listing."""

from django.utils.html import format_html
from django.utils.translation import gettext_lazy
from wagtail.admin.ui.tables import Column, DateColumn, StatusTagColumn, Table

from wagtail_smtp.models.choices import RANKS, Reported
from wagtail_smtp.models.log import REPORTS

#: Reports that a page lists.
LISTED = 200
#: What went as it should, and what somebody should look at.
WELL = frozenset({Reported.DELIVERED, Reported.OPENED, Reported.CLICKED})
BAD = frozenset({Reported.BOUNCED, Reported.COMPLAINED, Reported.REJECTED, Reported.FAILED})
#: What the listing can be filtered by: the highest that was reported of a message.
CHOICES = [
    (state, label)
    for state, label in reversed(REPORTS)
    if RANKS.get(state, 0) >= RANKS[Reported.DEFERRED]
]
_LABELS = dict(REPORTS)

RECIPIENT_COLUMN = StatusTagColumn(
    "reported",
    accessor="get_reported_display",
    label=gettext_lazy("Reported"),
    primary=lambda row: row.reported in WELL,
)
_COLUMNS = [
    DateColumn("happened_at", label=gettext_lazy("Time"), classname="w-whitespace-nowrap"),
    Column("address", label=gettext_lazy("Address"), accessor=lambda row: _foreign(row.address)),
    StatusTagColumn(
        "type",
        accessor="get_type_display",
        label=gettext_lazy("Reported"),
        primary=lambda row: row.type in WELL,
    ),
    Column(
        "reason",
        label=gettext_lazy("Words"),
        width="180",
        accessor=lambda row: _foreign(row.reason),
    ),
]


def _foreign(value):
    return format_html("<bdi>{}</bdi>", value) if value else ""


def of_entry(entry):
    """The context of an entry's page: its reports, each recipient's in order of time."""
    rows = list(entry.events.order_by("address", "happened_at", "pk")[: LISTED + 1])
    return {
        "reports": Table(_COLUMNS, rows[:LISTED]) if rows else None,
        "reports_are_cut": len(rows) > LISTED,
        "bad_report": entry.get_reported_display() if entry.reported in BAD else "",
    }


def marked(shown, entry):
    """``shown``, with a mark if something of it went wrong afterwards."""
    if entry.reported not in BAD:
        return shown
    return format_html('{} <span class="w-status">{}</span>', shown, _LABELS[entry.reported])
