"""Server presets: the form values and a hint for well-known servers.

The values are from the providers' documentation. Port 465 with SSL/TLS is preferred where it is
available (RFC 8314 3.3).
"""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.config import oauth
from wagtail_smtp.config.values import Authentication, Encryption


@dataclass(frozen=True, slots=True)
class Preset:
    """The values for a server. ``username`` is set if it is the same for all customers.

    ``oauth_provider`` is its identity provider if it supports OAuth 2; ``oauth_hint`` then replaces
    ``hint``. ``prefers_oauth`` is true if password logins are being phased out.
    """

    slug: str
    label: Any
    host: str
    hint: Any = ""
    port: int = 465
    encryption: Encryption = "ssl"
    authentication: Authentication = "password"
    username: str = ""
    oauth_provider: str = ""
    oauth_hint: Any = ""
    prefers_oauth: bool = False

    def fields(self) -> dict[str, str]:
        """The values by form field."""
        return {
            "host": self.host,
            "port": str(self.port),
            "encryption": self.encryption,
            "authentication": self.authentication,
            "username": self.username,
        }

    def for_form(self) -> dict[str, str]:
        """Everything that the form's script fills in or shows."""
        shown = {"oauth_provider": self.oauth_provider, "hint": str(self.hint)}
        shown["oauth_hint"] = str(self.oauth_hint or self.hint)
        if self.prefers_oauth and oauth.is_installed():
            shown["authentication"] = "oauth2"
        return self.fields() | shown


_KEY = _("Enter an SMTP key as the password, not your account's password.")
_APP_PASSWORD = _(
    "Enter an app password as the password. You create it in your account's security settings."
)

PRESETS = (
    Preset(
        "google",
        "Google Workspace, Gmail",
        "smtp.gmail.com",
        _(
            "Enter your full email address as the username and an app password as the password. "
            "App passwords need 2-Step Verification; your account's password doesn't work."
        ),
        oauth_provider="google",
        oauth_hint=_(
            "Enter the sending mailbox's full email address as the username. See “OAuth 2” below "
            "for what to create at Google."
        ),
    ),
    Preset(
        "microsoft",
        "Microsoft 365",
        "smtp.office365.com",
        _(
            "An administrator has to allow “Authenticated SMTP” for the mailbox. Choose OAuth 2: "
            "Microsoft turns password logins off by default at the end of December 2026."
        ),
        587,
        "starttls",
        oauth_provider="microsoft",
        oauth_hint=_(
            "Enter the sending mailbox as the username. An administrator has to allow "
            "“Authenticated SMTP” for it. See “OAuth 2” below for what to register at Microsoft."
        ),
        prefers_oauth=True,
    ),
    Preset(
        "amazon-ses",
        "Amazon SES",
        "email-smtp.eu-west-1.amazonaws.com",
        _(
            "Replace the region in the host with yours. Enter SMTP credentials from the SES "
            "console, not access keys. Sender addresses must be verified."
        ),
    ),
    Preset("brevo", "Brevo", "smtp-relay.brevo.com", _KEY),
    Preset(
        "mailgun",
        "Mailgun",
        "smtp.mailgun.org",
        _("In the EU region, use the host smtp.eu.mailgun.org. Each domain has its own login."),
    ),
    Preset(
        "mailjet",
        "Mailjet",
        "in-v3.mailjet.com",
        _("Enter the API key as the username and the secret key as the password."),
    ),
    Preset(
        "postmark",
        "Postmark",
        "smtp.postmarkapp.com",
        _("Enter the server's API token as both username and password."),
        587,
        "starttls",
    ),
    Preset(
        "sendgrid",
        "SendGrid",
        "smtp.sendgrid.net",
        _("Keep the username “apikey” and enter an API key as the password."),
        username="apikey",
    ),
    Preset(
        "sparkpost",
        "SparkPost",
        "smtp.sparkpostmail.com",
        _(
            "Enter an API key as the password. In the EU region, use the host "
            "smtp.eu.sparkpostmail.com."
        ),
        587,
        "starttls",
        username="SMTP_Injection",
    ),
    Preset(
        "resend",
        "Resend",
        "smtp.resend.com",
        _("Keep the username “resend” and enter an API key as the password."),
        username="resend",
    ),
    Preset(
        "zoho",
        "Zoho Mail",
        "smtp.zoho.com",
        _("In the EU region, use the host smtp.zoho.eu. Paid accounts use smtppro.zoho.com."),
    ),
    Preset("fastmail", "Fastmail", "smtp.fastmail.com", _APP_PASSWORD),
    Preset("icloud", "iCloud Mail", "smtp.mail.me.com", _APP_PASSWORD, 587, "starttls"),
    Preset("yahoo", "Yahoo Mail", "smtp.mail.yahoo.com", _APP_PASSWORD),
    Preset("ovh", "OVHcloud", "ssl0.ovh.net", _("Enter your full email address as the username.")),
    Preset(
        "infomaniak",
        "Infomaniak",
        "mail.infomaniak.com",
        _("Enter your full email address as the username."),
    ),
    Preset(
        "proton-bridge",
        "Proton Mail Bridge",
        "127.0.0.1",
        _(
            "Enter the username and password that Bridge shows. Export its certificate and enter "
            "it under “More settings”. Ask a developer to add 127.0.0.0/8 to "
            "WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        ),
        1025,
        "starttls",
    ),
    Preset(
        "local-relay",
        _("A relay on this machine"),
        "localhost",
        _("A mail server on the same machine that accepts email from the site without a login."),
        25,
        "none",
        "none",
    ),
)
