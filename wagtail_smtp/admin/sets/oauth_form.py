"""The OAuth 2 fields of a set's form; the identity provider and flow decide which are shown."""

import json
from dataclasses import asdict

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables
from wagtail.admin.panels import FieldPanel, MultiFieldPanel
from wagtail.admin.widgets import AdminDateInput

from wagtail_smtp.admin.sets.consent import ConsentPanel
from wagtail_smtp.admin.sets.secret_field import ReferableField, SecretTextarea
from wagtail_smtp.config.oauth import CHOICES, FLOWS, LABELS, OAuth, service_account
from wagtail_smtp.config.references import Reference
from wagtail_smtp.models import SettingsSet

#: On a panel: the kinds of authentication that it is shown for, separated by spaces.
LOGIN = "data-wsmtp-login"
#: Posted fields that must not appear in error reports.
SECRET_FIELDS = ("oauth_client_secret", "oauth_service_account")


class OAuthFields(forms.Form):
    """Mixed into the form of a set; values are kept in ``SettingsSet.oauth``."""

    instance: SettingsSet

    oauth_provider = forms.ChoiceField(
        label=LABELS["provider"], required=False, choices=list(CHOICES["provider"].items())
    )
    oauth_flow = forms.ChoiceField(
        label=LABELS["flow"], required=False, choices=list(CHOICES["flow"].items())
    )
    oauth_cloud = forms.ChoiceField(
        label=LABELS["cloud"], required=False, choices=list(CHOICES["cloud"].items())
    )
    oauth_tenant = forms.CharField(
        label=LABELS["tenant"],
        required=False,
        max_length=253,
        help_text=gettext_lazy("From the app's overview in Microsoft Entra."),
    )
    oauth_client_id = forms.CharField(
        label=LABELS["client_id"],
        required=False,
        max_length=255,
        help_text=gettext_lazy("Microsoft calls it “Application (client) ID”."),
    )
    oauth_client_secret = ReferableField(
        label=gettext_lazy("Client secret"),
        help_text=gettext_lazy(
            "The secret's value, not its ID. Leave empty to keep the saved one, which is never "
            "shown. If you change the server, the username or a field above, enter it again."
        ),
    )
    oauth_secret_expires_on = forms.DateField(
        label=LABELS["secret_expires_on"],
        required=False,
        widget=AdminDateInput,
        help_text=gettext_lazy(
            "Optional. An alert reminds you 30 days, a week and a day before. Microsoft shows the "
            "date next to the secret."
        ),
    )
    oauth_service_account = ReferableField(
        label=gettext_lazy("Service account key"),
        max_length=20_000,
        widget=SecretTextarea(attrs={"rows": 4, "autocomplete": "off", "spellcheck": "false"}),
        help_text=gettext_lazy(
            "Paste the whole JSON file that you downloaded from Google. Leave empty to keep the "
            "saved key, which is never shown."
        ),
    )
    oauth_authorize_url = forms.CharField(
        label=LABELS["authorize_url"],
        required=False,
        max_length=2000,
        help_text=gettext_lazy("Where you give consent, e.g. https://login.example.com/authorize."),
    )
    oauth_token_url = forms.CharField(
        label=LABELS["token_url"],
        required=False,
        max_length=2000,
        help_text=gettext_lazy("Where the site gets tokens, e.g. https://login.example.com/token."),
    )
    oauth_scope = forms.CharField(
        label=LABELS["scope"],
        required=False,
        max_length=1000,
        help_text=gettext_lazy(
            "The identity provider's scope for sending by SMTP. For a consent, most also need "
            "offline_access; without it, access ends within the hour."
        ),
    )

    def show_oauth(self):
        """Fill the OAuth 2 fields with the stored values."""
        self.fields["oauth_provider"].widget.attrs["data-flows"] = json.dumps(FLOWS)
        shown = asdict(OAuth(cloud="global")) | dict(self.instance.oauth or {})
        for name in OAuth.__slots__:
            self.fields[f"oauth_{name}"].initial = shown[name]

    @sensitive_variables()
    def clean_oauth_service_account(self):
        """Return a typed key as it is stored; a reference or an empty value unchanged."""
        entered = self.cleaned_data["oauth_service_account"]
        if not entered or isinstance(entered, Reference):
            return entered
        try:
            return service_account(entered)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def unused_oauth(self, cleaned):
        """The fields that are hidden because the chosen options don't use them."""
        every = {f"oauth_{name}" for name in OAuth.__slots__} | set(SECRET_FIELDS)
        if cleaned.get("authentication") != "oauth2":
            return every
        chosen = [cleaned.get("oauth_provider"), cleaned.get("oauth_flow")]
        if not all(chosen):
            return set()
        settings = OAuth(*chosen)
        used = {f"oauth_{name}" for name in ("provider", "flow", *settings.used())}
        return every - used - {secret_field(settings)}

    def oauth_values(self, cleaned):
        """The typed values for ``SettingsSet.oauth``."""
        if cleaned.get("authentication") != "oauth2":
            return {}
        typed = {name: str(cleaned.get(f"oauth_{name}") or "") for name in OAuth.__slots__}
        return OAuth(**typed).as_dict()

    def oauth_needs_secret(self):
        """Whether a login needs a secret; only a public client with a consent doesn't."""
        return not self.instance.oauth or OAuth.of(self.instance.oauth).needs_secret


def secret_field(settings):
    """The field for the secret that a login method uses."""
    is_account = settings.flow == "service_account"
    return "oauth_service_account" if is_account else "oauth_client_secret"


def _only(name: str, *when: str):
    """A field that is shown for some identity providers, or for a provider and login method."""
    return FieldPanel(f"oauth_{name}", attrs={"data-oauth-when": " ".join(when)})


OAUTH_PANEL = MultiFieldPanel(
    [
        FieldPanel("oauth_provider"),
        FieldPanel("oauth_flow"),
        _only("cloud", "microsoft"),
        _only("tenant", "microsoft"),
        _only("client_id", "microsoft", "other", "google-consent"),
        _only("client_secret", "microsoft", "other", "google-consent"),
        _only("secret_expires_on", "microsoft", "other", "google-consent"),
        _only("service_account", "google-service_account"),
        _only("authorize_url", "other-consent"),
        _only("token_url", "other"),
        _only("scope", "other"),
        ConsentPanel(heading=gettext_lazy("Access token")),
    ],
    heading=gettext_lazy("OAuth 2"),
    help_text=gettext_lazy(
        "The username above is the mailbox that logs in. The sender address below can differ if "
        "this mailbox is allowed to send from it."
    ),
    attrs={LOGIN: "oauth2"},
)
