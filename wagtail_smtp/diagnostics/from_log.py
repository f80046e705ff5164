"""Why a message of the delivery log was not sent, read back from what the log keeps.

The log has the words of an exception, not the exception. What raised it is told by the words that
Python and the plugin write, which are never translated.
"""

import re
import smtplib
import socket
import ssl
from collections.abc import Callable
from functools import partial

from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.diagnostics.causes.base import Cause, Failure, without_prefix
from wagtail_smtp.diagnostics.explain import explain
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
from wagtail_smtp.transports.oauth import errors

#: States that say more than any attempt.
_OF_STATES: dict[str, type[Exception]] = {
    State.BLOCKED: RedirectError,
    State.TOO_LARGE: MessageTooLarge,
    State.UNKNOWN: MessageOutcomeUnknown,
}
#: Phases that are none of a server's.
_OF_PHASES: dict[str, type[Exception]] = {"password": SecretError, "address": DestinationRefused}


def _unverified(code: int) -> Callable[[str], OSError]:
    def make(words: str) -> OSError:
        error = ssl.SSLCertVerificationError(1, words)
        error.verify_code = code
        return error

    return make


#: What words stand for; the first that fits.
_OF_WORDS: tuple[tuple[str, Callable[[str], OSError]], ...] = (
    ("connection refused|ConnectionRefusedError", ConnectionRefusedError),
    (
        r"\[Errno -3\]|temporary failure in name|no name server answered",
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
    ("offer STARTTLS", smtplib.SMTPNotSupportedError),
    ("timed out|TimeoutError", TimeoutError),
)


def cause_of(entry: LogEntry, configuration: Configuration) -> Cause | None:
    """Why the message of ``entry`` was not sent, or not to all; None: only its reason is known.

    Args:
        configuration: what is live, which knows the servers of its sets.
    """
    attempts = list(entry.attempts.all())
    last = attempts[-1] if attempts else None
    kind = _OF_STATES.get(entry.state)
    if kind is not None:
        return explain(Failure(error=kind("")))
    if entry.state == State.PARTLY_SENT:
        return _of_recipients(entry)
    if last is None:
        return None
    item = configuration.by_key().get(str(entry.set_key))
    return _of_attempt(last, _server(entry, item), item)


def _of_recipients(entry: LogEntry) -> Cause | None:
    open_states = (RecipientState.REFUSED, RecipientState.DEFERRED)
    row = entry.recipients.filter(state__in=open_states).order_by("pk").first()
    return row and explain(Failure("rcpt", row.code, row.reply))


def _of_attempt(
    attempt: LogAttempt, server: tuple[str, int, str], item: SettingsSetConfig | None
) -> Cause | None:
    phase, words = attempt.phase, attempt.reply
    host, port, security = server
    if phase in _OF_PHASES:
        return explain(Failure(error=_OF_PHASES[phase](words)))
    if not phase:
        return None  # no server was asked
    is_own = not attempt.code and words.startswith(f"{attempt.via}: ")
    is_provider = item is not None and item.is_provider
    if phase == "auth" and not attempt.code and not is_provider:
        reason = _reason(words, is_own)
        if reason:
            return explain(Failure(error=TokenRefused("", reason=reason)))
    cause = None if attempt.code or phase == "pool" else _exception(words)
    return explain(
        Failure(
            phase,
            attempt.code,
            "" if is_own else words,
            cause,
            host=host,
            port=port,
            security=security,
            is_provider=is_provider,
            uses_oauth=item is not None and item.authentication == "oauth2",
            message=without_prefix(words) if is_own else "",
        )
    )


#: What the plugin writes where it has no access token, and the reason it stands for.
_OF_TOKENS = (
    ("failed at auth: ", ""),
    ("is not allowed. A developer|OAuth 2 sends nothing", "not-allowed"),
    ("can't be reached|is renewing the access token", "unreachable"),
    ("has consented yet|no lasting consent|consent was removed", "consent-needed"),
)


def _reason(words: str, is_own: bool) -> str:
    """Why there was no access token; empty: it was not for want of one."""
    if not is_own:
        return errors.reason(*words.split(": ", 1))
    found = (reason for pattern, reason in _OF_TOKENS if re.search(pattern, words))
    return next(found, "refused")


def _exception(words: str) -> OSError:
    for pattern, make in _OF_WORDS:
        if re.search(pattern, words, re.IGNORECASE):
            return make(words)
    return OSError(words)


def _server(entry: LogEntry, item: SettingsSetConfig | None) -> tuple[str, int, str]:
    """Host, port and security of what carried it, as far as they are known now."""
    if item is not None and item.is_provider:
        return "", 443, "ssl"
    if item is not None and item.authentication != "default":
        return item.host.lower(), item.port, item.security
    own = standard.server() if item is not None or entry.set_key is None else None
    return (own.host.lower(), own.port, own.security) if own else ("", 0, "")
