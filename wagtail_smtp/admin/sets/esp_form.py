"""The transport part of a set's form, with the fields of each email provider."""

import json
import re

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables
from wagtail.admin.forms import WagtailAdminModelForm
from wagtail.admin.panels import FieldPanel, MultiFieldPanel

from wagtail_smtp.admin.base import static_file
from wagtail_smtp.exceptions import SecretError
from wagtail_smtp.models import Secret
from wagtail_smtp.transports.esp import catalog
from wagtail_smtp.transports.esp.catalog import INSTALL, PROVIDERS, field_name

SMTP = "smtp"
#: On a panel: the transports that it is shown for, separated by spaces.
FOR = "data-wsmtp-for"
FOR_SMTP = {FOR: SMTP}
#: Providers that can be self-hosted, perhaps with a certificate of a private authority.
OWN_SERVERS = tuple(
    provider.slug
    for provider in PROVIDERS.values()
    if any(option.kind == "url" and not option.choices for option in provider.options)
)

#: Values of the SMTP fields of a set that sends through an email provider.
_OF_SMTP = {
    "host": "",
    "port": 587,
    "encryption": "starttls",
    "authentication": "none",
    "username": "",
    "ehlo_name": "",
    "ignored_extensions": (),
    "bounce_address": "",
}
#: Keys are sent in HTTP headers: visible ASCII only.
_KEY = re.compile(r"[!-~]+\Z")

#: The form's fields by provider and option.
NAMES = {
    (provider.slug, option.name): field_name(provider.slug, option.name)
    for provider in PROVIDERS.values()
    for option in provider.options
}
#: Form fields for keys.
SECRET_FIELDS = tuple(
    field_name(provider.slug, option.name)
    for provider in PROVIDERS.values()
    for option in provider.options
    if option.is_secret
)


class TransportSelect(forms.Select):
    """A choice of transports; those that are not installed are disabled."""

    def create_option(self, name, value, *args, **kwargs):
        option = super().create_option(name, value, *args, **kwargs)
        if value in PROVIDERS and not PROVIDERS[value].is_installed and not option["selected"]:
            option["attrs"]["disabled"] = True
        return option


def _transports():
    return [(SMTP, "SMTP"), *((slug, provider.label) for slug, provider in PROVIDERS.items())]


class ESPForm(WagtailAdminModelForm):
    """The transport and its fields; those of email providers are in :data:`NAMES`."""

    transport = forms.ChoiceField(
        label=gettext_lazy("Send with"),
        required=False,
        choices=_transports,
        widget=TransportSelect,
        help_text=gettext_lazy("An SMTP server, or an email provider's API."),
    )
    remove_keys = forms.BooleanField(
        label=gettext_lazy("Remove the saved keys"),
        required=False,
        help_text=gettext_lazy(
            "Also removes them from earlier versions. The live version keeps them until you reload."
        ),
    )

    class Media:
        js = [static_file("wagtail_smtp/provider-form.js")]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        item = self.instance
        for name, value in item.provider.items():
            self.initial.setdefault(field_name(item.transport, name), value)
        if item.secret_id is None or item.transport == SMTP:
            del self.fields["remove_keys"]
        missing = [p for p in PROVIDERS.values() if not p.is_installed]
        if missing:
            self.fields["transport"].help_text = (
                _(
                    "An SMTP server, or an email provider's API. To use the greyed-out providers, "
                    "ask a developer to run: %s"
                )
                % INSTALL
            )
        if self.data.get("transport", SMTP) in PROVIDERS:
            for name in _OF_SMTP:
                if name in self.fields:
                    self.fields[name].required = False

    def clean_transport(self):
        return self.cleaned_data["transport"] or self.instance.transport

    @property
    def uses_provider(self):
        """Whether an email provider is chosen, not SMTP."""
        return self.cleaned_data.get("transport", SMTP) != SMTP

    @sensitive_variables()
    def clean(self):
        cleaned = super().clean()
        chosen = cleaned.get("transport", SMTP)
        others = [name for (slug, _option), name in NAMES.items() if slug != chosen]
        reset = {}
        if self.uses_provider:
            reset = dict(_OF_SMTP)
            if chosen not in OWN_SERVERS:
                reset["ca_certificates"] = ""
        self.unused = set()
        self.overlook(*others, *reset)
        cleaned |= reset
        self.instance.provider = self._options(chosen)
        return cleaned

    def overlook(self, *names):
        """Drop the errors of fields that are hidden and not used."""
        self.unused.update(names)
        for name in names:
            self.errors.pop(name, None)

    def _options(self, slug):
        """The typed options of the email provider, without its secrets, by name."""
        if slug not in PROVIDERS:
            return {}
        options = [option for option in PROVIDERS[slug].options if not option.is_secret]
        typed = {
            option.name: self.cleaned_data.get(NAMES[slug, option.name]) or option.default
            for option in options
        }
        return {name: value for name, value in typed.items() if value}

    def _post_clean(self):
        super()._post_clean()
        if not self.uses_provider:
            return
        for problem in catalog.problems(self.instance.frozen(())):
            if problem.field not in self.errors:
                self.add_error(problem.field, str(problem.message))
        if self.uses_provider:  # False once an error removed the field
            self._check_keys()

    @sensitive_variables()
    def _check_keys(self):
        slug = self.cleaned_data["transport"]
        names = [NAMES[slug, o.name] for o in PROVIDERS[slug].options if o.is_secret]
        empty = [name for name in names if not self.cleaned_data.get(name)]
        for name in names:
            if name not in empty and not _KEY.match(self.cleaned_data[name]):
                self.add_error(name, _("Enter the key without spaces or accented letters."))
        if not empty or self.cleaned_data.get("remove_keys"):
            return
        # Not through the foreign key, which may read from a replica.
        stored = Secret.objects.filter(pk=self.instance.secret_id).first()
        is_new = self.instance.pk is None or "transport" in self.changed_data
        if len(empty) < len(names) or (stored is None and is_new):
            self._ask_for(empty, _("This email provider requires this field."))
        elif stored is not None:
            try:
                stored.reveal(self.instance.frozen(()).binding())
            except SecretError:
                self._ask_for(
                    empty,
                    _(
                        "The saved key can't be read, or belongs to another email provider, "
                        "account or address. Enter it again."
                    ),
                )

    def _ask_for(self, names, text):
        for name in names:
            if name not in self.errors:
                self.add_error(name, text)

    @sensitive_variables()
    def typed_keys(self):
        """The typed keys as stored; empty if any is missing."""
        slug = self.cleaned_data["transport"]
        keys = {
            option.name: self.cleaned_data.get(NAMES[slug, option.name])
            for option in PROVIDERS[slug].options
            if option.is_secret
        }
        return json.dumps(keys) if all(keys.values()) else ""


def _field(option):
    label = option.label
    if not option.is_required:
        label = format_lazy("{} ({})", label, gettext_lazy("optional"))
    common = {"label": label, "required": False, "help_text": option.hint}
    if option.choices:
        return forms.ChoiceField(choices=option.choices, initial=option.default, **common)
    if not option.is_secret:
        return forms.CharField(max_length=255, **common)
    common["help_text"] = format_lazy(
        "{} {}",
        option.hint,
        gettext_lazy(
            "Leave empty to keep the saved key, which is never shown. If you change the email "
            "provider, its address or the account, enter it again."
        ),
    )
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False)
    return forms.CharField(max_length=4096, widget=widget, **common)


# Subclasses inherit these fields as if they were declared in the class.
ESPForm.declared_fields |= {
    NAMES[provider.slug, option.name]: _field(option)
    for provider in PROVIDERS.values()
    for option in provider.options
}
ESPForm.base_fields |= ESPForm.declared_fields

#: Shows the fields of the chosen email provider.
PANEL = MultiFieldPanel(
    [
        *(
            MultiFieldPanel(
                [FieldPanel(NAMES[provider.slug, option.name]) for option in provider.options],
                heading=provider.label,
                help_text=provider.hint,
                attrs={FOR: provider.slug},
            )
            for provider in PROVIDERS.values()
        ),
        FieldPanel("remove_keys"),
    ],
    heading=gettext_lazy("Email provider"),
    attrs={FOR: " ".join(PROVIDERS)},
)
