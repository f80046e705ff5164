"""The listing of the delivery log."""

from django.db.models import Count, Min
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from wagtail.admin.ui.tables import BulkActionsCheckboxColumn, Column, DateColumn, TitleColumn
from wagtail.admin.widgets.button import HeaderButton

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import LOG, LOG_ENTRY, environment_problem
from wagtail_smtp.admin.labels import carrier_label, category_label, state_tag, with_tracking
from wagtail_smtp.admin.log.filters import LOOK, LOOK_FURTHER, LogFilterSet
from wagtail_smtp.admin.log.resends import best_resends, resend_label
from wagtail_smtp.admin.paging import FoundListView, FoundPaginator
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.models.choices import PENDING
from wagtail_smtp.outbox import held


class LogPaginator(FoundPaginator):
    """Pages of entries."""

    def rows(self):
        return LogEntry.objects.using(write_alias())

    @cached_property
    def items_count_label(self):
        if self.object_list.is_cut:
            return _("More than %d log entries") % self.count
        return ngettext("%d log entry", "%d log entries", self.count) % self.count


def add_recipients(entries):
    """Set on each of the entries ``recipient``, its first address, and ``recipient_count``.

    Two queries for a page: for subqueries, MariaDB may read the whole table once for each entry.
    """
    rows = LogRecipient.objects.using(write_alias())
    of_entries = rows.filter(
        entry__in=[entry.pk for entry in entries], role=LogRecipient.Role.ENVELOPE
    )
    counted = of_entries.order_by().values("entry").annotate(first=Min("pk"), number=Count("pk"))
    found = {row["entry"]: row for row in counted}
    addresses = dict(
        rows.filter(pk__in=[row["first"] for row in found.values()]).values_list("pk", "address")
    )
    for entry in entries:
        row = found.get(entry.pk)
        entry.recipient = addresses.get(row["first"], "") if row else ""
        entry.recipient_count = row["number"] if row else 0


class LogView(FoundListView):
    """The *Delivery log* page: the entries that match the filters and the search."""

    model = LogEntry
    permission_required = permissions.VIEW_LOG
    template_name = "wagtail_smtp/log/index.html"
    results_template_name = "wagtail_smtp/log/index_results.html"
    page_title = gettext_lazy("Delivery log")
    header_icon = "list-ul"
    index_url_name = LOG
    index_results_url_name = "wagtail_smtp_log:results"
    search_hint = gettext_lazy("Subject or address")
    filterset_class = LogFilterSet
    paginator_class = LogPaginator
    table_classname = "listing wsmtp-log"
    verbose_name_plural = LogEntry._meta.verbose_name_plural

    def find(self, limit, before):
        look = LOOK if before is None else LOOK_FURTHER
        return self.filters.search(self.search_query, limit, look, before)

    @cached_property
    def may_resend(self):
        return self.request.user.has_perm(permissions.RESEND)

    @cached_property
    def header_buttons(self):
        if not self.request.user.has_perm(permissions.EXPORT_LOG):
            return []
        url = reverse("wagtail_smtp_log:export") + self.query_string()
        return [HeaderButton(_("Export"), url=url, icon_name="download")]

    @cached_property
    def columns(self):
        columns = [
            TitleColumn("subject", accessor=subject, label=_("Subject"), url_name=LOG_ENTRY,
                        get_title_id=lambda entry: f"logentry_{entry.pk}_title", width="30%"),
            Column("state", accessor=_state, label=_("State")),
            DateColumn("created_at", label=_("Time"), classname="w-whitespace-nowrap"),
            Column("recipients", accessor=recipients, label=_("Recipients"),
                   classname="wsmtp-log-recipients"),
            Column("category", accessor=lambda entry: category_label(entry.category),
                   label=_("Category"), classname="wsmtp-log-minor"),
            Column("via", accessor=carrier_label, label=_("Sent through"),
                   classname="wsmtp-log-minor"),
        ]  # fmt: skip
        if "site" in self.filters.filters:
            columns.append(
                Column(
                    "site",
                    accessor=site,
                    label=_("Site"),
                    classname="wsmtp-log-minor wsmtp-log-site",
                    width="12%",
                )
            )
        if self.may_resend:
            columns.insert(0, BulkActionsCheckboxColumn("bulk_actions", obj_type="logentry"))
        return columns

    @cached_property
    def no_results_message(self):
        if self.is_searching or self.is_filtering:
            return _(
                "No email matches. Search for a word in the subject, part of a recipient's "
                "address, a whole address, or a domain such as example.com."
            )
        return _("No email has been sent yet.")

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        add_recipients(context["object_list"])
        resent = best_resends(context["object_list"])
        are_held = _held(context["object_list"])
        for entry in context["object_list"]:
            entry.resent = resent.get(entry.pk)
            entry.is_held = entry.pk in are_held
        found = self.object_list
        is_searched_in_part = context["older"] and not found.is_cut
        return context | {
            "may_resend": self.may_resend,
            "days": self.filters.days,
            "searched_to": _time_of(found.rest) if is_searched_in_part else None,
        }


def _held(entries):
    """Return the keys of the entries whose messages came with a copied database and are held."""
    waiting = [entry.pk for entry in entries if entry.state in PENDING]
    if not waiting or environment_problem():
        return set()
    return set(held.rows().filter(entry__in=waiting).values_list("entry", flat=True))


def _time_of(number):
    entries = LogEntry.objects.using(write_alias()).filter(pk=number)
    return entries.values_list("created_at", flat=True).first()


def subject(entry):
    """Return an entry's subject as HTML."""
    return format_html("<bdi>{}</bdi>", entry)


def site(entry):
    """Return the address of an entry's site as HTML."""
    return format_html("<bdi>{}</bdi>", entry.site) if entry.site else ""


def recipients(entry):
    """Return the recipients of an entry from :func:`add_recipients` as HTML."""
    shown = format_html("<bdi>{}</bdi>", entry.recipient) if entry.recipient else ""
    if entry.recipient_count > 1:
        shown = format_html("{} <bdi>+{}</bdi>", shown, entry.recipient_count - 1)
    if entry.redirected_by:
        shown = format_html("{} ({})", shown, _("redirected"))
    return with_tracking(shown, entry)


def _state(entry):
    shown = state_tag(entry.state)
    if getattr(entry, "is_held", False):
        shown = format_html("{}<br><span data-held>{}</span>", shown, _("Held"))
    resent = getattr(entry, "resent", None)
    if resent is None:
        return shown
    key, state = resent
    return format_html(
        '{}<br><a class="wsmtp-log-resent" href="{}">{}</a>',
        shown,
        reverse(LOG_ENTRY, args=[key]),
        resend_label(state),
    )
