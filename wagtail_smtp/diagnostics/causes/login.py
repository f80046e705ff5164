"""Causes around the login with a username and password."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.causes.base import Cause, Failure

#: Microsoft uses 5.7.139 for wrong passwords too.
_INCORRECT = "credentials were incorrect"


def _is_google(failure: Failure) -> bool:
    return failure.host.endswith(("gmail.com", "google.com")) or failure.says("gsmtp")


def is_switched_off(failure: Failure) -> bool:
    """Whether Microsoft lets nobody log in this way, whatever the password or token."""
    if failure.phase != "auth" or failure.says(_INCORRECT):
        return False
    return failure.has("5.7.30", "5.7.139") or failure.says(
        "SmtpClientAuthentication", "basic authentication is (disabled|not)"
    )


def _offers_nothing(failure: Failure) -> bool:
    return failure.phase == "auth" and "offers no way to log in" in failure.message


STARTTLS_NEEDED = (
    Cause(
        "login-needs-encryption",
        _("The server offers no login without encryption"),
        _("Choose STARTTLS with port 587, or SSL/TLS with port 465."),
        lambda f: _offers_nothing(f) and f.security == "none",
        (_("If the server has no login at all, choose “None” as authentication."),),
    ),
    Cause(
        "login-without-encryption",
        _("The site sends no password over an unencrypted connection"),
        _(
            "Choose STARTTLS or SSL/TLS. If the server has neither and the network is a trusted "
            "one, a developer can set WAGTAIL_SMTP['ALLOW_PLAINTEXT_AUTH']."
        ),
        lambda f: f.phase == "auth" and "without TLS is refused" in f.message,
    ),
    Cause(
        "encryption-needed",
        _("The server wants an encrypted connection first"),
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
        _("The server offers no login"),
        _(
            "Choose “None” as authentication if the server knows this site by its address. "
            "Otherwise use the port for programs that send mail, usually 587 or 465."
        ),
        lambda f: _offers_nothing(f) and "none at all" in f.message,
        (
            _("Port 25 is meant for mail between servers; many offer no login there."),
            _("Relays inside an organisation often trust addresses instead of passwords."),
        ),
    ),
    Cause(
        "login-method",
        _("The server doesn't accept this way to log in"),
        _(
            "Check which kind of login the provider wants: a password, or OAuth 2. Some servers "
            "have logins only on another port, usually 587 or 465."
        ),
        lambda f: _offers_nothing(f) or (f.phase == "auth" and f.code in (500, 502, 503, 504, 538)),
        (
            _(
                "Microsoft 365 and Exchange: authenticated SMTP is off for the organisation, the "
                "mailbox or the connector."
            ),
        ),
        "504 5.7.4 Unrecognized authentication type",
        guide=True,
    ),
    Cause(
        "app-password-needed",
        _("Google wants an app password"),
        _(
            "Google takes no account passwords here. Turn on 2-Step Verification in the Google "
            "account, create an app password, and enter that. Or use OAuth 2."
        ),
        lambda f: (
            f.phase == "auth"
            and (
                f.says("application-specific password")
                or (_is_google(f) and f.has("5.7.8", "5.7.9", "5.7.14"))
            )
        ),
        (
            _("Open myaccount.google.com, “Security”, and turn on “2-Step Verification”."),
            _("Open https://myaccount.google.com/apppasswords and create one for this site."),
            _("Enter its 16 letters as the password, without spaces, and test again."),
            _(
                "If the page says that app passwords are not available, the organisation doesn't "
                "allow them: use OAuth 2."
            ),
        ),
        "535 5.7.8 Username and Password not accepted. For more information, go to "
        "https://support.google.com/mail/?p=BadCredentials - gsmtp",
        guide=True,
    ),
    Cause(
        "basic-authentication-off",
        _("Microsoft has switched off password logins for this account"),
        _(
            "An administrator can allow “Authenticated SMTP” for this mailbox as long as "
            "Microsoft offers it; the lasting remedy is OAuth 2."
        ),
        is_switched_off,
        (
            _(
                "For this mailbox: admin.microsoft.com, “Active users”, the mailbox, “Mail”, "
                "“Manage email apps”, “Authenticated SMTP”."
            ),
            _("Security defaults and conditional access block password logins as well."),
        ),
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the "
        "Tenant. Visit https://aka.ms/smtp_auth_disabled for more information.",
        guide=True,
    ),
    Cause(
        "login-limited",
        _("Too many logins at once or in a short time"),
        _("Wait a few minutes. If it stays, lower WAGTAIL_SMTP['MAX_SESSIONS']."),
        lambda f: (
            f.phase == "auth"
            and (f.code in (421, 432) or f.says("too many", r"\blimit", r"\brate\b"))
            and not f.has("4.7.12")
        ),
        (_("Several wrong passwords in a row lock an account for a while: don't keep trying."),),
        "454 4.7.0 Too many login attempts, please try again later.",
    ),
    Cause(
        "login-unavailable",
        _("The server can't check logins at the moment"),
        _("Try again in a few minutes. If it stays, tell the server's administrator."),
        lambda f: f.phase == "auth" and 400 <= f.code < 500,
        (_("The username and password may be right: the server didn't look at them."),),
        "454 4.7.0 Temporary authentication failure: Connection lost to authentication server",
    ),
)

LOGIN_REFUSED = (
    Cause(
        "login-refused",
        _("The server refused the username or password"),
        _(
            "Check both; the username is often the whole email address. Many providers want a "
            "password made for programs (an app password or SMTP key) instead of the account's."
        ),
        lambda f: f.phase == "auth" and f.is_rejection,
        (
            _("A space or line break was copied along with the password."),
            _("The account's password was changed since it was entered here."),
            _(
                "Yahoo, AOL, iCloud, Fastmail and Zoho (with two-factor login) want an app "
                "password, made in the account's security settings."
            ),
            _("GMX, WEB.DE and others: sending by other programs has to be turned on first."),
            _("Amazon SES, Brevo, Mailgun, SendGrid and others want their SMTP credentials."),
        ),
        "535 5.7.8 Error: authentication failed",
    ),
)
