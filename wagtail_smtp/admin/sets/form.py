"""The form of a settings set: each error is shown at its field, passwords are write-only."""

import json

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.timezone import template_localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables
from wagtail.log_actions import registry

from wagtail_smtp.admin.base import static_file
from wagtail_smtp.admin.labels import category_label
from wagtail_smtp.admin.sets.esp_form import SECRET_FIELDS as KEY_FIELDS
from wagtail_smtp.admin.sets.esp_form import SMTP, ESPForm
from wagtail_smtp.admin.sets.oauth_form import SECRET_FIELDS as OAUTH_FIELDS
from wagtail_smtp.admin.sets.oauth_form import OAuthFields
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.config import crypto
from wagtail_smtp.config import values as config_values
from wagtail_smtp.exceptions import SecretError
from wagtail_smtp.live import consents
from wagtail_smtp.live.publish import revoke
from wagtail_smtp.models import Secret, SettingsSet
from wagtail_smtp.transports import standard
from wagtail_smtp.transports.smtp.presets import PRESETS

#: Fields whose values must not appear in error reports.
SECRET_FIELDS = ("password", *KEY_FIELDS, *OAUTH_FIELDS)


class SettingsSetForm(OAuthFields, ESPForm):
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
    password = forms.CharField(
        label=gettext_lazy("Password"),
        required=False,
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False),
        help_text=gettext_lazy(
            "Leave empty to keep the saved password, which is never shown. If you change the host, "
            "port, encryption, certificates or username, enter it again."
        ),
    )
    remove_password = forms.BooleanField(
        label=gettext_lazy("Remove the saved password"),
        required=False,
        help_text=gettext_lazy(
            "Also removes a client secret, key or consent, and all of these from earlier versions. "
            "The live version keeps them until you reload."
        ),
    )
    categories = forms.MultipleChoiceField(
        label=gettext_lazy("Categories"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=SettingsSet._meta.get_field("categories").help_text,
    )
    ignored_extensions = forms.MultipleChoiceField(
        label=gettext_lazy("Extensions to ignore"),
        required=False,
        choices=[(keyword, keyword) for keyword in config_values.EXTENSIONS],
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
        self.show_oauth()
        # The largest value that the column stores on every database.
        self.fields["max_size"].validators.append(MaxValueValidator(32767))
        is_smtp = self.instance.transport == SMTP
        has_any = self.instance.secret_id is not None or consents.has_any(self.instance.key)
        if not (is_smtp and has_any):
            del self.fields["remove_password"]
        default = SettingsSet.Authentication.DEFAULT
        is_offered = default in [value for value, _label in self.fields["authentication"].choices]
        if is_offered and self.data.get("authentication") == default:
            # Locked fields are not posted.
            self.fields["port"].required = self.fields["encryption"].required = False

    def _offer_default_credentials(self):
        server = standard.server()
        field = self.fields["authentication"]
        if server is not None and server.username:
            field.help_text = _(
                "“Default credentials” uses the server and login of standard delivery: "
                "%(host)s:%(port)s, user %(user)s."
            ) % {"host": server.host, "port": server.port, "user": server.username}
            shown = {"host": server.host, "port": server.port, "encryption": server.encryption}
            shown |= {"ca_certificates": "", "username": server.username}
            field.widget.attrs["data-standard"] = json.dumps(shown)
        elif self.instance.authentication != SettingsSet.Authentication.DEFAULT:
            field.choices = [
                choice
                for choice in field.choices
                if choice[0] != SettingsSet.Authentication.DEFAULT
            ]

    @sensitive_variables()
    def full_clean(self):
        # The decorator also covers everything called from here, including Django's own code.
        super().full_clean()

    def clean(self):
        cleaned = super().clean()
        if self.instance.pk:
            self._refuse_if_stale(cleaned.get("loaded_revision"))
        if cleaned.get("redirect") and not self._enabled_report_emails():
            self.add_error(
                "redirect", _("Add and enable at least one report email to redirect to.")
            )
        if cleaned.get("authentication") == SettingsSet.Authentication.DEFAULT:
            # The project's password must not be combined with a server that an editor chose.
            cleaned |= {"host": "", "port": 587, "encryption": "starttls", "username": ""}
            cleaned["ca_certificates"] = ""
        self.instance.oauth = self.oauth_values(cleaned)
        self.overlook(*self.unused_oauth(cleaned))
        if self.uses_provider or self.instance.oauth:
            self.overlook("password")
        return cleaned

    def _enabled_report_emails(self):
        forms_of_reports = self.formsets["report_emails"].forms
        return [
            form
            for form in forms_of_reports
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
                "when": date_format(template_localtime(stored.changed_at), "DATETIME_FORMAT"),
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

    def _post_clean(self):
        super()._post_clean()
        if "authentication" not in self.cleaned_data or not self._uses_password():
            return
        typed, field = self.typed_proof()
        if typed or self.cleaned_data.get("remove_password"):
            return
        is_other = self._is_of_other_kind()
        # Not through the foreign key, which may read from a replica.
        stored = None if is_other else Secret.objects.filter(pk=self.instance.secret_id).first()
        if stored is None:
            # An edited set without a password stays editable; a reload of it is refused.
            is_due = is_other or self.instance.pk is None
            if is_due and self.needs_proof() and field not in self.errors:
                self.add_error(field, _enter(field))
            return
        try:
            stored.reveal(self.instance.frozen(()).binding())
        except SecretError as error:
            self.add_error(field, str(error))

    def _uses_password(self):
        """Whether the set has a secret of its own: a password, or OAuth 2's."""
        kinds = SettingsSet.Authentication
        return self.cleaned_data["authentication"] in (kinds.PASSWORD, kinds.OAUTH2)

    def _is_of_other_kind(self):
        """Whether the stored secret is of another kind than the form now needs."""
        kinds = [
            values.get("authentication") if values.get("transport", SMTP) == SMTP else "keys"
            for values in (self.initial, self.cleaned_data)
        ]
        return self.instance.secret_id is not None and kinds[0] != kinds[1]

    @sensitive_variables()
    def typed(self):
        """Return the valid form's set as plain values, and its typed or stored secret, or None.

        Nothing is saved. A typed password is encrypted for this destination, like a stored one.
        """
        reports = [form.cleaned_data for form in self._enabled_report_emails()]
        reports.sort(key=lambda values: values.get("ORDER") or 0)
        item = self.instance.frozen(
            [config_values.ReportEmail(values["address"]) for values in reports]
        )
        secret = None
        if value := self.typed_secret():
            secret = Secret(ciphertext=crypto.encrypt(value, item.binding()))
        elif not self.removes_secret and not self._is_of_other_kind():
            secret = Secret.objects.filter(pk=self.instance.secret_id).first()
        return item, secret

    @sensitive_variables()
    def typed_secret(self):
        """Return the typed password, keys or OAuth 2 secret as stored; empty if none was typed."""
        if self.uses_provider:
            return self.typed_keys()
        return self.typed_proof()[0] if self._uses_password() else ""

    @property
    def removes_secret(self):
        """Whether the stored secret is to be removed."""
        return any(self.cleaned_data.get(name) for name in ("remove_password", "remove_keys"))

    @sensitive_variables()
    def save(self, commit=True):
        item = self.instance
        typed, removed = self.typed_secret(), self.removes_secret
        is_used = self.uses_provider or self._uses_password()
        if typed:
            item.secret = Secret.store(typed, item.frozen(()).binding(), item.key)
            consents.try_again(item.key)
        elif removed or not is_used or self._is_of_other_kind():
            item.secret = None
        item.stamp(self.for_user)
        saved = super().save(commit)
        if removed and not typed:
            revoke(item.key)
        return saved

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
        return labels


def _enter(field):
    """The error for a missing secret."""
    if field == "password":
        return _("Enter the password.")
    return _("Enter the client secret.") if "secret" in field else _("Paste the key.")
