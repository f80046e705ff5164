"""The choice of the summary by email, in Wagtail's account settings."""

from django import forms
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from wagtail.admin.views.account import BaseSettingsPanel, notifications_tab

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import environment_problem
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.live.db import connections
from wagtail_smtp.models import SummarySubscription
from wagtail_smtp.runtime.project import address_of
from wagtail_smtp.summary import subscriptions

_NEVER = "never"


def choose_url():
    """Return the URL of the choice."""
    return f"{reverse('wagtailadmin_account')}#tab-{notifications_tab.name}"


class SummaryForm(forms.Form):
    """How often ``instance``, a user, gets the summary."""

    frequency = forms.ChoiceField(
        label=gettext_lazy("Send the summary"),
        choices=[(_NEVER, gettext_lazy("Never")), *SummarySubscription.Frequency.choices],
        widget=forms.RadioSelect,
        # A project's own template of the page may leave the panel out.
        required=False,
    )

    def __init__(self, *args, instance, **kwargs):
        super().__init__(*args, **kwargs)
        self.instance = instance
        field = self.fields["frequency"]
        frequency, elsewhere = subscriptions.chosen_by(instance)
        field.initial = frequency or _NEVER
        field.help_text = self._help(elsewhere)

    def _help(self, elsewhere):
        text = _(
            "How many emails were sent and how many failed, with the causes and fixes, compared "
            "with the week or day before. Weekly: on Monday at 7 a.m. Daily: at 7 a.m."
        )
        if not is_email_address(address_of(self.instance)):
            text += " " + _("Your account has no valid email address, so you get no summary.")
        if elsewhere:
            note = _(
                "“%s” already sends you a summary. This choice is about the summary from here."
            )
            text += " " + note % elsewhere
        return text

    def save(self):
        chosen = self.cleaned_data["frequency"]
        if chosen and self.has_changed():
            subscriptions.choose(self.instance, "" if chosen == _NEVER else chosen)


class SummaryPanel(BaseSettingsPanel):
    """Registers the choice, for users who see its numbers on *Email delivery*."""

    name = "email_summary"
    title = gettext_lazy("Email summary")
    tab = notifications_tab
    order = 200
    form_class = SummaryForm

    @cached_property
    def _is_available(self):
        may_see = permissions.has_any(self.user, subscriptions.PERMISSIONS)
        return may_see and connections.is_migrated() and not environment_problem()

    def is_active(self):
        return self._is_available

    @cached_property
    def _form(self):
        return super().get_form()

    def get_form(self):
        # Wagtail calls it several times, and each form needs a query.
        return self._form
