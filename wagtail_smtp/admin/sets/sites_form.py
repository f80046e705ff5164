"""The sites in a set's form: which email it is used for, and its senders for single sites."""

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from wagtail.admin.forms import WagtailAdminModelForm

from wagtail_smtp.live import sites
from wagtail_smtp.models import SettingsSet


class SitesForm(WagtailAdminModelForm):
    """The sites of a set, and the senders of sites as an inline panel.

    Attributes:
        offers_sites: whether anything about sites is shown.
    """

    offers_sites: bool

    sites = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Sites"),
        required=False,
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        help_text=SettingsSet._meta.get_field("sites").help_text,
    )

    def __init__(self, data=None, *args, **kwargs):
        super().__init__(_with_management_form(data, "site_senders"), *args, **kwargs)
        self._offer_sites()

    def _offer_sites(self):
        """Show the fields about sites only if there are several, or if the set uses them."""
        choices = sites.choices()
        known = {key for key, _label in choices}
        choices += [
            (key, _("A deleted site, which sends no email"))
            for key in self.instance.sites
            if key not in known
        ]
        is_used = self.instance.sites or self.formsets["site_senders"].initial_forms
        self.offers_sites = len(known) > 1 or bool(is_used)
        self.fields["sites"].choices = choices
        if not self.offers_sites:
            del self.fields["sites"]

    def site_senders(self):
        """The forms of the valid rows of the inline panel."""
        return [
            form
            for form in self.formsets["site_senders"].forms
            if form.is_valid()
            and form.cleaned_data.get("site")
            and not form.cleaned_data.get("DELETE")
        ]

    def check_site_senders(self):
        """Add an error to each row for a site that has one already."""
        seen = set()
        for form in self.site_senders():
            site = form.cleaned_data["site"]
            if site in seen:
                form.add_error("site", _("This site already has a sender above."))
            seen.add(site)


def _with_management_form(data, prefix):
    """Return posted data with the management form of an inline panel that may not be shown.

    Without it, Django refuses the form. The panel's saved rows stay.
    """
    if data is None or f"{prefix}-TOTAL_FORMS" in data:
        return data
    data = data.copy()
    data.update({f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"})
    return data
