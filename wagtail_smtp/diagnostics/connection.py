"""Causes before a message is handed over: network, encryption, login."""

import smtplib
import socket
import ssl
from collections.abc import Callable

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.failure import Cause, Failure
from wagtail_smtp.exceptions import DestinationRefused, SecretError


def _is_timeout(failure: Failure) -> bool:
    return isinstance(failure.cause, TimeoutError)


def _certificate(*verify_codes: int) -> Callable[[Failure], bool]:
    def fits(failure: Failure) -> bool:
        cause = failure.cause
        return isinstance(cause, ssl.SSLCertVerificationError) and (
            not verify_codes or cause.verify_code in verify_codes
        )

    return fits


def _is_plain_text_where_tls_was_expected(failure: Failure) -> bool:
    if failure.phase != "tls" or failure.security != "ssl":
        return False
    return isinstance(failure.cause, ssl.SSLError) and not isinstance(
        failure.cause, ssl.SSLCertVerificationError
    )


def _is_tls_where_plain_text_was_expected(failure: Failure) -> bool:
    return failure.phase == "banner" and failure.security != "ssl" and failure.code == 0


def _is_google(failure: Failure) -> bool:
    return failure.host.endswith(("gmail.com", "google.com")) or failure.says("gsmtp")


NETWORK = (
    Cause(
        "not-allowed",
        _("This address may not be connected to"),
        _(
            "For safety the site connects to internal addresses on mail ports only, and never to "
            "some. A developer can allow more with WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        ),
        lambda failure: isinstance(failure.error, DestinationRefused),
    ),
    Cause(
        "password-unreadable",
        _("The stored password can't be used"),
        _("Open the settings set, enter the password again, save and reload."),
        lambda failure: isinstance(failure.error, SecretError),
    ),
    Cause(
        "sessions-in-use",
        _("All connections to the server were in use"),
        _(
            "Try again in a moment. If it stays, raise WAGTAIL_SMTP['MAX_SESSIONS'], as far as "
            "the server allows."
        ),
        lambda failure: failure.phase == "pool",
    ),
    Cause(
        "provider-not-found",
        _("The provider's server was not found"),
        _(
            "The machine that the site runs on can't look up the provider's name. Check its access "
            "to the internet, and the address of the provider if the set names one."
        ),
        lambda f: f.is_provider and isinstance(f.cause, socket.gaierror | UnicodeError),
    ),
    Cause(
        "name-not-found",
        _("No server has this name"),
        _("Check the network host for typing errors, for example smtp.example.com."),
        lambda failure: isinstance(failure.cause, socket.gaierror | UnicodeError),
    ),
    Cause(
        "refused",
        _("The server is there, but doesn't listen on this port"),
        _(
            "Check the port: 587 for STARTTLS and 465 for SSL/TLS are usual. If they are right, "
            "the server is down, or a firewall refuses the connection."
        ),
        lambda failure: isinstance(failure.cause, ConnectionRefusedError),
    ),
    Cause(
        "port-25-blocked",
        _("No answer on port 25"),
        _("Most hosting providers block port 25. Use port 587 with STARTTLS, or 465 with SSL/TLS."),
        lambda f: f.phase == "connect" and _is_timeout(f) and f.port == 25,
    ),
    Cause(
        "port-465-blocked",
        _("No answer on port 465"),
        _("A firewall may block it. Try port 587 with STARTTLS."),
        lambda f: f.phase == "connect" and _is_timeout(f) and f.port == 465,
    ),
    Cause(
        "port-587-blocked",
        _("No answer on port 587"),
        _("A firewall may block it. Try port 465 with SSL/TLS, or 2525 where the provider has it."),
        lambda f: f.phase == "connect" and _is_timeout(f) and f.port == 587,
    ),
    Cause(
        "no-answer",
        _("The server doesn't answer"),
        _("Check host and port. A firewall of this site or of the server may be in between."),
        lambda f: f.phase == "connect",
    ),
)

ENCRYPTION = (
    Cause(
        "ssl-on-starttls-port",
        _("This port begins without encryption"),
        _("Choose STARTTLS for this port, or port 465 for SSL/TLS."),
        _is_plain_text_where_tls_was_expected,
    ),
    Cause(
        "starttls-on-ssl-port",
        _("This port expects encryption from the first byte"),
        _("Choose SSL/TLS for this port, or port 587 for STARTTLS."),
        lambda f: _is_tls_where_plain_text_was_expected(f) and f.port == 465,
    ),
    Cause(
        "no-greeting",
        _("The server took the connection but didn't greet"),
        _(
            "The port may expect SSL/TLS from the first byte: choose SSL/TLS, or port 587 for "
            "STARTTLS. Or it is no mail server."
        ),
        _is_tls_where_plain_text_was_expected,
    ),
    Cause(
        "starttls-not-offered",
        _("The server offers no STARTTLS"),
        _(
            "Choose port 465 with SSL/TLS if the server has it. The site never falls back to "
            "plain text, since passwords and messages could be read on the way."
        ),
        lambda f: f.phase == "starttls" and isinstance(f.cause, smtplib.SMTPNotSupportedError),
    ),
    Cause(
        "certificate-expired",
        _("The server's certificate has expired"),
        _("Whoever runs the server has to renew it. Until then no mail can safely be sent there."),
        _certificate(10),
    ),
    Cause(
        "certificate-wrong-name",
        _("The server's certificate is for another name"),
        _("Enter the name that the provider gives for its server, not an IP address or an alias."),
        _certificate(62, 64),
    ),
    Cause(
        "certificate-unknown-issuer",
        _("The server's certificate was signed by nobody the site trusts"),
        _(
            "For a server of your own, enter its authority's certificate under “More settings”. "
            "For a public provider, somebody may be between: ask before you go on."
        ),
        _certificate(),
    ),
    Cause(
        "encryption-failed",
        _("No encrypted connection came about"),
        _("The server may be too old for TLS 1.2, or the port is no mail port."),
        lambda f: f.phase in ("tls", "starttls"),
    ),
)

LOGIN = (
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
                or (_is_google(f) and f.has("5.7.8", "5.7.9"))
            )
        ),
    ),
    Cause(
        "basic-authentication-off",
        _("Microsoft has switched off password logins for this account"),
        _(
            "An administrator can allow “Authenticated SMTP” for this mailbox as long as "
            "Microsoft offers it; the lasting remedy is OAuth 2."
        ),
        lambda f: (
            f.phase == "auth"
            and (f.has("5.7.30", "5.7.139") or f.says("basic authentication is (disabled|not)"))
        ),
    ),
    Cause(
        "login-limited",
        _("Too many logins at once or in a short time"),
        _("Wait a few minutes. If it stays, lower WAGTAIL_SMTP['MAX_SESSIONS']."),
        lambda f: f.phase == "auth" and (f.code in (421, 432, 454) or f.says("too many")),
    ),
    Cause(
        "login-refused",
        _("The server refused the username or password"),
        _(
            "Check both; the username is often the whole email address. Many providers want a "
            "password made for programs (an app password or SMTP key) instead of the account's."
        ),
        lambda f: f.phase == "auth",
    ),
)
