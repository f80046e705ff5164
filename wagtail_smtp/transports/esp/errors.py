"""Classify an email provider's response: an outcome or an error.

Imported only if django-anymail is installed. Its errors are never passed on, because they contain
the request with its keys.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from anymail.exceptions import (
    AnymailInvalidAddress,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.validation import ascii_address
from wagtail_smtp.config.values import Outcome, Recipient
from wagtail_smtp.exceptions import (
    AttemptFailed,
    EmailDeliveryError,
    MessageDeferred,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    MessageUnsupported,
    SendCancelled,
)
from wagtail_smtp.transports.base import OutgoingMessage
from wagtail_smtp.transports.esp.catalog import ESPConfig
from wagtail_smtp.transports.http import Progress

logger = logging.getLogger(__name__)

State = Literal["sent", "refused", "deferred", "unknown"]

#: Recipient states by django-anymail's status.
_STATES: Mapping[str, State] = {
    "sent": "sent",
    "queued": "sent",
    "invalid": "refused",
    "rejected": "refused",
    "failed": "refused",
}
#: HTTP statuses of temporary problems, and of problems with the account.
_LATER = frozenset({408, 425, 429, 500, 503, 507, 529})
_ACCOUNT = frozenset({402, 403, 404, 405, 410, 423})
#: HTTP statuses of gateways: the outcome is unknown.
_GATEWAY = frozenset({502, 504, 520, 522, 524})
#: Responses about an invalid key, regardless of the status.
_KEY = re.compile(
    r"invalid[_ ]?(server[_ ]?)?(api[_ ]?)?key|api key (is )?(invalid|missing)"
    r"|unauthenticated|unauthori[sz]ed"
    r"|invalid (api )?token|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClient",
    re.IGNORECASE,
)
#: Responses about a sender or account that may not send.
_SENDER = re.compile(
    r"not (been )?verified|unverified|verify|must be verified|sender signature|sending domain"
    r"|unconfigured.*domain|domain not found|valid sender|sender.*not (valid|allowed|authori)"
    r"|not allowed to send|suspended|paused|credits?\b|testing emails",
    re.IGNORECASE,
)
#: JSON keys of error messages.
_MESSAGE_KEYS = frozenset(
    {"message", "errormessage", "error", "errors", "detail", "details", "description", "name"}
)


@sensitive_variables()
def classify_error(
    config: ESPConfig,
    outgoing: OutgoingMessage,
    progress: Progress,
    count: int,
    error: Exception | None,
) -> Outcome | Exception:
    """Classify the result of sending a message.

    Args:
        count: the backend's return value.
        error: the exception it raised instead.
    """
    status = getattr(outgoing.message, "anymail_status", None)
    recipients = _recipients(outgoing, status) if status is not None and status.recipients else ()
    if recipients:
        if error is not None and not _is_anymails(error):
            # The message was sent; a receiver failed afterwards, as it would without the plugin.
            logger.error(
                "A receiver of django-anymail's post_send signal failed: %r",
                type(error),
                exc_info=error,
            )
        return _outcome(config, recipients)
    if isinstance(error, EmailDeliveryError):
        return error.with_traceback(None)
    if error is None:
        return _nothing_sent(config, count)
    failed = _never_sent(config, progress, error)
    if failed is None:
        code, text = _response(config, error)
        failed = _classify_response(config, code, text) if code else _unconfirmed(config, progress)
    return failed


def _is_anymails(error: Exception) -> bool:
    return type(error).__module__.startswith("anymail.")


def _nothing_sent(config: ESPConfig, count: int) -> AttemptFailed:
    if count == 0:
        return SendCancelled(
            f"{config.name}: a receiver of django-anymail's pre_send signal cancelled the message.",
            phase="data",
        )
    # It counts the message as sent, but returned no recipients.
    return MessageOutcomeUnknown(
        f"{config.name}: the provider accepted the message but returned no recipients.",
        phase="reply",
    )


def _recipients(outgoing: OutgoingMessage, status: Any) -> tuple[Recipient, ...]:
    """Each recipient's state, including recipients that a signal receiver added."""
    known = {_folded(address): item for address, item in status.recipients.items()}
    still = {_folded(address) for address in outgoing.message.recipients()}
    found = []
    for address in outgoing.envelope.recipients:
        item = known.pop(_folded(address), None)
        if item is not None:
            found.append(_recipient(address, item))
        elif any(_bare(other) == _folded(address) for other in still):
            found.append(Recipient(address, "unknown", phase="reply"))
    return (*found, *(_recipient(address, item) for address, item in known.items()))


def _recipient(address: str, item: Any) -> Recipient:
    state = _STATES.get(item.status or "", "unknown")
    identity = str(item.message_id or "")[:255]
    if state == "sent":
        return Recipient(address, provider_id=identity)
    return Recipient(address, state, 0, str(item.status or ""), "rcpt", identity)


def _folded(address: str) -> str:
    try:
        return ascii_address(address).lower()
    except ValueError:
        return address.lower()


def _bare(address: str) -> str:
    return address.rpartition("<")[2].rstrip(">")


def _outcome(config: ESPConfig, recipients: tuple[Recipient, ...]) -> Outcome | AttemptFailed:
    states = {item.state for item in recipients}
    if "unknown" in states:
        return MessageOutcomeUnknown(
            f"{config.name}: the provider didn't say whether it accepted the message.",
            phase="reply",
            recipients=recipients,
        )
    if "sent" in states:
        return Outcome(config.name, recipients)
    text = ", ".join(sorted({item.reply for item in recipients}))
    return MessageRefused(
        f"{config.name}: the provider refused all recipients: {text}",
        phase="rcpt",
        reply=text,
        recipients=recipients,
    )


def _never_sent(config: ESPConfig, progress: Progress, error: Exception) -> AttemptFailed | None:
    """Return the failure of a message that was not sent completely; None if it may have been."""
    if progress.at in ("resolve", "connect", "tls"):
        phase = "tls" if progress.at == "tls" else "connect"
        return _connection_failed(config, progress.error or error, phase)
    if progress.at == "request":
        return _connection_failed(config, progress.error, "data")
    if isinstance(
        error, AnymailUnsupportedFeature | AnymailSerializationError | AnymailInvalidAddress
    ):
        text = _scrubbed(config, " ".join(map(str, error.args)))
        return MessageUnsupported(f"{config.name}: {text}", phase="unsupported", reply=text)
    if progress.at == "":
        # Raised by a pre_send receiver or for the message itself; the caller knows the error.
        text = f"{config.name}: {type(error).__name__} before anything was sent."
        return MessageRefused(text, phase="data", original=_unchained(error))
    return None


def _connection_failed(config: ESPConfig, error: Exception | None, phase: str) -> AttemptFailed:
    if isinstance(error, EmailDeliveryError):
        return cast(AttemptFailed, _unchained(error))  # DestinationRefused
    text = str(error) if error is not None else "the connection broke while sending"
    failed = MessageDeferred(f"{config.name}: failed at {phase}: {text}", phase=phase)
    failed.__cause__ = _unchained(error) if error is not None else None
    return failed


def _unchained(error: Exception) -> Exception:
    """Remove the stack frames and causes: they contain the request."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _unconfirmed(config: ESPConfig, progress: Progress) -> AttemptFailed:
    why = "the response can't be read" if progress.at == "done" else "there was no response"
    return MessageOutcomeUnknown(f"{config.name}: the message was sent, but {why}.", phase="reply")


def _classify_response(config: ESPConfig, code: int, text: str) -> AttemptFailed:
    """Return the failure that a response means.

    Args:
        code: the HTTP status.
        text: the provider's message.
    """
    message = f"{config.name}: the provider answered {code}: {text}"
    values: dict[str, Any] = {"code": code, "reply": text}
    if code < 300 or code in _GATEWAY:
        return MessageOutcomeUnknown(message, phase="reply", **values)
    if code == 401 or _KEY.search(text):
        return MessageDeferred(message, phase="auth", **values)
    if code in _LATER:
        return MessageDeferred(message, phase="data", **values)
    if code == 413:
        return MessageTooLarge(message, phase="size", **values)
    if code < 400 or code in _ACCOUNT or _SENDER.search(text):
        return MessageDeferred(message, phase="mail", **values)
    kind = MessageDeferred if code >= 500 else MessageRefused
    return kind(message, phase="data", **values)


def _response(config: ESPConfig, error: Exception) -> tuple[int, str]:
    """Status and text of the error's response; 0: no response."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # boto3's
        problem = response.get("Error", {})
        code = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if problem.get("Code") in ("TooManyRequestsException", "LimitExceededException"):
            code = 429
        text = f"{problem.get('Code', '')}: {problem.get('Message', '')}"
        return code, _scrubbed(config, text)
    code, text = getattr(response, "status_code", 0) or 0, getattr(response, "text", "") or ""
    if 200 <= code < 300 and _reports_error(text):
        code = 400
    return code, _scrubbed(config, _error_messages(text))


def _reports_error(text: str) -> bool:
    """Whether a response with status 200 reports an error, as Postal's do."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and (
        content.get("success") is False or str(content.get("status", "")).endswith("error")
    )


def _error_messages(text: str) -> str:
    """The error messages in a JSON response; the text itself if it isn't JSON."""
    try:
        message = "; ".join(dict.fromkeys(_messages(json.loads(text))))
    except (ValueError, RecursionError):
        message = ""
    return message or text


def _messages(value: Any, is_message: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _messages(inner, is_message or key.lower().replace("_", "") in _MESSAGE_KEYS)
    elif isinstance(value, list):
        for inner in value:
            yield from _messages(inner, is_message)
    elif isinstance(value, str) and value and is_message:
        yield value


def _scrubbed(config: ESPConfig, text: str) -> str:
    """The text on one line: no keys, no control characters, at most 500 characters."""
    for secret in sorted(_spellings(config.secrets.values()), key=len, reverse=True):
        text = text.replace(secret, "…")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]


def _spellings(secrets: Iterable[str]) -> set[str]:
    return {s for secret in secrets for s in (secret, json.dumps(secret)[1:-1]) if s}
