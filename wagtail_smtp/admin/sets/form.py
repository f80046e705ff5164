"""The form of a settings set: each error is shown at its field, passwords are write-only."""

import json
from typing import Any

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
from wagtail_smtp.admin.sets import esp_form, oauth_form
from wagtail_smtp.admin.sets.esp_form import SMTP
from wagtail_smtp.admin.sets.locks import CategoryChoices, lock_all, redirect_note
from wagtail_smtp.admin.sets.secret_field import ReferableField
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.config import crypto
from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.references import PASSWORD, Reference, SecretContent
from wagtail_smtp.config.validation import MAILBOX_FIELDS, WITH_MAILBOX
from wagtail_smtp.config.values import EXTENSIONS, ReportEmail
from wagtail_smtp.config_files.sets_file import manager
from wagtail_smtp.exceptions import SecretError
from wagtail_smtp.live import consents, set_secrets, sites
from wagtail_smtp.live.publish import revoke
from wagtail_smtp.models import Secret, SettingsSet
from wagtail_smtp.transports import standard
from wagtail_smtp.transports.smtp.presets import PRESETS

Authentication = SettingsSet.Authentication
_REDIRECT_HELP = gettext_lazy(
    "For testing: email goes to the report emails instead of its real recipients. The first set of "
    "the list redirects all email; a set further down redirects only what is sent through it. "
    "Links in the messages still work."
)
_KEY_UNUSABLE = gettext_lazy(
    "The saved key can't be read, or belongs to another email provider, account or address. Enter "
    "it again."
)
#: Posted fields whose values must not appear in error reports.
_SECRETS = ("password", *esp_form.SECRET_FIELDS, *oauth_form.SECRET_FIELDS)
#: A secret may also be typed where the name of its variable belongs.
SECRET_FIELDS = (*_SECRETS, *(f"{name}_name" for name in _SECRETS))
#: The fields of default credentials; the project's settings contain the values.
_STANDARD = ("host", "port", "encryption", "ca_certificates", "username")


class SettingsSetForm(oauth_form.OAuthFields, esp_form.ESPForm):
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
    password = ReferableField(
        label=gettext_lazy("Password"),
        strip=False,
        help_text=gettext_lazy(
            "Leave empty to keep the saved password, which is never shown. If you change the host, "
            "port, encryption, certificates, username or mailbox server, enter it again."
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
        widget=CategoryChoices,
        help_text=SettingsSet._meta.get_field("categories").help_text,
    )
    sites = forms.TypedMultipleChoiceField(
        label=gettext_lazy("Sites"),
        required=False,
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        help_text=SettingsSet._meta.get_field("sites").help_text,
    )
    ignored_extensions = forms.MultipleChoiceField(
        label=gettext_lazy("Extensions to ignore"),
        required=False,
        choices=[(keyword, keyword) for keyword in EXTENSIONS],
        widget=forms.CheckboxSelectMultiple,
        help_text=SettingsSet._meta.get_field("ignored_extensions").help_text,
    )
    loaded_revision = forms.IntegerField(required=False, widget=forms.HiddenInput)
    #: Fields of different classes, by name.
    fields: dict[str, Any]

    class Media:
        js = [static_file("wagtail_smtp/set-form.js")]

    def __init__(self, data=None, *args, **kwargs):
        super().__init__(with_management_form(data, "site_senders"), *args, **kwargs)
        known = dict.fromkeys([*BUILT_IN, *conf.CATEGORIES, *(self.instance.categories or ())])
        self.fields["categories"].choices = [(slug, category_label(slug)) for slug in known]
        self.fields["loaded_revision"].initial = self.instance.revision
        self.fields["preset"].widget.attrs["data-presets"] = json.dumps(
            {item.slug: item.for_form() for item in PRESETS}
        )
        self._offer_sites()
        self._offer_default_credentials()
        self.show_oauth()
        self._show_references()
        self.fields["redirect"].help_text = format_lazy("{} {}", _REDIRECT_HELP, redirect_note())
        for name in MAILBOX_FIELDS:
            self.fields[name].required = False
        # The largest value that the column stores on every database.
        self.fields["max_size"].validators.append(MaxValueValidator(32767))
        is_smtp = self.instance.transport == SMTP
        has_any = self.instance.secret_id is not None or consents.has_any(self.instance.key)
        if not (is_smtp and has_any):
            del self.fields["remove_password"]
            self.fields["password"].help_text = _("It is stored encrypted, and never shown again.")
        is_default = self.data.get("authentication") == Authentication.DEFAULT
        if is_default and self.fields["authentication"].valid_value(Authentication.DEFAULT):
            # Locked fields are not posted.
            self.fields["port"].required = self.fields["encryption"].required = False
        if manager(self.instance):
            lock_all(self)

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

    def _show_references(self):
        """Show where the saved secret is read from."""
        secret = _saved_secret(self.instance)
        fields = _saved_fields(self.instance)
        for name, reference in (secret.references if secret else {}).items():
            if name in fields:
                self.initial[fields[name]] = Reference.of(reference)
                self.fields[fields[name]].help_text = _(
                    "The value is not stored here. For another server or login, use another "
                    "variable or file."
                )

    @sensitive_variables()
    def full_clean(self):
        # The decorator also covers everything called from here, including Django's own code.
        super().full_clean()
        if self.is_bound:
            # Both need the instance, which Django fills last.
            if self.uses_esp:
                self.check_options()
            self._check_secret()

    def clean(self):
        super().clean()
        cleaned = self.cleaned_data
        if self.instance.pk:
            self._refuse_if_stale(cleaned.get("loaded_revision"))
        if cleaned.get("redirect") and not self._enabled_report_emails():
            self.add_error(
                "redirect", _("Add and enable at least one report email to redirect to.")
            )
        self._check_site_senders()
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

    def _site_senders(self):
        return [
            form
            for form in self.formsets["site_senders"].forms
            if form.is_valid()
            and form.cleaned_data.get("site")
            and not form.cleaned_data.get("DELETE")
        ]

    def _check_site_senders(self):
        seen = set()
        for form in self._site_senders():
            site = form.cleaned_data["site"]
            if site in seen:
                form.add_error("site", _("This site already has a sender above."))
            seen.add(site)

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

    def _secret_fields(self):
        """The fields for the secret that the chosen transport and login use, by the value's name.

        The names are those of :class:`~wagtail_smtp.config.references.SecretContent`.
        """
        if self.uses_esp:
            return esp_form.key_fields(self.cleaned_data["transport"])
        authentication = self.cleaned_data.get("authentication")
        if authentication == Authentication.OAUTH2:
            return {PASSWORD: oauth_form.secret_field(OAuth.of(self.instance.oauth))}
        return {PASSWORD: "password"} if authentication == Authentication.PASSWORD else {}

    @sensitive_variables()
    def _check_secret(self):
        """Require a secret, unless the saved one was entered for the same server and login."""
        fields = self._secret_fields()
        self._check_references(fields)
        missing = {name: key for name, key in fields.items() if not self.cleaned_data.get(key)}
        if not missing or self.removes_secret:
            return
        stored = self._stored_secret()
        is_incomplete = len(missing) < len(fields)
        # Without it, the saved variable or file would stay, although “Stored here” is chosen.
        replaces_reference = stored is not None and not missing.keys().isdisjoint(stored.references)
        if replaces_reference:
            self._ask_for(missing.values())
        elif stored is None or is_incomplete:
            # A saved set without a password can still be edited, but not made live.
            is_due = self.instance.pk is None or self._has_other_kind() or is_incomplete
            if is_due and (self.uses_esp or self.oauth_needs_secret()):
                self._ask_for(missing.values())
        else:
            try:
                stored.reveal(self.instance.frozen(()).binding())
            except SecretError as error:
                self._ask_for(missing.values(), error)

    @sensitive_variables()
    def _check_references(self, fields):
        """Refuse a variable or file that belongs to another destination."""
        if self.errors or self.typed_secret() is None:
            return
        for name, key in fields.items():
            reference = self.cleaned_data[key]
            if isinstance(reference, Reference):
                item, references = self.instance.frozen(()), {name: str(reference)}
                if refusal := set_secrets.refusal(item, references, self.for_user):
                    self.add_error(key, refusal)

    def _ask_for(self, fields, error=None):
        """Add an error to empty fields; ``error`` says why the saved secret can't be used."""
        for name in fields:
            if name in self.errors:
                continue
            if self.uses_esp:
                text = _KEY_UNUSABLE if error else _("This email provider requires this field.")
            elif error:
                text = str(error)
            elif name == "password":
                text = _("Enter the password.")
            elif name == "oauth_client_secret":
                text = _("Enter the client secret.")
            else:
                text = _("Paste the key.")
            self.add_error(name, text)

    def _has_other_kind(self):
        """Whether the form now needs another kind of secret than when it was opened."""
        old, new = (
            values.get("authentication") if values.get("transport", SMTP) == SMTP else "keys"
            for values in (self.initial, self.cleaned_data)
        )
        return old != new

    def _stored_secret(self):
        """The saved secret, or None if there is none of the kind that is needed."""
        if self._has_other_kind():
            return None
        return _saved_secret(self.instance)

    @sensitive_variables()
    def typed(self):
        """Return the valid form's set as plain values, and its typed or stored secret, or None.

        Nothing is saved. A typed password is encrypted for this destination, like a stored one.
        """
        reports = [form.cleaned_data for form in self._enabled_report_emails()]
        reports.sort(key=lambda values: values.get("ORDER") or 0)
        item = self.instance.frozen(
            [ReportEmail(values["address"]) for values in reports],
            [form.instance for form in self._site_senders()],
        )
        if content := self.typed_secret():
            token = crypto.encrypt(content.text, item.binding())
            return item, Secret(ciphertext=token, references=dict(content.references))
        return item, None if self.removes_secret else self._stored_secret()

    @sensitive_variables()
    def typed_secret(self):
        """Return the entered password, keys or OAuth 2 secret, or None if none was entered.

        A reference that is already saved for the same destination wasn't entered.
        """
        fields = self._secret_fields()
        values: dict[str, Any] = {name: self.cleaned_data.get(key) for name, key in fields.items()}
        if not values or not all(values.values()):
            return None
        content = SecretContent.of(values)
        return None if self._is_saved(content) else content

    @sensitive_variables()
    def _is_saved(self, content):
        stored = self._stored_secret()
        if not content.references or stored is None or stored.references != content.references:
            return False
        try:
            return stored.content(self.instance.frozen(()).binding()) == content
        except SecretError:
            return False

    @property
    def removes_secret(self):
        """Whether the stored secret is to be removed."""
        return any(self.cleaned_data.get(name) for name in ("remove_password", "remove_keys"))

    @sensitive_variables()
    def save(self, commit=True):
        item = self.instance
        typed, removed = self.typed_secret(), self.removes_secret
        if typed:
            item.secret = set_secrets.store(item.frozen(()), typed, self.for_user)
            consents.try_again(item.key)
        elif removed or not self._secret_fields() or self._has_other_kind():
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
        if self.formsets["site_senders"].has_changed():
            labels.append(_("Senders of sites"))
        return labels


def with_management_form(data, prefix):
    """Return posted data with the management form of an inline panel that may not be shown.

    Without it, Django refuses the form. The panel's saved rows stay.
    """
    if data is None or f"{prefix}-TOTAL_FORMS" in data:
        return data
    data = data.copy()
    data.update({f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"})
    return data


def _saved_secret(item):
    """The secret of a saved set, or None."""
    if item.secret_id is None:
        return None
    # Not through the foreign key, which may read from a replica.
    return Secret.objects.filter(pk=item.secret_id).first()


def _saved_fields(item):
    """The fields for the saved secret, by the value's name."""
    if item.transport != SMTP:
        return esp_form.key_fields(item.transport)
    if item.authentication == Authentication.OAUTH2:
        return {PASSWORD: oauth_form.secret_field(OAuth.of(item.oauth))}
    return {PASSWORD: "password"}
