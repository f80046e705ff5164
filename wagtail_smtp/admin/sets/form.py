"""The form of a settings set: each error is shown at its field, passwords are write-only."""

import json

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.utils.formats import date_format
from django.utils.text import capfirst, format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables
from wagtail.log_actions import registry

from wagtail_smtp.admin.base import static_file
from wagtail_smtp.admin.labels import category_label, local_time
from wagtail_smtp.admin.sets.locks import CategoryChoices, lock_all, redirect_note
from wagtail_smtp.admin.sets.secret_form import SecretForm
from wagtail_smtp.admin.sets.sites_form import SitesForm
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.config import crypto
from wagtail_smtp.config.validation import MAILBOX_FIELDS, WITH_MAILBOX
from wagtail_smtp.config.values import EXTENSIONS, ReportEmail
from wagtail_smtp.config_files.sets_file import manager
from wagtail_smtp.models import Secret, SettingsSet
from wagtail_smtp.transports import standard
from wagtail_smtp.transports.smtp.presets import PRESETS

Authentication = SettingsSet.Authentication
_REDIRECT_HELP = gettext_lazy(
    "For testing: email goes to the report emails instead of its real recipients. The first set of "
    "the list redirects all email; a set further down redirects only what is sent through it. "
    "Links in the messages still work."
)
#: The fields of default credentials; the project's settings contain the values.
_STANDARD = ("host", "port", "encryption", "ca_certificates", "username")


class SettingsSetForm(SitesForm, SecretForm):
    """Add, copy or edit one settings set."""

    preset = forms.ChoiceField(
        label=gettext_lazy("Server preset"),
        required=False,
        choices=[("", gettext_lazy("Another server"))]
        + [(preset.slug, preset.label) for preset in PRESETS],
        help_text=gettext_lazy(
            "Fills in the host, port and encryption. Then enter your own username and password."
        ),
    )
    categories = forms.MultipleChoiceField(
        label=gettext_lazy("Categories"),
        required=False,
        widget=CategoryChoices,
        help_text=SettingsSet._meta.get_field("categories").help_text,
    )
    ignored_extensions = forms.MultipleChoiceField(
        label=gettext_lazy("Extensions to ignore"),
        required=False,
        choices=[(keyword, keyword) for keyword in EXTENSIONS],
        widget=forms.CheckboxSelectMultiple,
        help_text=SettingsSet._meta.get_field("ignored_extensions").help_text,
    )
    loaded_revision = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Media:
        js = [static_file("wagtail_smtp/set-form.js")]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        known = dict.fromkeys([*BUILT_IN, *conf.CATEGORIES, *(self.instance.categories or ())])
        self.fields["categories"].choices = [(slug, category_label(slug)) for slug in known]
        self.fields["loaded_revision"].initial = self.instance.revision
        self.fields["preset"].widget.attrs["data-presets"] = json.dumps(
            {item.slug: item.for_form() for item in PRESETS}
        )
        self._offer_default_credentials()
        self.fields["redirect"].help_text = format_lazy("{} {}", _REDIRECT_HELP, redirect_note())
        for name in MAILBOX_FIELDS:
            self.fields[name].required = False
        # The largest value that the column stores on every database.
        self.fields["max_size"].validators.append(MaxValueValidator(32767))
        is_default = self.data.get("authentication") == Authentication.DEFAULT
        if is_default and self.fields["authentication"].valid_value(Authentication.DEFAULT):
            # Locked fields are not posted.
            self.fields["port"].required = self.fields["encryption"].required = False
        if manager(self.instance):
            lock_all(self)

    def _offer_default_credentials(self):
        server = standard.server()
        field = self.fields["authentication"]
        if server is not None and server.username:
            field.help_text = _(
                "“Default credentials” uses the server and login of standard delivery: "
                "%(host)s:%(port)s, user %(user)s."
            ) % {"host": server.host, "port": server.port, "user": server.username}
            shown = {name: getattr(server, name, "") for name in _STANDARD}
            field.widget.attrs["data-standard"] = json.dumps(shown)
        elif self.instance.authentication != Authentication.DEFAULT:
            field.choices = [
                choice for choice in field.choices if choice[0] != Authentication.DEFAULT
            ]

    @sensitive_variables()
    def full_clean(self):
        # The decorator also covers everything called from here, including Django's own code.
        super().full_clean()
        if self.is_bound:
            # Both need the instance, which Django fills last.
            if self.uses_esp:
                self.check_options()
            self.check_secret()

    def clean(self):
        super().clean()
        cleaned = self.cleaned_data
        if self.instance.pk:
            self._refuse_if_stale(cleaned.get("loaded_revision"))
        if cleaned.get("redirect") and not self._enabled_report_emails():
            self.add_error(
                "redirect", _("Add and enable at least one report email to redirect to.")
            )
        self.check_site_senders()
        if cleaned.get("authentication") == Authentication.DEFAULT:
            # The project's password must not be combined with a server that an editor chose.
            unset = SettingsSet()
            cleaned |= {name: getattr(unset, name) for name in _STANDARD}
        self._complete_mailbox(cleaned)
        self.instance.oauth = self.oauth_values(cleaned)
        self.ignore(*self.unused_oauth(cleaned))
        if self.uses_esp or self.instance.oauth:
            self.ignore("password")
        return cleaned

    def _complete_mailbox(self, cleaned):
        """Use the defaults of fields that are empty or hidden."""
        unset = SettingsSet()
        is_used = cleaned.get("authentication") in WITH_MAILBOX
        for name in MAILBOX_FIELDS:
            if not is_used or cleaned.get(name) in (None, ""):
                cleaned[name] = getattr(unset, name)
        if not is_used:
            self.ignore(*MAILBOX_FIELDS)

    def _enabled_report_emails(self):
        return [
            form
            for form in self.formsets["report_emails"].forms
            if form.is_valid()
            and form.cleaned_data.get("address")
            and form.cleaned_data.get("enabled")
            and not form.cleaned_data.get("DELETE")
        ]

    def _refuse_if_stale(self, loaded):
        stored = (
            SettingsSet.objects.filter(pk=self.instance.pk).select_related("changed_by").first()
        )
        if stored is None or loaded == stored.revision:
            return
        raise ValidationError(
            _(
                "%(who)s has changed this set since you opened it (%(when)s: %(what)s). Your "
                "changes were not saved, but are kept below. Open the set in another tab, compare, "
                "and enter them there."
            )
            % {
                "who": stored.changed_by or _("Someone"),
                "when": date_format(local_time(stored.changed_at), "DATETIME_FORMAT"),
                "what": ", ".join(self._changed_since(loaded or 0)) or _("unknown fields"),
            },
            code="stale",
        )

    def _changed_since(self, revision):
        names = []
        for entry in registry.get_logs_for_instance(self.instance):
            if entry.data.get("revision", 0) > revision:
                names += entry.data.get("fields", [])
        return dict.fromkeys(names)

    @sensitive_variables()
    def typed(self):
        """Return the valid form's set as plain values, and its typed or stored secret, or None.

        Nothing is saved. A typed password is encrypted for this destination, like a stored one.
        """
        reports = [form.cleaned_data for form in self._enabled_report_emails()]
        reports.sort(key=lambda values: values.get("ORDER") or 0)
        item = self.instance.frozen(
            [ReportEmail(values["address"]) for values in reports],
            [form.instance for form in self.site_senders()],
        )
        if content := self.typed_secret():
            token = crypto.encrypt(content.text, item.binding())
            return item, Secret(ciphertext=token, references=dict(content.references))
        return item, None if self.removes_secret else self.stored_secret()

    @sensitive_variables()
    def save(self, commit=True):
        self.instance.stamp(self.for_user)
        return super().save(commit)

    @sensitive_variables()
    def changed_labels(self):
        """Labels of the changed fields for the audit log, without their values."""
        labels = [
            str(capfirst(self.fields[name].label or name))
            for name in self.changed_data
            if name in self.fields
            and name not in ("loaded_revision", "preset")
            and name not in self.unused
        ]
        if self.formsets["report_emails"].has_changed():
            labels.append(_("Report emails"))
        if self.formsets["site_senders"].has_changed():
            labels.append(_("Senders of sites"))
        return labels
