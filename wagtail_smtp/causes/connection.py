"""Causes before the login: network, greeting and encryption."""

import smtplib
import socket
import ssl
from collections.abc import Callable

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.causes.base import Cause, Failure
from wagtail_smtp.exceptions import DestinationRefused, ReferenceUnreadable, SecretError


def _is_lookup_failed(failure: Failure) -> bool:
    cause = failure.cause
    return isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN


def _certificate(*verify_codes: int) -> Callable[[Failure], bool]:
    def fits(failure: Failure) -> bool:
        cause = failure.cause
        return isinstance(cause, ssl.SSLCertVerificationError) and (
            not verify_codes or cause.verify_code in verify_codes
        )

    return fits


def _is_plain_text_where_tls_was_expected(failure: Failure) -> bool:
    if failure.phase != "tls" or failure.encryption != "ssl":
        return False
    return isinstance(failure.cause, ssl.SSLError) and not isinstance(
        failure.cause, ssl.SSLCertVerificationError
    )


def _is_tls_where_plain_text_was_expected(failure: Failure) -> bool:
    return failure.phase == "banner" and failure.encryption != "ssl" and failure.code == 0


NETWORK = (
    Cause(
        "standard-not-configured",
        _("The project's settings don't name a mail server"),
        _(
            "Ask a developer to set EMAIL_HOST and the related settings, or "
            "WAGTAIL_SMTP['STANDARD']. Password resets need them. For other email, you can add a "
            "settings set under “SMTP settings” instead."
        ),
        lambda failure: failure.phase == "connect" and not failure.is_configured,
    ),
    Cause(
        "not-allowed",
        _("This site is not allowed to connect to this address"),
        _(
            "To protect your network, the site connects to internal addresses on mail ports only, "
            "and never to some addresses. A developer can allow more with "
            "WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        ),
        lambda failure: isinstance(failure.error, DestinationRefused),
    ),
    Cause(
        "reference-unreadable",
        _("The password can't be read from its environment variable or file"),
        _(
            "Ask a developer to set the variable, or to provide the file, for every process of the "
            "site. After setting a variable, restart them. The error names the variable or file."
        ),
        lambda failure: isinstance(failure.error, ReferenceUnreadable),
    ),
    Cause(
        "password-unreadable",
        _("The saved password can't be used"),
        _(
            "Open the settings set, enter the password again and save. Then use “Reload "
            "application”."
        ),
        lambda failure: isinstance(failure.error, SecretError),
    ),
    Cause(
        "sessions-in-use",
        _("All connections to the server were busy"),
        _(
            "Try again in a moment. If it keeps happening, ask a developer to raise "
            "WAGTAIL_SMTP['MAX_SESSIONS'], up to the server's own limit."
        ),
        lambda failure: failure.phase == "pool",
    ),
    Cause(
        "provider-not-found",
        _("The email provider's server was not found"),
        _(
            "Your site's server can't look up the email provider's name. Check its internet "
            "access. If the settings set contains the provider's address, check that too."
        ),
        lambda f: f.uses_esp and isinstance(f.cause, socket.gaierror | UnicodeError),
    ),
    Cause(
        "lookup-failed",
        _("The server's name could not be looked up"),
        _(
            "Your site's server got no response from its DNS servers. Try again in a moment. If it "
            "happens again, ask a developer to check the DNS settings."
        ),
        _is_lookup_failed,
        example="[Errno -3] Temporary failure in name resolution",
    ),
    Cause(
        "name-not-found",
        _("There is no server with this name"),
        _("Check the network host for typos. It should look like smtp.example.com."),
        lambda failure: isinstance(failure.cause, socket.gaierror | UnicodeError),
    ),
    Cause(
        "refused",
        _("The server doesn't accept connections on this port"),
        _(
            "Check the port: it is usually 587 for STARTTLS and 465 for SSL/TLS. If it is right, "
            "the server is down or a firewall is blocking the connection."
        ),
        lambda failure: isinstance(failure.cause, ConnectionRefusedError),
    ),
    Cause(
        "port-25-blocked",
        _("No response on port 25"),
        _(
            "Most hosting providers block port 25. Use port 587 with STARTTLS, or port 465 with "
            "SSL/TLS."
        ),
        lambda f: f.phase == "connect" and f.is_timeout and f.port == 25,
    ),
    Cause(
        "port-465-blocked",
        _("No response on port 465"),
        _("A firewall may be blocking it. Try port 587 with STARTTLS."),
        lambda f: f.phase == "connect" and f.is_timeout and f.port == 465,
    ),
    Cause(
        "port-587-blocked",
        _("No response on port 587"),
        _(
            "A firewall may be blocking it. Try port 465 with SSL/TLS, or port 2525 if your email "
            "provider offers it."
        ),
        lambda f: f.phase == "connect" and f.is_timeout and f.port == 587,
    ),
    Cause(
        "no-answer",
        _("The server doesn't respond"),
        _(
            "Check the host and port. A firewall, at your end or theirs, may be blocking the "
            "connection."
        ),
        lambda f: f.phase == "connect",
    ),
)

_TOO_MANY_CONNECTIONS = (
    r"too many (concurrent )?(smtp )?(connections|sessions)",
    r"(concurrent|simultaneous) connections? limit",
    r"connection (rate|count|frequency) limit",
)

GREETING = (
    Cause(
        "too-many-connections",
        _("Too many connections to the server"),
        _(
            "Wait a few minutes. If it happens again, ask a developer to lower "
            "WAGTAIL_SMTP['MAX_SESSIONS']. This limit applies to each process of the site."
        ),
        lambda f: f.is_rejection and f.says(*_TOO_MANY_CONNECTIONS),
        example="421 4.7.0 mail.example.com Error: too many connections from 192.0.2.1",
    ),
    Cause(
        "name-rejected",
        _("The server doesn't accept this site's EHLO name"),
        _(
            "Under “More settings”, enter your site's full host name as “EHLO name”, for example "
            "www.example.com. Use a name that exists in DNS."
        ),
        lambda f: (
            f.is_rejection
            and f.code != 503  # "say HELO first" concerns the order of commands
            and (f.phase == "ehlo" or f.says(r"\b(helo|ehlo)\b"))
        ),
        (
            _(
                "The site's server calls itself “localhost” or has a name without a domain. This "
                "is common in containers."
            ),
            _("Google's SMTP relay expects a domain that you have registered with Google."),
        ),
        "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname",
    ),
)

ENCRYPTION = (
    Cause(
        "ssl-on-starttls-port",
        _("Wrong encryption for this port: choose STARTTLS"),
        _("Choose STARTTLS as the encryption, or use port 465 with SSL/TLS."),
        _is_plain_text_where_tls_was_expected,
        example="[SSL: WRONG_VERSION_NUMBER] wrong version number",
    ),
    Cause(
        "starttls-on-ssl-port",
        _("Wrong encryption for this port: choose SSL/TLS"),
        _("Choose SSL/TLS as the encryption, or use port 587 with STARTTLS."),
        lambda f: _is_tls_where_plain_text_was_expected(f) and f.port == 465,
    ),
    Cause(
        "no-greeting",
        _("The server accepted the connection but sent no response"),
        _(
            "The port may expect SSL/TLS: choose SSL/TLS as the encryption, or use port 587 with "
            "STARTTLS. Or this is not a mail server."
        ),
        _is_tls_where_plain_text_was_expected,
    ),
    Cause(
        "starttls-not-offered",
        _("The server doesn't offer STARTTLS"),
        _(
            "Use port 465 with SSL/TLS if the server supports it. The site never falls back to an "
            "unencrypted connection, because others could read your passwords and messages."
        ),
        lambda f: f.phase == "starttls" and isinstance(f.cause, smtplib.SMTPNotSupportedError),
        (
            _("Port 25 is meant for email between servers: use port 587 instead."),
            _(
                "A firewall or antivirus program hides STARTTLS from the site. Cisco's “SMTP "
                "fixup” is known to do this."
            ),
            _(
                "The server is on the same machine as the site, or in a private network you trust, "
                "and has no encryption: choose None."
            ),
        ),
    ),
    Cause(
        "certificate-expired",
        _("The server's certificate has expired"),
        _(
            "Ask the server's administrator to renew it. Until then, you can't send email safely "
            "through this server."
        ),
        _certificate(10),
    ),
    Cause(
        "certificate-not-valid-yet",
        _("The server's certificate is not valid yet"),
        _(
            "Check the date and time on your site's server. If they are right, ask the mail "
            "server's administrator to install a valid certificate."
        ),
        _certificate(9),
    ),
    Cause(
        "certificate-wrong-name",
        _("The server's certificate is for a different name"),
        _(
            "Enter the server name that your email provider gives you, not an IP address or an "
            "alias."
        ),
        _certificate(62, 64),
    ),
    Cause(
        "certificate-unknown-issuer",
        _("The server's certificate is not trusted"),
        _(
            "If this is your own server, enter its authority's certificate under “More settings”. "
            "For a public email provider, this may mean someone is intercepting the connection: "
            "ask the provider before you continue."
        ),
        _certificate(2, 18, 19, 20, 21),
        example="certificate verify failed: self-signed certificate",
    ),
    Cause(
        "certificate-refused",
        _("The server's certificate is invalid"),
        _(
            "It breaks the rules for certificates, or its key is too weak; the details say which. "
            "Ask the server's administrator to replace it. If this is your own server, you can "
            "enter its certificate, or its authority's, under “More settings”. The strictest rules "
            "then don't apply."
        ),
        _certificate(),
        example="certificate verify failed: Missing Authority Key Identifier",
    ),
    Cause(
        "starttls-refused",
        _("The server offers STARTTLS but refused to start it"),
        _(
            "Its certificate or TLS settings are probably broken. Tell the server's administrator, "
            "or try port 465 with SSL/TLS."
        ),
        lambda f: f.phase == "starttls" and f.is_rejection,
        example="454 4.7.0 TLS not available due to local problem",
    ),
    Cause(
        "encryption-failed",
        _("The encrypted connection could not be set up"),
        _("The server may be too old for TLS 1.2, or this may not be a mail port."),
        lambda f: f.phase in ("tls", "starttls"),
    ),
)
