"""The test buttons in the listing and the form of settings sets."""

from django import forms
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from wagtail.admin import messages
from wagtail.admin.ui.menus import MenuItem

from wagtail_smtp.admin import permissions
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.diagnostics.senders import sender_hints
from wagtail_smtp.live import draft_configuration
from wagtail_smtp.runtime.project import address_of

URLS = "wagtailsnippets_wagtail_smtp_settingsset"


class AddressForm(forms.Form):
    """Who gets the test email."""

    test_address = forms.CharField(
        label=gettext_lazy("Send test email to"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )

    @classmethod
    def of(cls, user):
        """The form with the user's own address in it."""
        return cls(initial={"test_address": address_of(user)})

    def clean_test_address(self):
        address = self.cleaned_data["test_address"]
        if not is_email_address(address):
            raise ValidationError(_("Enter a valid email address."))
        return address


class OffersTests:
    """View mixin of a set's form: test buttons, and hints about its sender."""

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        stored = self.form.instance if self.form.instance.pk else None
        may_send = self.request.user.has_perm(permissions.SEND_TEST)
        url = reverse(f"{URLS}:test_typed", args=[stored.pk]) if stored else None
        view = "edit" if stored else "create"
        return context | {
            # The template extends this one.
            "wagtails_form": f"wagtailsnippets/snippets/{view}.html",
            "test_url": url or reverse(f"{URLS}:test_new"),
            "address_form": AddressForm.of(self.request.user) if may_send else None,
            "sender_hints": _hints(stored) if stored else [],
        }

    def save_action(self):
        response = super().save_action()
        for hint in _hints(self.object):
            messages.warning(self.request, hint)
        return response


def _hints(item):
    found = sender_hints(draft_configuration())
    return [str(hint.message) for hint in found if hint.set_name == item.name]


def check_buttons(item, request):
    """The listing's row actions that test a stored set."""
    offered = (
        ("send_test_email", _("Send test email"), "mail", permissions.may_send_through),
        ("test_connection", _("Test connection"), "link", permissions.may_test),
    )
    return [
        MenuItem(label, reverse(f"{URLS}:{name}", args=[item.pk]), icon_name=icon, priority=at)
        for at, (name, label, icon, is_allowed) in enumerate(offered, start=11)
        if is_allowed(request.user)
    ]
