"""Causes of failed logins with a username and password."""

import ssl
from collections.abc import Callable

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.causes.base import Cause, Failure
from wagtail_smtp.exceptions import DestinationRefused, TokenRefused

#: Microsoft uses 5.7.139 for wrong passwords too.
_INCORRECT = "credentials were incorrect"


def _is_google(failure: Failure) -> bool:
    return failure.host.endswith(("gmail.com", "google.com")) or failure.says("gsmtp")


def is_switched_off(failure: Failure) -> bool:
    """Whether Microsoft has turned this login method off, whatever the password or token."""
    if failure.phase != "auth" or failure.says(_INCORRECT):
        return False
    return failure.has("5.7.30", "5.7.139") or failure.says(
        "SmtpClientAuthentication", "basic authentication is (disabled|not)"
    )


def _offers_no_login(failure: Failure) -> bool:
    return failure.phase == "auth" and "offers no supported login method" in failure.message


STARTTLS_NEEDED = (
    Cause(
        "login-needs-encryption",
        _("The server doesn't offer a login without encryption"),
        _("Choose STARTTLS with port 587, or SSL/TLS with port 465."),
        lambda f: _offers_no_login(f) and f.encryption == "none",
        (_("If the server needs no login, choose “None” as authentication."),),
    ),
    Cause(
        "login-without-encryption",
        _("Passwords are not sent over an unencrypted connection"),
        _(
            "Choose STARTTLS or SSL/TLS. If the server supports neither and you trust the network, "
            "a developer can set WAGTAIL_SMTP['ALLOW_PLAINTEXT_AUTH']."
        ),
        lambda f: f.phase == "auth" and "without TLS is not allowed" in f.message,
    ),
    Cause(
        "encryption-needed",
        _("The server requires an encrypted connection"),
        _("Choose STARTTLS, or SSL/TLS with port 465."),
        lambda f: (
            f.is_rejection
            and (
                f.has("5.7.10", "5.7.11")
                or f.says(
                    "starttls (command )?(first|is required)",
                    r"\b(tls|(session )?encryption) (is )?(required|needed)",
                )
            )
        ),
        example="530 5.7.0 Must issue a STARTTLS command first",
    ),
)

LOGIN = (
    Cause(
        "login-not-offered",
        _("The server doesn't offer a login"),
        _(
            "If the server recognises your site by its IP address, choose “None” as "
            "authentication. Otherwise use the port for sending with a login, usually 587 or 465."
        ),
        lambda f: _offers_no_login(f) and "none at all" in f.message,
        (
            _("Port 25 is meant for email between servers, and many offer no login there."),
            _("Relays inside an organisation often check IP addresses instead of passwords."),
        ),
    ),
    Cause(
        "login-method",
        _("The server doesn't accept this login method"),
        _(
            "Check which login method your email provider requires: a password, or OAuth 2. Some "
            "servers offer logins only on another port, usually 587 or 465."
        ),
        lambda f: (
            _offers_no_login(f) or (f.phase == "auth" and f.code in (500, 502, 503, 504, 538))
        ),
        (
            _(
                "Microsoft 365 and Exchange: authenticated SMTP is turned off for the "
                "organisation, mailbox or connector."
            ),
        ),
        "504 5.7.4 Unrecognized authentication type",
        guide=True,
    ),
    Cause(
        "app-password-needed",
        _("Google requires an app password"),
        _(
            "Google doesn't accept account passwords here. Turn on 2-Step Verification in the "
            "Google account, create an app password and enter it here. Or use OAuth 2."
        ),
        lambda f: (
            f.phase == "auth"
            and (
                f.says("application-specific password")
                or (_is_google(f) and f.has("5.7.8", "5.7.9", "5.7.14"))
            )
        ),
        (
            _("Open myaccount.google.com, go to “Security” and turn on “2-Step Verification”."),
            _("Open https://myaccount.google.com/apppasswords and create one for this site."),
            _("Enter its 16 letters as the password, without spaces, and test again."),
            _(
                "If the page says that app passwords are not available, your organisation doesn't "
                "allow them: use OAuth 2."
            ),
        ),
        "535 5.7.8 Username and Password not accepted. For more information, go to "
        "https://support.google.com/mail/?p=BadCredentials - gsmtp",
        guide=True,
    ),
    Cause(
        "basic-authentication-off",
        _("Microsoft has turned off password logins for this account"),
        _(
            "An administrator can allow “Authenticated SMTP” for this mailbox while Microsoft "
            "still offers it. The permanent fix is OAuth 2."
        ),
        is_switched_off,
        (
            _(
                "For this mailbox: admin.microsoft.com, “Active users”, the mailbox, “Mail”, "
                "“Manage email apps”, “Authenticated SMTP”."
            ),
            _("Security defaults and conditional access also block password logins."),
        ),
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the "
        "Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.",
        guide=True,
    ),
    Cause(
        "login-limited",
        _("Too many logins in a short time or at the same time"),
        _(
            "Wait a few minutes. If it keeps happening, ask a developer to lower "
            "WAGTAIL_SMTP['MAX_SESSIONS']."
        ),
        lambda f: (
            f.phase == "auth"
            and (f.code in (421, 432) or f.says("too many", r"\blimit", r"\brate\b"))
            and not f.has("4.7.12")
        ),
        (
            _(
                "Several wrong passwords in a row can lock an account for a while, so don't keep "
                "trying."
            ),
        ),
        "454 4.7.0 Too many login attempts, please try again later.",
    ),
    Cause(
        "login-unavailable",
        _("The server can't check logins right now"),
        _("Try again in a few minutes. If it keeps happening, tell the server's administrator."),
        lambda f: f.phase == "auth" and 400 <= f.code < 500,
        (_("The username and password may be right: the server didn't check them."),),
        "454 4.7.0 Temporary authentication failure: Connection lost to authentication server",
    ),
)


def _is_mailbox_unreachable(failure: Failure) -> bool:
    if not failure.is_mailbox or failure.phase not in ("connect", "tls", "banner", "starttls"):
        return False
    is_explained = isinstance(failure.error, DestinationRefused) or isinstance(
        failure.cause, ssl.SSLCertVerificationError
    )
    return failure.cause is not None and not is_explained


MAILBOX = (
    Cause(
        "mailbox-unreachable",
        _("The bounce mailbox's server can't be reached"),
        _(
            "Check the mailbox server, its port and encryption: the port is usually 993 for "
            "SSL/TLS and 143 for STARTTLS. If they are right, the server is down or a firewall is "
            "blocking the connection."
        ),
        _is_mailbox_unreachable,
    ),
    Cause(
        "mailbox-folder",
        _("The bounce mailbox has no such folder"),
        _("Check the spelling of the mailbox folder in the set. Bounces usually arrive in INBOX."),
        lambda f: f.phase == "folder",
        (_("The server may separate folders with a dot: INBOX.Bounces."),),
        "Mailbox doesn't exist: Bounces",
    ),
)

LOGIN_REFUSED = (
    Cause(
        "login-refused",
        _("The server refused the username or password"),
        _(
            "Check both. The username is often the full email address. Many email providers "
            "require an app password or SMTP key instead of the account's password."
        ),
        lambda f: f.phase == "auth" and f.is_rejection,
        (
            _("A space or line break was copied with the password."),
            _("The account's password has changed since it was entered here."),
            _(
                "Yahoo, AOL, iCloud, Fastmail and Zoho (with two-factor login) require an app "
                "password from the account's security settings."
            ),
            _(
                "GMX, WEB.DE and others: first allow other programs to send email, in the "
                "account's settings."
            ),
            _("Amazon SES, Brevo, Mailgun, SendGrid and others require their SMTP credentials."),
        ),
        "535 5.7.8 Error: authentication failed",
    ),
)


def _because(reason: str) -> Callable[[Failure], bool]:
    return lambda failure: (
        isinstance(failure.error, TokenRefused) and failure.error.reason == reason
    )


TOKENS = (
    Cause(
        "oauth-not-allowed",
        _("This site is not allowed to connect to the identity provider's address"),
        _(
            "Check the token address for typos. To protect your network, the site doesn't connect "
            "to internal addresses. A developer can allow them with "
            "WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        ),
        _because("not-allowed"),
    ),
    Cause(
        "oauth-unreachable",
        _("The identity provider doesn't respond"),
        _(
            "It could not be reached, or is out of order. The site tries again automatically. If "
            "it keeps happening, check that your site's server is allowed to connect to it."
        ),
        _because("unreachable"),
    ),
    Cause(
        "oauth-secret-expired",
        _("The client secret has expired"),
        _(
            "Create a new one in the identity provider's console. Enter it in the settings set, "
            "save, and use “Reload application”. Put its expiry date in your calendar."
        ),
        _because("secret-expired"),
        example="invalid_client: AADSTS7000222: The provided client secret keys are expired.",
        guide=True,
    ),
    Cause(
        "oauth-client-refused",
        _("The identity provider doesn't know this client, or the client secret is wrong"),
        _(
            "Check the tenant and client ID. Enter the value of the client secret, not its ID. The "
            "value is shown only once: if you have lost it, create a new secret."
        ),
        _because("client-refused"),
        example="invalid_client: AADSTS7000215: Invalid client secret provided.",
        guide=True,
    ),
    Cause(
        "oauth-admin-consent-needed",
        _("An administrator of your organisation must give consent"),
        _(
            "Ask an administrator to click “Connect” on the settings set's page, or to grant the "
            "permission in the organisation's console."
        ),
        _because("admin-consent-needed"),
        example="access_denied: AADSTS90094: The grant requires admin permission.",
        guide=True,
    ),
    Cause(
        "oauth-consent-needed",
        _("No one has allowed this site to send email yet"),
        _("Open the settings set, save it and click “Connect”."),
        _because("consent-needed"),
    ),
    Cause(
        "oauth-consent-ended",
        _("The consent is no longer valid"),
        _(
            "It was withdrawn, it has expired, or the account's password was changed. Open the "
            "settings set and click “Connect” again. For a service account, check the clock of "
            "your site's server, and that the key still exists."
        ),
        _because("consent-ended"),
        example="invalid_grant: Token has been expired or revoked.",
        guide=True,
    ),
    Cause(
        "oauth-consent-denied",
        _("Consent was declined"),
        _("Click “Connect” again, log in to the mailbox that sends the email, and allow access."),
        _because("consent-denied"),
    ),
    Cause(
        "oauth-not-delegated",
        _("This client is not allowed to send for the mailbox"),
        _(
            "Google: in the Admin console, under “Domain-wide delegation”, add the service "
            "account's client ID with the scope https://mail.google.com/. Other identity "
            "providers: allow the client to log in this way."
        ),
        _because("not-delegated"),
        example="unauthorized_client: Client is unauthorized to retrieve access tokens using "
        "this method.",
        guide=True,
    ),
    Cause(
        "oauth-mailbox-unknown",
        _("The identity provider doesn't know this mailbox"),
        _("Check the username. It must be the full address of a mailbox in your organisation."),
        _because("mailbox-unknown"),
        example="invalid_grant: Invalid email or User ID",
    ),
    Cause(
        "oauth-refused",
        _("The identity provider didn't issue an access token"),
        _(
            "Its response says why. Compare the scope and addresses with the identity provider's "
            "instructions."
        ),
        lambda failure: isinstance(failure.error, TokenRefused),
        guide=True,
    ),
)


def _is_oauth_login(failure: Failure) -> bool:
    return failure.phase == "auth" and failure.uses_oauth


LOGIN_WITH_TOKEN = (
    Cause(
        "smtp-auth-disabled",
        _("Authenticated SMTP is turned off for the organisation or mailbox"),
        _(
            "In the Microsoft 365 admin center, open the mailbox, “Mail” and “Manage email apps”, "
            "and turn on “Authenticated SMTP”. This works even if it is off for the whole "
            "organisation. Security defaults also turn it off."
        ),
        lambda f: _is_oauth_login(f) and is_switched_off(f),
        example="535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled "
        "for the Mailbox.",
        guide=True,
    ),
    Cause(
        "token-refused",
        _("The server doesn't accept the access token"),
        _(
            "The username must be the mailbox that the token is for, and the mailbox needs a "
            "licence. If the site logs in as itself, an administrator must give the client access "
            "to the mailbox. The scope must be the one for SMTP."
        ),
        lambda f: _is_oauth_login(f) and f.code in (535, 534, 550, 554),
        example="535 5.7.3 Authentication unsuccessful",
        guide=True,
    ),
)
