"""The listing of the delivery log."""

from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from wagtail.admin.paginator import WagtailPaginator
from wagtail.admin.ui.tables import Table
from wagtail.admin.views import generic
from wagtail.admin.widgets.button import HeaderButton

from wagtail_smtp.admin import log_reports, permissions
from wagtail_smtp.admin.labels import category_label, via_label
from wagtail_smtp.admin.log_columns import Checkbox, Status, Text, Time, Title
from wagtail_smtp.admin.log_filters import DAYS, LogFilterSet, search
from wagtail_smtp.admin.log_query import CAP, SPAN
from wagtail_smtp.admin.static_files import static_file
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.log import STATES
from wagtail_smtp.states import State

INDEX = "wagtail_smtp_log:index"
RESULTS = "wagtail_smtp_log:results"
ENTRY = "wagtail_smtp_log:entry"
EXPORT = "wagtail_smtp_log:export"

PER_PAGE = 25
_STATES = dict(STATES)

#: States in which everything went as it should, so far.
WELL = frozenset({State.SENT, State.QUEUED, State.SENDING})


class CappedPaginator(WagtailPaginator):
    """Counts no further than was looked."""

    @cached_property
    def items_count_label(self):
        if self.object_list.is_capped:
            return _("More than %d log entries") % CAP
        return ngettext("%d log entry", "%d log entries", self.count) % self.count


class LogTable(Table):
    """Laid out anew on a narrow screen, and rendered ahead of the page around it.

    Python gives memory for frames out in pieces. Where a loop happens to call across the end of
    one, each call maps a new piece and gives it back: a table so deep down in the page's templates
    took four times as long. Rendered by the view it stays within the first piece.
    """

    classname = "listing smtp-log"

    class Media:
        css = {"all": [static_file("wagtail_smtp/log.css")]}

    rendered = ""

    def render_ahead(self, request):
        self.rendered = self.render_html({"request": request})

    def render_html(self, parent_context=None):
        return self.rendered or super().render_html(parent_context)


class SearchedLog(permissions.RequireLog, generic.BaseListingView):
    """The entries that filters and search box ask for, newest first."""

    model = LogEntry
    is_searchable = True
    filterset_class = LogFilterSet
    index_url_name = INDEX
    index_results_url_name = RESULTS
    header_icon = "list-ul"

    @cached_property
    def searched(self):
        return search(self.filters.wanted, self.search_query)

    def get_queryset(self):
        return self.searched[0]

    def query_string(self, **changes):
        """What is asked for, as a query string; ``before=None`` takes it out."""
        query = self.request.GET.copy()
        for name in (self.page_kwarg, "_w_filter_fragment"):
            query.pop(name, None)
        for name, value in changes.items():
            query.pop(name, None)
            if value is not None:
                query[name] = value
        return "?" + query.urlencode()


class LogView(SearchedLog):
    """The page."""

    template_name = "wagtail_smtp/log/index.html"
    results_template_name = "wagtail_smtp/log/index_results.html"
    page_title = gettext_lazy("Delivery log")
    paginator_class = CappedPaginator
    paginate_by = PER_PAGE
    table_class = LogTable
    verbose_name_plural = LogEntry._meta.verbose_name_plural

    def get_breadcrumbs_items(self):
        return [*self.breadcrumbs_items, {"url": "", "label": self.get_page_title()}]

    @cached_property
    def may_resend(self):
        return self.request.user.has_perm(permissions.RESEND)

    @cached_property
    def header_buttons(self):
        if not self.request.user.has_perm(permissions.EXPORT_LOG):
            return []
        url = reverse(EXPORT) + self.query_string()
        return [HeaderButton(_("Export"), url=url, icon_name="download")]

    @cached_property
    def columns(self):
        columns = [
            Title("subject", accessor=str, label=_("Subject"), url_name=ENTRY,
                  get_title_id=lambda entry: f"logentry_{entry.pk}_title", width="30%"),
            Status("state", accessor=_state, label=_("State"),
                   primary=lambda entry: entry.state in WELL),
            Time("created_at", label=_("Time"), classname="w-whitespace-nowrap"),
            Text("recipients", accessor=_recipients, label=_("Recipients"),
                 classname="smtp-log-recipients"),
            Text("category", accessor=_category, label=_("Category"), classname="smtp-log-minor"),
            Text("via", accessor=lambda entry: via_label(entry.via), label=_("Sent through"),
                 classname="smtp-log-minor"),
        ]  # fmt: skip
        if self.may_resend:
            columns.insert(0, Checkbox("bulk_actions", obj_type="logentry"))
        return columns

    @cached_property
    def no_results_message(self):
        if self.is_searching or self.is_filtering:
            return _("No email matches.")
        return _("No email was sent yet.")

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        found, asked = self.searched
        going_on = found.older is not None and not context["page_obj"].has_next()
        if context["object_list"]:
            context["table"].render_ahead(self.request)
        return context | {
            "may_resend": self.may_resend,
            # Offered even if there is one page now: filters may find more without a new page.
            "select_all": {"has_other_pages": True},
            "select_all_obj_text": _("Select all that match"),
            "model_opts": LogEntry._meta,
            "days": DAYS if asked.subject and not self.filters.wanted.since else 0,
            "subject": asked.subject,
            "span": SPAN if found.older is not None and not found.is_capped else 0,
            "older": self.query_string(before=found.older) if going_on else "",
            "newest": self.query_string(before=None) if asked.before else "",
        }


def _recipients(entry):
    shown = f"{entry.recipient} +{entry.more}" if entry.more else entry.recipient
    if entry.redirected_by:
        shown = format_html("{} ({})", shown, _("redirected"))
    return log_reports.marked(shown, entry)


def _state(entry):
    # Not get_state_display(), which reads through all choices anew for each row.
    return str(_STATES.get(entry.state, entry.state))


def _category(entry):
    return category_label(entry.category)
