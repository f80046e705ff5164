"""Find the cause of a failed delivery.

The first cause that fits wins, so specific causes come before general ones. Servers phrase their
responses differently, so enhanced status codes (RFC 3463) are checked first.
"""

import re
import smtplib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.diagnostics.causes.base import Cause, Failure, without_prefix
from wagtail_smtp.diagnostics.causes.connection import ENCRYPTION, GREETING, NETWORK
from wagtail_smtp.diagnostics.causes.esp import PROVIDER
from wagtail_smtp.diagnostics.causes.login import (
    LOGIN,
    LOGIN_REFUSED,
    LOGIN_WITH_TOKEN,
    STARTTLS_NEEDED,
    TOKENS,
)
from wagtail_smtp.diagnostics.causes.message import MESSAGE, POLICY
from wagtail_smtp.exceptions import (
    DestinationRefused,
    MessageOutcomeUnknown,
    MessageTooLarge,
    RedirectError,
    SecretError,
    TokenRefused,
)
from wagtail_smtp.models import LogAttempt, LogEntry
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.transports import standard
from wagtail_smtp.transports.oauth.client import classify_refusal

CAUSES: tuple[Cause, ...] = (
    *TOKENS,
    *NETWORK,
    *GREETING,
    *ENCRYPTION,
    *PROVIDER,
    *STARTTLS_NEEDED,
    *LOGIN_WITH_TOKEN,
    *LOGIN,
    *POLICY,
    *LOGIN_REFUSED,
    *MESSAGE,
)

#: The same causes, grouped for the documentation and the admin.
GROUPS: tuple[tuple[str, Any, tuple[Cause, ...]], ...] = (
    ("connection", _("Connection"), (*NETWORK, *GREETING)),
    ("encryption", _("Encryption"), (*ENCRYPTION, *STARTTLS_NEEDED)),
    ("login", _("Username and password"), (*LOGIN, *LOGIN_REFUSED)),
    ("oauth", _("OAuth 2"), (*TOKENS, *LOGIN_WITH_TOKEN)),
    ("policy", _("Sender and site"), POLICY),
    ("message", _("Message and recipients"), MESSAGE),
    ("provider", _("Email providers (API)"), PROVIDER),
)

_LEARN = "https://learn.microsoft.com/exchange"

#: Step-by-step guides by Microsoft and Google: label and address.
GUIDES: tuple[tuple[Any, str], ...] = (
    (
        _("Microsoft 365: OAuth 2"),
        f"{_LEARN}/client-developer/legacy-protocols/"
        "how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth",
    ),
    (
        _("Microsoft 365: authenticated SMTP"),
        f"{_LEARN}/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission",
    ),
    (_("Google: app passwords"), "https://support.google.com/accounts/answer/185833"),
    (
        _("Google Workspace: domain-wide delegation"),
        "https://support.google.com/a/answer/162106",
    ),
)


def explain(failure: Failure) -> Cause:
    """The first cause that fits. The last one always does."""
    return next(cause for cause in CAUSES if cause.fits(failure))


#: States that explain the failure without looking at attempts.
_ERRORS_BY_STATE: dict[str, type[Exception]] = {
    State.BLOCKED: RedirectError,
    State.TOO_LARGE: MessageTooLarge,
    State.UNKNOWN: MessageOutcomeUnknown,
}
#: Phases of errors that happen before any server is asked.
_ERRORS_BY_PHASE: dict[str, type[Exception]] = {
    "password": SecretError,
    "address": DestinationRefused,
}


def _unverified(code: int) -> Callable[[str], OSError]:
    def make(text: str) -> OSError:
        error = ssl.SSLCertVerificationError(1, text)
        error.verify_code = code
        return error

    return make


#: Patterns and the exceptions that they stand for. The first match wins.
_EXCEPTIONS: tuple[tuple[str, Callable[[str], OSError]], ...] = (
    ("connection refused|ConnectionRefusedError", ConnectionRefusedError),
    (
        r"\[Errno -3\]|temporary failure in name|name servers? (answered|responded)",
        partial(socket.gaierror, socket.EAI_AGAIN),
    ),
    (
        r"\[Errno -\d+\]|name or service not known|nodename nor|getaddrinfo|gaierror",
        socket.gaierror,
    ),
    ("certificate has expired", _unverified(10)),
    ("certificate verify failed: (hostname|ip address) mismatch", _unverified(62)),
    ("certificate is not yet valid", _unverified(9)),
    (
        "certificate verify failed: (self.signed|unable to get|unable to verify)",
        _unverified(20),
    ),
    ("certificate verify failed:", _unverified(1)),
    ("certificate verify failed|SSLCertVerificationError", _unverified(20)),
    (r"\[SSL|SSLError", ssl.SSLError),
    ("offer(s)? .*STARTTLS", smtplib.SMTPNotSupportedError),
    ("timed out|TimeoutError", TimeoutError),
)


def cause_of(entry: LogEntry, configuration: Configuration) -> Cause | None:
    """Why the message was not sent, or not to everyone; None if the log doesn't say.

    Args:
        configuration: the live configuration, for the servers of its sets.
    """
    attempts = list(entry.attempts.all())
    last = attempts[-1] if attempts else None
    error = _ERRORS_BY_STATE.get(entry.state)
    if error is not None:
        return explain(Failure(error=error("")))
    if entry.state == State.PARTLY_SENT:
        return _cause_of_recipients(entry)
    if last is None:
        return None
    item = configuration.by_key().get(str(entry.set_key))
    return _cause_of_attempt(last, _server(entry, item), item)


def _cause_of_recipients(entry: LogEntry) -> Cause | None:
    open_states = (RecipientState.REFUSED, RecipientState.DEFERRED)
    row = entry.recipients.filter(state__in=open_states).order_by("pk").first()
    return row and explain(Failure("rcpt", row.code, row.reply))


def _cause_of_attempt(
    attempt: LogAttempt, server: tuple[str, int, str], item: SettingsSetConfig | None
) -> Cause | None:
    phase, text = attempt.phase, attempt.reply
    host, port, encryption = server
    if phase in _ERRORS_BY_PHASE:
        return explain(Failure(error=_ERRORS_BY_PHASE[phase](text)))
    if not phase:
        return None  # no server was reached
    is_own = not attempt.code and text.startswith(f"{attempt.via}: ")
    uses_esp = item is not None and item.uses_esp
    if phase == "auth" and not attempt.code and not uses_esp:
        reason = _token_reason(text, is_own)
        if reason:
            return explain(Failure(error=TokenRefused("", reason=reason)))
    cause = None if attempt.code or phase == "pool" else _exception(text)
    return explain(
        Failure(
            phase,
            attempt.code,
            "" if is_own else text,
            cause,
            host=host,
            port=port,
            encryption=encryption,
            uses_esp=uses_esp,
            uses_oauth=item is not None and item.authentication == "oauth2",
            message=without_prefix(text) if is_own else "",
        )
    )


#: Patterns of the plugin's own texts about a missing access token, and their reasons.
_TOKEN_REASONS = (
    ("failed at auth: ", ""),
    ("not allowed|OAuth 2 sends nothing|OAuth 2 doesn't send", "not-allowed"),
    ("be reached|renewing the access token", "unreachable"),
    (r"\bconsent", "consent-needed"),
)


def _token_reason(text: str, is_own: bool) -> str:
    """Why there was no access token; empty if the login failed for another reason."""
    if not is_own:
        return classify_refusal(*text.split(": ", 1))
    found = (reason for pattern, reason in _TOKEN_REASONS if re.search(pattern, text))
    return next(found, "refused")


def _exception(text: str) -> OSError:
    for pattern, make in _EXCEPTIONS:
        if re.search(pattern, text, re.IGNORECASE):
            return make(text)
    return OSError(text)


def _server(entry: LogEntry, item: SettingsSetConfig | None) -> tuple[str, int, str]:
    """Host, port and encryption of the server, as far as they are known now."""
    if item is not None and item.uses_esp:
        return "", 443, "ssl"
    if item is not None and item.authentication != "default":
        return item.host.lower(), item.port, item.encryption
    own = standard.server() if item is not None or entry.set_key is None else None
    return (own.host.lower(), own.port, own.encryption) if own else ("", 0, "")
