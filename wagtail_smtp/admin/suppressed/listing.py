"""The listing of suppressed addresses, with filters and search; fast with a million of them."""

import django_filters
from django import forms
from django.db import models
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from wagtail.admin.filters import DateRangePickerWidget, WagtailFilterSet
from wagtail.admin.ui.tables import (
    BulkActionsCheckboxColumn,
    ButtonsColumnMixin,
    Column,
    DateColumn,
    TitleColumn,
)
from wagtail.admin.utils import get_user_display_name
from wagtail.admin.widgets.button import Button, HeaderButton, ListingButton

from wagtail_smtp import suppression
from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import SUPPRESSED, SUPPRESSED_ADDRESS
from wagtail_smtp.admin.log.filters import comparable
from wagtail_smtp.admin.paging import Found, FoundListView, FoundPaginator, Span
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.live.db.expressions import starts_with
from wagtail_smtp.models import SuppressedAddress, SuppressionReason
from wagtail_smtp.models.log import SHOWN, numbers_between


class SuppressedFilterSet(WagtailFilterSet):
    """Filters by reason and date. Use :meth:`search`, not ``qs``."""

    reason = django_filters.ChoiceFilter(
        label=gettext_lazy("Reason"),
        choices=SuppressionReason.choices,
        empty_label=gettext_lazy("All"),
        widget=forms.RadioSelect,
    )
    created_at = django_filters.DateFromToRangeFilter(
        label=gettext_lazy("Date"), widget=DateRangePickerWidget
    )

    class Meta:
        model = SuppressedAddress
        fields = ()

    def search(self, text: str, limit: int, before: int | None = None) -> Found:
        """Find up to ``limit`` addresses that match the filters and start with ``text``.

        Args:
            text: a whole address, or the start of an address or of its domain.
            before: find older ones only.
        """
        rows = self._filtered()
        text = text.strip()
        if rows is None or len(text) > SHOWN or "\0" in text:
            return Found([])  # PostgreSQL refuses NUL
        if before is not None:
            rows = Span(before=before).of(rows, "pk")
        if is_email_address(text):
            digest = suppression.digest(suppression.normalize(text))
            return Found(list(rows.filter(digest=digest).values_list("pk", flat=True)))
        if text:
            return _starting(rows, text.lower().removeprefix("@"), limit)
        numbers = list(rows.order_by("-pk").values_list("pk", flat=True)[: limit + 1])
        if len(numbers) > limit:
            return Found(numbers[:limit], numbers[limit - 1], is_cut=True)
        return Found(numbers)

    def _filtered(self) -> "models.QuerySet[SuppressedAddress] | None":
        """The addresses that match the filters; None: none can match the dates."""
        self.errors  # noqa: B018 - validates the form; invalid filters are ignored
        chosen = self.form.cleaned_data
        rows: models.QuerySet[SuppressedAddress] = SuppressedAddress.objects.all()
        if period := chosen.get("created_at"):
            start, stop = (moment and comparable(moment) for moment in (period.start, period.stop))
            numbers = numbers_between(rows, start, stop)
            if numbers is None:
                return None
            # An index that is ordered by number then needs no sorting.
            rows = Span(numbers[0], numbers[1] + 1).of(rows, "pk")
            rows = rows.filter(created_at__gte=start) if start else rows
            rows = rows.filter(created_at__lte=stop) if stop else rows
        if reason := chosen.get("reason"):
            rows = rows.filter(reason=reason)
        return rows


def _starting(rows, text, limit):
    found = set()
    for column in ("address", "domain"):
        starting = rows.filter(starts_with(column, text)).order_by(column)
        found.update(starting.values_list("pk", flat=True)[: limit + 1])
    return Found(sorted(found, reverse=True)[:limit], is_cut=len(found) > limit)


class SuppressedPaginator(FoundPaginator):
    """Pages of addresses."""

    def rows(self):
        return SuppressedAddress.objects.select_related("created_by")

    @cached_property
    def items_count_label(self):
        if self.object_list.is_cut:
            return _("More than %d suppressed addresses") % self.count
        text = ngettext("%d suppressed address", "%d suppressed addresses", self.count)
        return text % self.count


class AddressColumn(ButtonsColumnMixin, TitleColumn):
    """The address, which links to its page, with a button to remove it.

    Args:
        back: the URL to return to after the removal; empty: the user may not remove it.
    """

    def __init__(self, name, back, **options):
        super().__init__(name, **options)
        self._back = back

    def get_buttons(self, instance, parent_context):
        if not self._back:
            return []
        url = reverse("wagtail_smtp_suppressed:remove", args=[instance.pk])
        query = urlencode({"next": self._back})
        # Screen readers list buttons without their rows.
        label = _("%(action)s: %(name)s") % {"action": _("Remove"), "name": instance}
        return [ListingButton(_("Remove"), url=f"{url}?{query}", attrs={"aria-label": label})]


class ListView(FoundListView):
    """The *Suppressed addresses* page: the addresses that match the filters and the search."""

    model = SuppressedAddress
    permission_required = permissions.VIEW_SUPPRESSED
    template_name = "wagtail_smtp/suppressed/index.html"
    results_template_name = "wagtail_smtp/suppressed/index_results.html"
    page_title = gettext_lazy("Suppressed addresses")
    header_icon = "no-view"
    index_url_name = SUPPRESSED
    index_results_url_name = "wagtail_smtp_suppressed:results"
    search_hint = gettext_lazy("Address or domain")
    filterset_class = SuppressedFilterSet
    paginator_class = SuppressedPaginator
    table_classname = "listing wsmtp-cards"
    verbose_name_plural = SuppressedAddress._meta.verbose_name_plural

    def find(self, limit, before):
        return self.filters.search(self.search_query, limit, before)

    @cached_property
    def may_remove(self):
        return self.request.user.has_perm(permissions.DELETE_SUPPRESSED)

    @cached_property
    def may_add(self):
        return self.request.user.has_perm(permissions.ADD_SUPPRESSED)

    @cached_property
    def header_buttons(self):
        if not self.may_add:
            return []
        url = reverse("wagtail_smtp_suppressed:add")
        button = HeaderButton(_("Add addresses"), url=url, icon_name="plus")
        button.classname += " wsmtp-short"
        return [button]

    @cached_property
    def header_more_buttons(self):
        url = reverse("wagtail_smtp_suppressed:export") + self.query_string()
        buttons = [Button(_("Export"), url=url, icon_name="download", priority=20)]
        if self.may_add:
            url = reverse("wagtail_smtp_suppressed:import")
            buttons.insert(0, Button(_("Import"), url=url, icon_name="upload", priority=10))
        return buttons

    @cached_property
    def columns(self):
        back = reverse(SUPPRESSED) + self.query_string(p=self.request.GET.get("p"))
        columns = [
            AddressColumn("address", back if self.may_remove else "", label=_("Address"),
                          accessor=lambda row: isolated(str(row)),
                          url_name=SUPPRESSED_ADDRESS, width="30%",
                          get_title_id=lambda row: f"suppressedaddress_{row.pk}_title"),
            Column("reason", accessor="get_reason_display", label=_("Reason")),
            Column("detail", accessor=lambda row: isolated(shortened(row.detail)),
                   label=_("Details")),
            DateColumn("created_at", label=_("Suppressed since"),
                       classname="w-whitespace-nowrap"),
            Column("created_by", accessor=added_by, label=_("Added by")),
        ]  # fmt: skip
        if self.may_remove:
            columns.insert(
                0, BulkActionsCheckboxColumn("bulk_actions", obj_type="suppressedaddress")
            )
        return columns

    @cached_property
    def no_results_message(self):
        if self.is_searching or self.is_filtering:
            return _(
                "No suppressed address matches. Search for a whole address, or for the start of an "
                "address or of its domain."
            )
        return _("No address is suppressed, so every recipient is emailed.")

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {"may_remove": self.may_remove}


def isolated(text):
    """Return text from outside, which may run in another direction than the page, as HTML."""
    return format_html("<bdi>{}</bdi>", text) if text else ""


def shortened(text):
    """Return the start of a long text."""
    return text if len(text) <= 100 else text[:99] + "…"


def added_by(row):
    """Return the name of the user who added an address."""
    return get_user_display_name(row.created_by) if row.created_by else ""
