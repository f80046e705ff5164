"""The transport part of a set's form, with the fields of each email provider."""

from types import new_class
from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables
from wagtail.admin.forms import WagtailAdminModelForm
from wagtail.admin.panels import FieldPanel, MultiFieldPanel

from wagtail_smtp.admin.sets.secret_field import ReferableField
from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import HEADER_VALUE
from wagtail_smtp.transports.esp import catalog
from wagtail_smtp.transports.esp.catalog import INSTALL, PROVIDERS, SELF_HOSTED, field_name

SMTP = "smtp"
#: On a panel: the transports that it is shown for, separated by spaces.
FOR = "data-wsmtp-for"
FOR_SMTP = {FOR: SMTP}
#: Values of the SMTP fields of a set that sends through an email provider.
_UNUSED_SMTP = {
    "host": "",
    "port": 587,
    "encryption": "starttls",
    "authentication": "none",
    "username": "",
    "ehlo_name": "",
    "ignored_extensions": (),
    "bounce_address": "",
    "bounce_separator": "",
    "mailbox_host": "",
    "mailbox_port": 993,
    "mailbox_encryption": "ssl",
    "mailbox_folder": "INBOX",
}


def key_fields(slug):
    """The form's fields for an email provider's keys, by the option's name."""
    return {o.name: field_name(slug, o.name) for o in PROVIDERS[slug].options if o.is_secret}


def _field(option):
    """The form field of an email provider's option."""
    label = option.label
    if not option.is_required:
        label = format_lazy("{} ({})", label, gettext_lazy("optional"))
    common = {"label": label, "required": False, "help_text": option.hint}
    if option.choices:
        return forms.ChoiceField(choices=option.choices, initial=option.default, **common)
    if not option.is_secret:
        return forms.CharField(max_length=255, **common)
    return ReferableField(
        label=label,
        help_text=format_lazy(
            "{} {}",
            option.hint,
            gettext_lazy(
                "Leave empty to keep the saved key, which is never shown. If you change the email "
                "provider, its address or the account, enter it again."
            ),
        ),
        # Keys are sent in HTTP headers.
        validators=[
            RegexValidator(
                HEADER_VALUE,
                gettext_lazy("Enter the key without spaces or accented letters."),
            )
        ],
    )


#: Every email provider's options as form fields.
_OPTION_FIELDS = {
    field_name(esp.slug, option.name): _field(option)
    for esp in PROVIDERS.values()
    for option in esp.options
}
#: Form fields for keys.
SECRET_FIELDS = tuple(name for slug in PROVIDERS for name in key_fields(slug).values())
# A form class as in the documentation of Django's forms, except that the fields come from a table.
_OptionsForm: Any = new_class(
    "_OptionsForm", (forms.Form,), {}, lambda body: body.update(_OPTION_FIELDS)
)


class TransportSelect(forms.Select):
    """A choice of transports; those that are not installed are disabled."""

    def create_option(self, name, value, *args, **kwargs):
        option = super().create_option(name, value, *args, **kwargs)
        if value in PROVIDERS and not PROVIDERS[value].is_installed and not option["selected"]:
            option["attrs"]["disabled"] = True
        return option


class ESPForm(_OptionsForm, WagtailAdminModelForm):
    """The transport, and the options of each email provider."""

    transport = forms.ChoiceField(
        label=gettext_lazy("Send with"),
        required=False,
        choices=[(SMTP, "SMTP"), *((esp.slug, esp.label) for esp in PROVIDERS.values())],
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

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        item = self.instance
        for name, value in item.provider.items():
            self.initial.setdefault(field_name(item.transport, name), value)
        if item.secret_id is None or item.transport == SMTP:
            del self.fields["remove_keys"]
        if not all(esp.is_installed for esp in PROVIDERS.values()):
            self.fields["transport"].help_text = (
                _(
                    "An SMTP server, or an email provider's API. To use the greyed-out providers, "
                    "ask a developer to run: %s"
                )
                % INSTALL
            )
        if self.data.get("transport", SMTP) in PROVIDERS:
            for name in _UNUSED_SMTP.keys() & self.fields:
                self.fields[name].required = False

    def clean_transport(self):
        return self.cleaned_data["transport"] or self.instance.transport

    @property
    def uses_esp(self):
        """Whether an email provider is chosen, not SMTP."""
        return self.cleaned_data.get("transport", SMTP) != SMTP

    @sensitive_variables()
    def clean(self):
        cleaned = super().clean()
        chosen = cleaned.get("transport", SMTP)
        self.unused = set()
        own = (
            {field_name(chosen, o.name) for o in PROVIDERS[chosen].options} if self.uses_esp else ()
        )
        self.ignore(*_OPTION_FIELDS.keys() - own)
        if self.uses_esp:
            reset = dict(_UNUSED_SMTP)
            if chosen not in SELF_HOSTED:
                reset["ca_certificates"] = ""
            self.ignore(*reset)
            cleaned |= reset
        self.instance.provider = self._options() if self.uses_esp else {}
        return cleaned

    def ignore(self, *names):
        """Drop the errors of fields that are hidden and not used."""
        self.unused.update(names)
        for name in names:
            self.errors.pop(name, None)

    def _options(self):
        """The email provider's options, without its keys, by name."""
        slug = self.cleaned_data["transport"]
        values = {
            option.name: self.cleaned_data.get(field_name(slug, option.name)) or option.default
            for option in PROVIDERS[slug].options
            if not option.is_secret
        }
        return {name: value for name, value in values.items() if value}

    def check_options(self):
        """Add the errors of the email provider's options."""
        for problem in catalog.problems(self.instance.frozen(())):
            if problem.field not in self.errors:
                self.add_error(problem.field, str(problem.message))


def _help(esp):
    """The email provider's hint, and a link to its page in the documentation."""
    page = conf.documentation(f"reference/providers/{esp.slug.replace('_', '-')}.html")
    link = '<a href="{}" target="_blank" rel="noopener noreferrer">{}</a>'
    return format_html("{} " + link, esp.hint, page, _("Set-up guide (opens in a new tab)"))


#: When it is shown: the page is in the reader's language, and its address is a setting.
_lazy_help = lazy(_help, SafeString)

#: Shows the fields of the chosen email provider.
ESP_PANEL = MultiFieldPanel(
    [
        *(
            MultiFieldPanel(
                [FieldPanel(field_name(esp.slug, option.name)) for option in esp.options],
                heading=esp.label,
                help_text=_lazy_help(esp),
                attrs={FOR: esp.slug},
            )
            for esp in PROVIDERS.values()
        ),
        FieldPanel("remove_keys"),
    ],
    heading=gettext_lazy("Email provider"),
    attrs={FOR: " ".join(PROVIDERS)},
)
