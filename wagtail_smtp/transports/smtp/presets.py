"""Well-known servers: what a preset fills into the form, and what its users should know.

Port 465 with SSL/TLS stands where the provider offers it (RFC 8314 3.3). The values are those of
the providers' own documentation.
"""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.config import oauth
from wagtail_smtp.config.values import Authentication, Encryption


@dataclass(frozen=True, slots=True)
class Preset:
    """A server to begin with. ``username`` is what the provider prescribes for everybody.

    ``oauth_provider`` is its identity provider, if it has OAuth 2, with ``oauth_hint`` instead of
    ``hint``; ``prefers_oauth``: a password is on its way out there.
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
        """The form's fields with their values."""
        return {
            "host": self.host,
            "port": str(self.port),
            "encryption": self.encryption,
            "authentication": self.authentication,
            "username": self.username,
        }

    def for_form(self) -> dict[str, str]:
        """All that the form's script fills in and shows."""
        shown = {"oauth_provider": self.oauth_provider, "hint": str(self.hint)}
        shown["oauth_hint"] = str(self.oauth_hint or self.hint)
        if self.prefers_oauth and oauth.is_installed(self.oauth_provider):
            shown["authentication"] = "oauth2"
        return self.fields() | shown


_KEY = _("The password is an SMTP key made for programs, not that of the account.")
_APP_PASSWORD = _("The password is an app password, made in the account's security settings.")

PRESETS = (
    Preset(
        "google",
        "Google Workspace, Gmail",
        "smtp.gmail.com",
        _(
            "The username is the full email address. Google takes an app password (with 2-Step "
            "Verification turned on), not that of the account."
        ),
        oauth_provider="google",
        oauth_hint=_(
            "The username is the full email address of the mailbox that sends. What to create at "
            "Google is described under “OAuth 2” below."
        ),
    ),
    Preset(
        "microsoft",
        "Microsoft 365",
        "smtp.office365.com",
        _(
            "An administrator has to allow “Authenticated SMTP” for the mailbox. Microsoft "
            "switches password logins off by default from the end of December 2026: choose "
            "OAuth 2."
        ),
        587,
        "starttls",
        oauth_provider="microsoft",
        oauth_hint=_(
            "The username is the mailbox that sends. An administrator has to allow “Authenticated "
            "SMTP” for it. What to register at Microsoft is described under “OAuth 2” below."
        ),
        prefers_oauth=True,
    ),
    Preset(
        "amazon-ses",
        "Amazon SES",
        "email-smtp.eu-west-1.amazonaws.com",
        _(
            "Replace the region in the host by yours. Username and password are the SMTP "
            "credentials made in the SES console, not access keys. Sender addresses must be "
            "verified."
        ),
    ),
    Preset("brevo", "Brevo", "smtp-relay.brevo.com", _KEY),
    Preset(
        "mailgun",
        "Mailgun",
        "smtp.mailgun.org",
        _("In the EU region the host is smtp.eu.mailgun.org. The login belongs to a domain."),
    ),
    Preset(
        "mailjet",
        "Mailjet",
        "in-v3.mailjet.com",
        _("The username is the API key, the password the secret key."),
    ),
    Preset(
        "postmark",
        "Postmark",
        "smtp.postmarkapp.com",
        _("Username and password are both the server's API token."),
        587,
        "starttls",
    ),
    Preset(
        "sendgrid",
        "SendGrid",
        "smtp.sendgrid.net",
        _("The username is the word “apikey”, the password an API key."),
        username="apikey",
    ),
    Preset(
        "sparkpost",
        "SparkPost",
        "smtp.sparkpostmail.com",
        _("The password is an API key. In the EU region the host is smtp.eu.sparkpostmail.com."),
        587,
        "starttls",
        username="SMTP_Injection",
    ),
    Preset(
        "resend",
        "Resend",
        "smtp.resend.com",
        _("The username is the word “resend”, the password an API key."),
        username="resend",
    ),
    Preset(
        "zoho",
        "Zoho Mail",
        "smtp.zoho.com",
        _("In the EU region the host is smtp.zoho.eu; paid accounts use smtppro.zoho.com."),
    ),
    Preset("fastmail", "Fastmail", "smtp.fastmail.com", _APP_PASSWORD),
    Preset("icloud", "iCloud Mail", "smtp.mail.me.com", _APP_PASSWORD, 587, "starttls"),
    Preset("yahoo", "Yahoo Mail", "smtp.mail.yahoo.com", _APP_PASSWORD),
    Preset("ovh", "OVHcloud", "ssl0.ovh.net", _("The username is the full email address.")),
    Preset(
        "infomaniak",
        "Infomaniak",
        "mail.infomaniak.com",
        _("The username is the full email address."),
    ),
    Preset(
        "proton-bridge",
        "Proton Mail Bridge",
        "127.0.0.1",
        _(
            "Bridge runs on this machine and shows username and password of its own. Its "
            "certificate can be exported there and entered under “More settings”. A developer "
            "has to add 127.0.0.0/8 to WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        ),
        1025,
        "starttls",
    ),
    Preset(
        "local-relay",
        _("A relay on this machine"),
        "localhost",
        _("For a mail server that runs beside the site and sends for it without a login."),
        25,
        "none",
        "none",
    ),
)
