"""Causes before the login: network, greeting, encryption."""

import smtplib
import socket
import ssl
from collections.abc import Callable

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.causes.base import Cause, Failure
from wagtail_smtp.exceptions import DestinationRefused, SecretError


def _is_lookup_failed(failure: Failure) -> bool:
    cause = failure.cause
    return isinstance(cause, socket.gaierror) and (
        cause.errno == socket.EAI_AGAIN or "no name server answered" in str(cause)
    )


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
        "lookup-failed",
        _("The server's name could not be looked up"),
        _(
            "The machine that the site runs on got no answer from its name servers. Try again in "
            "a moment. If it happens again, a developer has to check that machine's DNS settings."
        ),
        _is_lookup_failed,
        example="[Errno -3] Temporary failure in name resolution",
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
        lambda f: f.phase == "connect" and f.is_timeout and f.port == 25,
    ),
    Cause(
        "port-465-blocked",
        _("No answer on port 465"),
        _("A firewall may block it. Try port 587 with STARTTLS."),
        lambda f: f.phase == "connect" and f.is_timeout and f.port == 465,
    ),
    Cause(
        "port-587-blocked",
        _("No answer on port 587"),
        _("A firewall may block it. Try port 465 with SSL/TLS, or 2525 where the provider has it."),
        lambda f: f.phase == "connect" and f.is_timeout and f.port == 587,
    ),
    Cause(
        "no-answer",
        _("The server doesn't answer"),
        _("Check host and port. A firewall of this site or of the server may be in between."),
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
            "Wait a few minutes. If it happens again, a developer can lower "
            "WAGTAIL_SMTP['MAX_SESSIONS']: it counts for each process of the site."
        ),
        lambda f: f.is_rejection and f.says(*_TOO_MANY_CONNECTIONS),
        example="421 4.7.0 mail.example.com Error: too many connections from 192.0.2.1",
    ),
    Cause(
        "name-rejected",
        _("The server doesn't accept the name that the site introduces itself with"),
        _(
            "Enter a full host name under “More settings”, in “EHLO name”: the site's own, for "
            "example www.example.com. It should be one that DNS knows."
        ),
        lambda f: (
            f.is_rejection
            and f.code != 503  # "say HELO first" concerns the order of commands
            and (f.phase == "ehlo" or f.says(r"\b(helo|ehlo)\b"))
        ),
        (
            _(
                "The machine of the site calls itself “localhost” or has a name without a domain. "
                "Containers do that."
            ),
            _("Google's SMTP relay wants the name of a domain that is registered with it."),
        ),
        "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname",
    ),
)

ENCRYPTION = (
    Cause(
        "ssl-on-starttls-port",
        _("This port begins without encryption"),
        _("Choose STARTTLS for this port, or port 465 for SSL/TLS."),
        _is_plain_text_where_tls_was_expected,
        example="[SSL: WRONG_VERSION_NUMBER] wrong version number",
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
        (
            _("The port is meant for mail between servers: use port 587 instead of 25."),
            _(
                "A firewall or antivirus program between site and server hides STARTTLS. Cisco's "
                "“SMTP fixup” is known for it."
            ),
            _(
                "The server runs on the site's own machine, or in a private network that you "
                "trust, and has no encryption: choose None."
            ),
        ),
    ),
    Cause(
        "certificate-expired",
        _("The server's certificate has expired"),
        _("Whoever runs the server has to renew it. Until then no mail can safely be sent there."),
        _certificate(10),
    ),
    Cause(
        "certificate-not-valid-yet",
        _("The server's certificate is not valid yet"),
        _(
            "Check the date and time of the machine that the site runs on. If they are right, the "
            "server's administrator has to install another certificate."
        ),
        _certificate(9),
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
        _certificate(2, 18, 19, 20, 21),
        example="certificate verify failed: self-signed certificate",
    ),
    Cause(
        "certificate-refused",
        _("The server's certificate has a fault"),
        _(
            "It breaks the rules for certificates, or its key is too weak; the details name the "
            "fault. The server's administrator has to replace it. For a server of your own, you "
            "can enter its certificate or its authority's under “More settings”: then the "
            "strictest of these rules don't apply."
        ),
        _certificate(),
        example="certificate verify failed: Missing Authority Key Identifier",
    ),
    Cause(
        "starttls-refused",
        _("The server offers STARTTLS, but refused to start it"),
        _(
            "Often its certificate or its TLS settings are broken. Tell its administrator, or try "
            "port 465 with SSL/TLS."
        ),
        lambda f: f.phase == "starttls" and f.is_rejection,
        example="454 4.7.0 TLS not available due to local problem",
    ),
    Cause(
        "encryption-failed",
        _("No encrypted connection came about"),
        _("The server may be too old for TLS 1.2, or the port is no mail port."),
        lambda f: f.phase in ("tls", "starttls"),
    ),
)
