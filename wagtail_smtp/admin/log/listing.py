"""The listing of the delivery log."""

from django.urls import reverse
from django.utils.formats import date_format, get_format
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timezone import template_localtime
from django.utils.translation import gettext, gettext_lazy, ngettext
from django.utils.translation import gettext as _
from wagtail.admin.forms.search import SearchForm
from wagtail.admin.paginator import WagtailPaginator
from wagtail.admin.templatetags.wagtailadmin_tags import timesince_simple
from wagtail.admin.ui import tables
from wagtail.admin.ui.tables import Table
from wagtail.admin.views import generic
from wagtail.admin.widgets.button import HeaderButton

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import LOG, LOG_ENTRY, AdminPage, static_file
from wagtail_smtp.admin.labels import category_label, via_label
from wagtail_smtp.admin.log import actions, states
from wagtail_smtp.admin.log.filters import CAP, DAYS, SPAN, LogFilterSet, search
from wagtail_smtp.models import LogEntry


class Text(tables.Column):
    """Plain text from the accessor."""

    def render_cell_html(self, instance, parent_context):
        return format_html("<td{}>{}</td>", _class(self.classname), self.get_value(instance))


class Title(tables.TitleColumn):
    """A link with an id that labels the row's checkbox."""

    def render_cell_html(self, instance, parent_context):
        return format_html(
            '<td class="title"><div class="title-wrapper">'
            '<a href="{}"><span id="{}">{}</span></a></div></td>',
            self.get_link_url(instance, parent_context),
            self.get_title_id(instance, parent_context),
            self.get_value(instance),
        )


class Time(tables.DateColumn):
    """The time since then; the exact time is in a tooltip."""

    def render_cell_html(self, instance, parent_context):
        at = template_localtime(self.get_value(instance))
        return format_html(
            '<td{}><button type="button" class="w-human-readable-date"'
            ' data-controller="w-tooltip" data-w-tooltip-content-value="{}"'
            ' data-w-tooltip-placement-value="top">'
            '<time class="w-human-readable-date__date" datetime="{}">{}</time></button></td>',
            _class(self.classname),
            date_format(at, get_format("DATETIME_FORMAT") or "N j, Y, P"),
            at.isoformat(),
            capfirst(timesince_simple(at)),
        )


class Checkbox(tables.BulkActionsCheckboxColumn):
    """The checkbox that selects the row."""

    def render_cell_html(self, instance, parent_context):
        return format_html(
            '<td class="bulk-action-checkbox-cell"><input type="checkbox" data-object-id="{}"'
            ' data-bulk-action-checkbox class="bulk-action-checkbox" aria-label="{}"'
            ' aria-describedby="{}"></td>',
            str(instance.pk),
            gettext("Select"),
            self.get_aria_describedby(instance),
        )


def _class(name):
    return format_html(' class="{}"', name) if name else SafeString("")


PER_PAGE = 25


class CappedPaginator(WagtailPaginator):
    """Counts only up to the limit of the search."""

    @cached_property
    def items_count_label(self):
        if self.object_list.is_capped:
            return _("More than %d log entries") % CAP
        return ngettext("%d log entry", "%d log entries", self.count) % self.count


class LogTable(Table):
    """A responsive table, rendered by the view before the page around it.

    Python allocates memory for frames in chunks. Deep inside the page's templates, each call in the
    table's loops can cross the end of a chunk, which then is mapped and freed every time: the table
    took four times as long. Rendered by the view, it stays within the first chunk.
    """

    classname = "listing smtp-log"

    class Media:
        css = {"all": [static_file("wagtail_smtp/log.css")]}

    rendered = ""

    def render_ahead(self, request):
        self.rendered = self.render_html({"request": request})

    def render_html(self, parent_context=None):
        return self.rendered or super().render_html(parent_context)


class SearchedLog(AdminPage, generic.BaseListingView):
    """Base view: the entries that match the filters and the search, newest first."""

    model = LogEntry
    is_searchable = True
    filterset_class = LogFilterSet
    index_url_name = LOG
    index_results_url_name = "wagtail_smtp_log:results"
    header_icon = "list-ul"
    permission_required: str | tuple[str, ...] = permissions.VIEW_LOG

    @cached_property
    def searched(self):
        return search(self.filters.criteria, self.search_query)

    def get_queryset(self):
        return self.searched[0]

    def query_string(self, **changes):
        """Return the filters and search as a query string; ``changes`` of None are removed."""
        query = self.request.GET.copy()
        for name in (self.page_kwarg, "_w_filter_fragment"):
            query.pop(name, None)
        for name, value in changes.items():
            query.pop(name, None)
            if value is not None:
                query[name] = value
        return "?" + query.urlencode()


class LogView(SearchedLog):
    """The *Delivery log* page."""

    template_name = "wagtail_smtp/log/index.html"
    results_template_name = "wagtail_smtp/log/index_results.html"
    page_title = gettext_lazy("Delivery log")
    paginator_class = CappedPaginator
    paginate_by = PER_PAGE
    table_class = LogTable
    verbose_name_plural = LogEntry._meta.verbose_name_plural

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
            Title("subject", accessor=_subject, label=_("Subject"), url_name=LOG_ENTRY,
                  get_title_id=lambda entry: f"logentry_{entry.pk}_title", width="30%"),
            Text("state", accessor=_state, label=_("State")),
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

    def get_search_form(self):
        placeholder = _("Subject or address")
        data = self.request.GET if self.search_kwarg in self.request.GET else None
        return SearchForm(data, placeholder=placeholder)

    @cached_property
    def no_results_message(self):
        if self.is_searching or self.is_filtering:
            return _(
                "No email matches. Search for a word in the subject, part of a recipient’s "
                "address, a whole address, or a domain such as example.com."
            )
        return _("No email has been sent yet.")

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        found, criteria = self.searched
        has_older = found.older is not None and not context["page_obj"].has_next()
        if context["object_list"]:
            resent = actions.outcomes(context["object_list"])
            for entry in context["object_list"]:
                entry.resent = resent.get(entry.pk)
            context["table"].render_ahead(self.request)
        return context | {
            "may_resend": self.may_resend,
            # Also offered for a single page: filters may find more without reloading the page.
            "select_all": {"has_other_pages": True},
            "select_all_obj_text": _("Select all that match"),
            "model_opts": LogEntry._meta,
            "days": DAYS if criteria.subject and not self.filters.criteria.since else 0,
            "subject": criteria.subject,
            "span": SPAN if found.older is not None and not found.is_capped else 0,
            "older": self.query_string(before=found.older) if has_older else "",
            "newest": self.query_string(before=None) if criteria.before else "",
        }


def _subject(entry):
    return format_html("<bdi>{}</bdi>", entry)


def _recipients(entry):
    shown = format_html("<bdi>{}</bdi>", entry.recipient) if entry.recipient else ""
    if entry.more:
        shown = format_html("{} +{}", shown, entry.more)
    if entry.redirected_by:
        shown = format_html("{} ({})", shown, _("redirected"))
    return states.marked(shown, entry)


def _state(entry):
    shown = states.tag(entry.state)
    resent = getattr(entry, "resent", None)
    if resent is None:
        return shown
    key, state = resent
    label = actions.label(state)
    return format_html(
        '{}<br><a class="smtp-log-resent" href="{}">{}</a>',
        shown,
        reverse(LOG_ENTRY, args=[key]),
        label,
    )


def _category(entry):
    return category_label(entry.category)
