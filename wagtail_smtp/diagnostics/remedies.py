"""Causes of failed deliveries, how to recognise each, and what to do about it.

The first cause that fits counts, so particular ones stand above general ones. Servers' words
differ and change; enhanced status codes (RFC 3463) are looked at first.
"""

import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.exceptions import (
    AttemptFailed,
    DestinationRefused,
    MessageTooLarge,
    SecretError,
)

#: Where the causes are described at length.
DOCUMENTATION = "docs/problems.md"


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a failure. ``port`` and ``security`` are those of the server."""

    phase: str = ""
    code: int = 0
    reply: str = ""
    cause: BaseException | None = None
    error: BaseException | None = None
    host: str = ""
    port: int = 0
    security: str = ""

    @classmethod
    def of(cls, error: BaseException, host: str, port: int, security: str) -> "Failure":
        """That of an error which ended an attempt."""
        failed = error if isinstance(error, AttemptFailed) else None
        return cls(
            phase=failed.phase if failed else "",
            code=failed.code if failed else 0,
            reply=failed.reply if failed else "",
            cause=error.__cause__,
            error=error,
            host=host.lower(),
            port=port,
            security=security,
        )

    def says(self, *patterns: str) -> bool:
        """Whether the server's words match one of the regular expressions."""
        return any(re.search(pattern, self.reply, re.IGNORECASE) for pattern in patterns)

    def has(self, *codes: str) -> bool:
        """Whether the reply begins with one of the enhanced status codes."""
        return any(re.match(rf"{re.escape(code)}(?!\d)", self.reply) for code in codes)


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause: ``slug`` names it in the documentation, ``advice`` says what to do."""

    slug: str
    title: Any
    advice: Any
    fits: Callable[[Failure], bool]

    @property
    def page(self) -> str:
        """Its place in the documentation."""
        return f"{DOCUMENTATION}#{self.slug}"


def explain(failure: Failure) -> Cause:
    """The cause that fits first; there is always one."""
    return next(cause for cause in CAUSES if cause.fits(failure))


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


def _rejected(failure: Failure) -> bool:
    return failure.code >= 400


def _causes() -> Iterator[Cause]:
    yield from _network()
    yield from _encryption()
    yield from _login()
    yield from _message()
    yield Cause(
        "other",
        _("The server ended the attempt"),
        _("The server's words are all that is known. Its provider can tell what they mean."),
        lambda failure: True,
    )


def _network() -> Iterator[Cause]:
    yield Cause(
        "not-allowed",
        _("This address may not be connected to"),
        _(
            "For safety the site connects to internal addresses on mail ports only, and never to "
            "some. A developer can allow more with WAGTAIL_SMTP['ALLOWED_NETWORKS']."
        ),
        lambda failure: isinstance(failure.error, DestinationRefused),
    )
    yield Cause(
        "password-unreadable",
        _("The stored password can't be used"),
        _("Open the settings set, enter the password again, save and reload."),
        lambda failure: isinstance(failure.error, SecretError),
    )
    yield Cause(
        "name-not-found",
        _("No server has this name"),
        _("Check the network host for typing errors, for example smtp.example.com."),
        lambda failure: isinstance(failure.cause, socket.gaierror | UnicodeError),
    )
    yield Cause(
        "refused",
        _("The server is there, but doesn't listen on this port"),
        _(
            "Check the port: 587 for STARTTLS and 465 for SSL/TLS are usual. If they are right, "
            "the server is down, or a firewall refuses the connection."
        ),
        lambda failure: isinstance(failure.cause, ConnectionRefusedError),
    )
    yield Cause(
        "port-25-blocked",
        _("No answer on port 25"),
        _("Most hosting providers block port 25. Use port 587 with STARTTLS, or 465 with SSL/TLS."),
        lambda f: f.phase == "connect" and _is_timeout(f) and f.port == 25,
    )
    yield Cause(
        "port-465-blocked",
        _("No answer on port 465"),
        _("A firewall may block it. Try port 587 with STARTTLS."),
        lambda f: f.phase == "connect" and _is_timeout(f) and f.port == 465,
    )
    yield Cause(
        "port-587-blocked",
        _("No answer on port 587"),
        _("A firewall may block it. Try port 465 with SSL/TLS, or 2525 where the provider has it."),
        lambda f: f.phase == "connect" and _is_timeout(f) and f.port == 587,
    )
    yield Cause(
        "no-answer",
        _("The server doesn't answer"),
        _("Check host and port. A firewall of this site or of the server may be in between."),
        lambda f: f.phase == "connect",
    )


def _encryption() -> Iterator[Cause]:
    yield Cause(
        "ssl-on-starttls-port",
        _("This port begins without encryption"),
        _("Choose STARTTLS for this port, or port 465 for SSL/TLS."),
        _is_plain_text_where_tls_was_expected,
    )
    yield Cause(
        "starttls-on-ssl-port",
        _("This port expects encryption from the first byte"),
        _("Choose SSL/TLS for this port, or port 587 for STARTTLS."),
        lambda f: _is_tls_where_plain_text_was_expected(f) and f.port == 465,
    )
    yield Cause(
        "no-greeting",
        _("The server took the connection but didn't greet"),
        _(
            "The port may expect SSL/TLS from the first byte: choose SSL/TLS, or port 587 for "
            "STARTTLS. Or it is no mail server."
        ),
        _is_tls_where_plain_text_was_expected,
    )
    yield Cause(
        "starttls-not-offered",
        _("The server offers no STARTTLS"),
        _(
            "Choose port 465 with SSL/TLS if the server has it. The site never falls back to "
            "plain text, since passwords and messages could be read on the way."
        ),
        lambda f: f.phase == "starttls" and isinstance(f.cause, smtplib.SMTPNotSupportedError),
    )
    yield Cause(
        "certificate-expired",
        _("The server's certificate has expired"),
        _("Whoever runs the server has to renew it. Until then no mail can safely be sent there."),
        _certificate(10),
    )
    yield Cause(
        "certificate-wrong-name",
        _("The server's certificate is for another name"),
        _("Enter the name that the provider gives for its server, not an IP address or an alias."),
        _certificate(62, 64),
    )
    yield Cause(
        "certificate-unknown-issuer",
        _("The server's certificate was signed by nobody the site trusts"),
        _(
            "For a server of your own, enter its authority's certificate under “More settings”. "
            "For a public provider, somebody may be between: ask before you go on."
        ),
        _certificate(),
    )
    yield Cause(
        "encryption-failed",
        _("No encrypted connection came about"),
        _("The server may be too old for TLS 1.2, or the port is no mail port."),
        lambda f: f.phase in ("tls", "starttls"),
    )


def _login() -> Iterator[Cause]:
    yield Cause(
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
    )
    yield Cause(
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
    )
    yield Cause(
        "login-limited",
        _("Too many logins at once or in a short time"),
        _("Wait a few minutes. If it stays, lower WAGTAIL_SMTP['MAX_SESSIONS']."),
        lambda f: f.phase == "auth" and (f.code in (421, 432, 454) or f.says("too many")),
    )
    yield Cause(
        "login-refused",
        _("The server refused the username or password"),
        _(
            "Check both; the username is often the whole email address. Many providers want a "
            "password made for programs (an app password or SMTP key) instead of the account's."
        ),
        lambda f: f.phase == "auth",
    )


def _message() -> Iterator[Cause]:
    yield Cause(
        "too-large",
        _("The message is larger than the server takes"),
        _("Send smaller files, or links to them."),
        lambda f: isinstance(f.error, MessageTooLarge) or f.has("5.3.4") or f.says("size limit"),
    )
    yield Cause(
        "mailbox-full",
        _("The recipient's mailbox is full"),
        _("Only the recipient can mend that."),
        lambda f: f.has("5.2.2", "4.2.2") or f.says("mailbox (is )?full", "over ?quota"),
    )
    yield Cause(
        "greylisted",
        _("The server asks to try again later (greylisting)"),
        _("That is usual for first contacts. With the outbox the site tries again by itself."),
        lambda f: 400 <= f.code < 500 and f.says("gr[ae]y-?list"),
    )
    yield Cause(
        "rate-limited",
        _("Too many messages in a short time"),
        _("Wait, send less at once, or ask the provider for a higher limit."),
        lambda f: (
            f.code in (421, 432, 450, 451, 452, 454, 550, 552)
            and (
                f.says("rate", "too many", "quota", "limit exceeded", "throttl") or f.has("4.7.28")
            )
        ),
    )
    yield Cause(
        "relaying-denied",
        _("The server doesn't send to other domains for this site"),
        _(
            "Most servers do so only after a login: choose “Username and password”. A relay may "
            "have to allow this site's address."
        ),
        lambda f: _rejected(f) and f.says("relay"),
    )
    yield Cause(
        "blocked",
        _("The server, or a list it asks, blocks mail from this site"),
        _(
            "The address of the site's server has a bad reputation, or sends too much. Follow the "
            "link in the server's words, or send through a provider."
        ),
        lambda f: (
            _rejected(f)
            and (
                f.has("5.7.606", "5.7.511", "4.7.650", "5.7.512")
                or f.says(
                    "spamhaus", "blacklist", "blocklist", "block list", "reputation", "banned"
                )
            )
        ),
    )
    yield Cause(
        "domain-not-authenticated",
        _("The recipient's server wants proof that the site may send for this domain"),
        _("Set up SPF, DKIM and DMARC for the sender's domain, as the provider describes."),
        lambda f: _rejected(f) and (f.has("5.7.26", "5.7.515") or f.says("spf", "dkim", "dmarc")),
    )
    yield Cause(
        "sender-not-allowed",
        _("The server doesn't let this login send from this address"),
        _(
            "Set the sender address to the account's own, turn on “Always use this sender”, or "
            "let the provider verify the address or domain."
        ),
        lambda f: (
            (f.phase == "mail" and _rejected(f))
            or f.code == 553
            or f.has("5.7.60")
            or f.says("send ?as", "sender address rejected", "not owned", "not verified")
        ),
    )
    yield Cause(
        "unknown-recipient",
        _("The recipient doesn't exist"),
        _("Check the address for typing errors."),
        lambda f: f.has("5.1.1", "5.1.10", "5.1.2") or (f.phase == "rcpt" and f.code == 550),
    )
    yield Cause(
        "try-later",
        _("The server asks to try again later"),
        _("With the outbox the site tries again by itself."),
        lambda f: 400 <= f.code < 500,
    )
    yield Cause(
        "connection-lost",
        _("The connection broke"),
        _("The server or something in between ended it. If it stays, ask the provider."),
        lambda f: f.code == 0 and isinstance(f.cause, OSError),
    )


CAUSES: tuple[Cause, ...] = tuple(_causes())
