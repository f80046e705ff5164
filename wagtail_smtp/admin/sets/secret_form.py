"""The secrets in a set's form, each for the server and login that it was entered for."""

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.admin.sets import esp_form, oauth_form
from wagtail_smtp.admin.sets.esp_form import SMTP, ESPForm
from wagtail_smtp.admin.sets.oauth_form import OAuthFields
from wagtail_smtp.admin.sets.secret_field import ReferableField
from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.references import PASSWORD, Reference, SecretContent
from wagtail_smtp.exceptions import SecretError
from wagtail_smtp.live import consents, set_secrets
from wagtail_smtp.live.publish import revoke
from wagtail_smtp.models import Secret, SettingsSet

Authentication = SettingsSet.Authentication
_KEY_UNUSABLE = gettext_lazy(
    "The saved key can't be read, or belongs to another email provider, account or address. Enter "
    "it again."
)
#: Posted fields whose values must not appear in error reports.
_SECRETS = ("password", *esp_form.SECRET_FIELDS, *oauth_form.SECRET_FIELDS)
#: A secret may also be typed where the name of its variable belongs.
SECRET_FIELDS = (*_SECRETS, *(f"{name}_name" for name in _SECRETS))


class SecretForm(OAuthFields, ESPForm):
    """The password of a set; and which of all secrets its transport and login need."""

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
    #: Fields of different classes, by name.
    fields: dict[str, Any]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.show_oauth()
        item = self.instance
        has_any = item.secret_id is not None or consents.has_any(item.key)
        if not (item.transport == SMTP and has_any):
            del self.fields["remove_password"]
            self.fields["password"].help_text = _("It is stored encrypted, and never shown again.")
        self._show_references()

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
    def check_secret(self):
        """Require a secret, unless the saved one was entered for the same server and login."""
        fields = self._secret_fields()
        self._check_references(fields)
        missing = {name: key for name, key in fields.items() if not self.cleaned_data.get(key)}
        if not missing or self.removes_secret:
            return
        stored = self.stored_secret()
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

    def stored_secret(self):
        """The saved secret, or None if there is none of the kind that is needed."""
        if self._has_other_kind():
            return None
        return _saved_secret(self.instance)

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
        stored = self.stored_secret()
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
        saved = super().save(commit)
        if removed and not typed:
            revoke(item.key)
        return saved


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
