"""Import suppressed addresses from a CSV file, and export them."""

import csv

from django import forms
from django.core import signing
from django.core.exceptions import BadRequest, ValidationError
from django.http import HttpResponseRedirect, StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import FormView, TemplateView

from wagtail_smtp import suppression
from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import SUPPRESSED
from wagtail_smtp.admin.log.export import neutral
from wagtail_smtp.admin.suppressed import reading
from wagtail_smtp.admin.suppressed.listing import SuppressedFilterSet, added_by
from wagtail_smtp.admin.suppressed.pages import SuppressedPage, log_several, report
from wagtail_smtp.models import SuppressedAddress, SuppressionReason
from wagtail_smtp.models.log import SHOWN

#: Invalid lines that a preview lists.
LISTED = 100
#: Seconds in which a preview has to be confirmed.
_VALID_FOR = 3600
#: Rows of an export that are read together, and all.
_CHUNK = 1000
ROWS = 1_000_000


class ImportForm(forms.Form):
    """A file with addresses, and why they are suppressed."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,text/csv,text/plain"}),
        help_text=gettext_lazy(
            "A CSV file, for example an export of your email provider, or a text file with one "
            "address per line. Up to 2 MB and 50,000 addresses. You see what will be imported "
            "before anything is saved."
        ),
    )
    reason = forms.ChoiceField(
        label=gettext_lazy("Reason"),
        choices=SuppressionReason.choices,
        initial=SuppressionReason.IMPORTED,
    )
    detail = forms.CharField(
        label=gettext_lazy("Details"),
        required=False,
        max_length=2 * SHOWN,
        help_text=gettext_lazy("For your colleagues, such as “Bounces of the old newsletter”."),
    )

    def clean_file(self):
        """Return the addresses in the file."""
        file = self.cleaned_data["file"]
        if file.size > reading.MAX_SIZE:
            text = _("The file is larger than %d MB. Split it into several files.")
            raise ValidationError(text % (reading.MAX_SIZE // 1024**2))
        return reading.from_csv(file.read())


def signer():
    """Sign what a preview's form contains. To post it, a user needs the permission anyway."""
    return signing.TimestampSigner(salt="wagtail_smtp.import")


class ImportView(SuppressedPage, FormView):
    """Shows what a file contains; imports it when that is confirmed.

    The preview's form contains the addresses, signed. So nothing is kept between the requests,
    which may reach different processes.
    """

    permission_required = (permissions.VIEW_SUPPRESSED, permissions.ADD_SUPPRESSED)
    template_name = "wagtail_smtp/suppressed/form.html"
    page_title = gettext_lazy("Import")
    form_class = ImportForm

    def get_context_data(self, **kwargs):
        return super().get_context_data(**kwargs) | {"button": _("Preview")}

    def post(self, request, *args, **kwargs):
        if "confirmed" not in request.POST:
            return super().post(request, *args, **kwargs)
        try:
            known = signer().unsign_object(request.POST["confirmed"], max_age=_VALID_FOR)
        except signing.SignatureExpired:
            problem = _("The preview is too old. Choose the file again.")
            context = self.get_context_data(form=self.form_class(), problem=problem)
            return self.render_to_response(context)
        except signing.BadSignature as error:
            raise BadRequest from error
        addresses, reason, detail = known
        user = request.user
        added = suppression.suppress_all(addresses, reason, detail=detail, user=user)
        if added:
            log_several(user, "import_suppressed", added)
        report(request, added, len(addresses) - added)
        return HttpResponseRedirect(reverse(SUPPRESSED))

    def form_valid(self, form):
        found, reason = form.cleaned_data["file"], form.cleaned_data["reason"]
        known = len(suppression.find(found.valid))
        content = [found.valid, reason, form.cleaned_data["detail"]]
        self.template_name = "wagtail_smtp/suppressed/preview.html"
        context = super().get_context_data(form=form) | {
            "found": found,
            "new": len(found.valid) - known,
            "known": known,
            "reason": SuppressionReason(reason).label,
            "invalid": found.invalid[:LISTED],
            "more": max(0, len(found.invalid) - LISTED),
            "confirmed": signer().sign_object(content, compress=True),
        }
        return self.render_to_response(context)


class _Echo:
    """A file for csv's writer that returns what is written."""

    def write(self, text):
        return text


class ExportView(SuppressedPage, TemplateView):
    """Shows what will be exported; POST returns the file."""

    template_name = "wagtail_smtp/suppressed/export.html"
    page_title = gettext_lazy("Export")

    def post(self, request, *args, **kwargs):
        filters = SuppressedFilterSet(request.GET, request=request)
        found = filters.search(request.GET.get("q", ""), ROWS)
        log_several(request.user, "export_suppressed", len(found.numbers))
        response = StreamingHttpResponse(_lines(found.numbers), content_type="text/csv")
        name = "suppressed-addresses.csv"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


def _lines(numbers):
    """Yield the lines of the file; the import understands it."""
    writer = csv.writer(_Echo())
    yield writer.writerow(["address", "reason", "details", "suppressed since", "added by"])
    for start in range(0, len(numbers), _CHUNK):
        rows = SuppressedAddress.objects.filter(pk__in=numbers[start : start + _CHUNK])
        for row in rows.exclude(address="").select_related("created_by").order_by("-pk"):
            since = row.created_at
            since = timezone.localtime(since) if timezone.is_aware(since) else since
            values = [row.address, row.reason, row.detail, since.isoformat(" ", "seconds")]
            yield writer.writerow([neutral(value) for value in (*values, added_by(row))])
