"""Pages about suppressed addresses: one address, add some, and remove one or several."""

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.generic import FormView, TemplateView
from wagtail.admin import messages
from wagtail.admin.utils import get_valid_next_url_from_request
from wagtail.admin.views.bulk_action import BulkAction
from wagtail.admin.widgets.button import HeaderButton
from wagtail.log_actions import log

from wagtail_smtp import suppression
from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import LOG, LOG_ENTRY, SUPPRESSED, SUPPRESSED_ADDRESS, AdminPage
from wagtail_smtp.admin.paging import number
from wagtail_smtp.admin.suppressed import reading
from wagtail_smtp.admin.suppressed.listing import SuppressedFilterSet, added_by
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, SuppressedAddress, SuppressionReason
from wagtail_smtp.models.log import SHOWN

#: Addresses that a person may add at once; for more there is the import.
MAX_ADDED = 1000
#: The most that *Select all* covers, and that one statement removes.
MAX_SELECTED, _TOGETHER = 10_000, 500
#: Addresses that a page lists.
LISTED = 25


def masked(address):
    """Return an address for the audit log, which no one erases: ``a…@example.com``."""
    local, _at, domain = address.partition("@")
    return f"{local[:1]}…@{domain}"


def log_action(row, action):
    """Record an action on an address in the audit log, without the whole address."""
    title = masked(row.address) if row.address else str(row)
    log(instance=row, action=f"wagtail_smtp.{action}", title=title)


def log_several(user, action, count):
    """Record an action on several addresses."""
    log(
        instance=user,
        action=f"wagtail_smtp.{action}",
        title=_("Suppressed addresses"),
        data={"number": count},
    )


class SuppressedPage(AdminPage):
    """Base of the pages below the listing."""

    permission_required: str | tuple[str, ...] = permissions.VIEW_SUPPRESSED
    header_icon = "no-view"

    def get_parents(self):
        return [(_("Suppressed addresses"), reverse(SUPPRESSED))]


class OfAddress(SuppressedPage, TemplateView):
    """Base of the pages about one address."""

    @cached_property
    def row(self):
        rows = SuppressedAddress.objects.select_related("created_by")
        return get_object_or_404(rows, pk=self.kwargs["pk"])

    def get_page_title(self):
        return str(self.row)

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {"row": self.row, "facts": [*self._facts()]}

    def _facts(self):
        """Yield label and value of each line about the address."""
        yield _("Reason"), self.row.get_reason_display()
        yield _("Details"), self.row.detail
        yield _("Suppressed since"), self.row.created_at
        yield _("Added by"), added_by(self.row)


class AddressView(OfAddress):
    """Why an address is suppressed, with links to its email."""

    template_name = "wagtail_smtp/suppressed/address.html"

    @cached_property
    def header_buttons(self):
        if not self.request.user.has_perm(permissions.DELETE_SUPPRESSED):
            return []
        url = reverse("wagtail_smtp_suppressed:remove", args=[self.row.pk])
        return [HeaderButton(_("Remove"), url=url, icon_name="bin")]

    def get_context_data(self, **kwargs):
        links = {}
        if self.request.user.has_perm(permissions.VIEW_LOG):
            entries = LogEntry.objects.using(write_alias()).filter(pk=self.row.entry_id or 0)
            if entries.exists():
                links["entry_url"] = reverse(LOG_ENTRY, args=[self.row.entry_id])
            if self.row.address:
                query = urlencode({"recipient": self.row.address})
                links["log_url"] = f"{reverse(LOG)}?{query}"
        return super().get_context_data(**kwargs) | links


class RemoveView(OfAddress):
    """Asks for confirmation, and removes an address on POST."""

    permission_required = (permissions.VIEW_SUPPRESSED, permissions.DELETE_SUPPRESSED)
    template_name = "wagtail_smtp/suppressed/remove.html"
    page_title = gettext_lazy("Remove")

    def get_page_title(self):
        return _("Remove")

    def get_parents(self):
        parent = (str(self.row), reverse(SUPPRESSED_ADDRESS, args=[self.row.pk]))
        return [*super().get_parents(), parent]

    @cached_property
    def back_url(self):
        return get_valid_next_url_from_request(self.request) or reverse(SUPPRESSED)

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {"back_url": self.back_url}

    def post(self, request, *args, **kwargs):
        row = self.row
        deleted, _rows = SuppressedAddress.objects.filter(pk=row.pk).delete()
        if deleted:
            log_action(row, "allow")
        text = _("“%(address)s” is no longer suppressed.")
        messages.success(request, text % {"address": row})
        return HttpResponseRedirect(self.back_url)


class RemoveSelected(BulkAction):
    """Removes the addresses selected in the listing, or all that match its filters."""

    display_name = gettext_lazy("Remove")
    aria_label = gettext_lazy("Remove selected addresses")
    action_type = "remove"
    models = [SuppressedAddress]
    template_name = "wagtail_smtp/suppressed/confirm_remove_selected.html"

    def dispatch(self, request, *args, **kwargs):
        needed = (permissions.VIEW_SUPPRESSED, permissions.DELETE_SUPPRESSED)
        if not all(request.user.has_perm(each) for each in needed):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    @cached_property
    def is_all(self):
        return "all" in self.request.GET.getlist("id")

    @cached_property
    def found(self):
        """The numbers of the selected addresses, and whether more match."""
        if not self.is_all:
            chosen = map(number, self.request.GET.getlist("id"))
            return sorted({each for each in chosen if each is not None}), False
        filters = SuppressedFilterSet(self.request.GET, request=self.request)
        if not filters.is_valid():
            return [], False  # an invalid filter must not select everything
        before = number(self.request.GET.get("before", ""))
        found = filters.search(self.request.GET.get("q", ""), MAX_SELECTED, before)
        return found.numbers, found.is_cut

    def get_context_data(self, **kwargs):
        numbers, is_cut = self.found
        rows = SuppressedAddress.objects.filter(pk__in=numbers[:LISTED]).order_by("-pk")
        count = len(numbers)
        query = self.request.GET.copy()
        if self.is_all and numbers:
            # Addresses that are added until the confirmation stay.
            query["before"] = max(numbers) + 1
        return {
            "form": self.get_form(),
            "view": self,
            "rows": rows,
            "count": count,
            "more": max(0, count - LISTED),
            "is_cut": is_cut,
            "cap": MAX_SELECTED,
            "next": self.next_url,
            "submit_url": f"{self.request.path}?{query.urlencode()}",
        }

    def form_valid(self, form):
        numbers, _is_cut = self.found
        removed = 0
        for start in range(0, len(numbers), _TOGETHER):
            part = SuppressedAddress.objects.filter(pk__in=numbers[start : start + _TOGETHER])
            removed += part.delete()[0]
        if removed:
            log_several(self.request.user, "allow_several", removed)
        text = ngettext(
            "%d address is no longer suppressed.",
            "%d addresses are no longer suppressed.",
            removed,
        )
        messages.success(self.request, text % removed)
        return HttpResponseRedirect(self.next_url)


class AddForm(forms.Form):
    """The addresses to suppress, and why."""

    addresses = forms.CharField(
        label=gettext_lazy("Addresses"),
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "autocomplete": "off"}),
        help_text=gettext_lazy(
            "One per line, for example ada@example.com. These addresses no longer get email, "
            "except security email such as password resets, error reports and alerts."
        ),
    )
    detail = forms.CharField(
        label=gettext_lazy("Details"),
        required=False,
        max_length=2 * SHOWN,
        help_text=gettext_lazy("For your colleagues, such as “Asked us by phone”."),
    )

    def clean_addresses(self):
        """Return the addresses; all lines must be valid, so that nothing is left out."""
        found = reading.from_text(self.cleaned_data["addresses"])
        if found.invalid:
            text = _("Line %(line)d is not an email address: %(text)s")
            raise ValidationError(
                [text % {"line": line, "text": part} for line, part in found.invalid[:LISTED]]
            )
        if len(found.valid) > MAX_ADDED:
            text = _("Enter at most %d addresses, or import them from a file.")
            raise ValidationError(text % MAX_ADDED)
        return found.valid


class AddView(SuppressedPage, FormView):
    """Adds one or several addresses."""

    permission_required = (permissions.VIEW_SUPPRESSED, permissions.ADD_SUPPRESSED)
    template_name = "wagtail_smtp/suppressed/form.html"
    page_title = gettext_lazy("Add addresses")
    form_class = AddForm

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {"button": _("Add")}

    def form_valid(self, form):
        detail, user = form.cleaned_data["detail"], self.request.user
        added = []
        for address in form.cleaned_data["addresses"]:
            if suppression.suppress(address, SuppressionReason.MANUAL, detail=detail, user=user):
                added.append(address)
        if len(added) == 1:
            digest = suppression.digest(added[0])
            log_action(SuppressedAddress.objects.get(digest=digest), "suppress")
        elif added:
            log_several(user, "suppress_several", len(added))
        report(self.request, len(added), len(form.cleaned_data["addresses"]) - len(added))
        return HttpResponseRedirect(reverse(SUPPRESSED))


def report(request, added, known):
    """Say how many addresses were added, and how many were suppressed already."""
    texts = []
    if added or not known:
        text = ngettext("%d address is now suppressed.", "%d addresses are now suppressed.", added)
        texts.append(text % added)
    if known:
        text = ngettext(
            "%d address was already suppressed.", "%d addresses were already suppressed.", known
        )
        texts.append(text % known)
    show = messages.success if added else messages.warning
    show(request, " ".join(texts))
