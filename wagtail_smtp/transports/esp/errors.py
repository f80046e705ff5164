"""What a provider's answer means: an outcome, or the error that says why there is none.

Only imported where django-anymail is installed. Nothing of its errors goes on from here: they
hold the request with its keys.
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
from wagtail_smtp.transports.esp.config import ESPConfig
from wagtail_smtp.transports.http import Progress

logger = logging.getLogger(__name__)

State = Literal["sent", "refused", "deferred", "unknown"]

#: django-anymail's words for a recipient's state.
_STATES: Mapping[str, State] = {
    "sent": "sent",
    "queued": "sent",
    "invalid": "refused",
    "rejected": "refused",
    "failed": "refused",
}
#: Statuses of HTTP that say the provider can't now, or not for this account.
_LATER = frozenset({408, 425, 429, 500, 503, 507, 529})
_ACCOUNT = frozenset({402, 403, 404, 405, 410, 423})
#: Those of a gateway, which doesn't know what became of the request.
_GATEWAY = frozenset({502, 504, 520, 522, 524})
#: Words of a provider that doesn't know the key, whatever its status.
_KEY = re.compile(
    r"invalid[_ ]?(server[_ ]?)?(api[_ ]?)?key|api key (is )?(invalid|missing)"
    r"|unauthenticated|unauthori[sz]ed"
    r"|invalid (api )?token|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClient",
    re.IGNORECASE,
)
#: Words of a provider that doesn't send for this sender or account.
_SENDER = re.compile(
    r"not (been )?verified|unverified|verify|must be verified|sender signature|sending domain"
    r"|unconfigured.*domain|domain not found|valid sender|sender.*not (valid|allowed|authori)"
    r"|not allowed to send|suspended|paused|credits?\b|testing emails",
    re.IGNORECASE,
)
#: Keys under which providers say what is wrong.
_SAYING = frozenset(
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
    """What came of handing over a message.

    Args:
        count: what the backend returned.
        error: what it raised instead.
    """
    status = getattr(outgoing.message, "anymail_status", None)
    recipients = _recipients(outgoing, status) if status is not None and status.recipients else ()
    if recipients:
        if error is not None and not _is_anymails(error):
            # As with django-anymail alone the message has left; its receiver failed later.
            logger.error("A receiver of post_send failed: %r", type(error), exc_info=error)
        return _outcome(config, recipients)
    if isinstance(error, EmailDeliveryError):
        return error.with_traceback(None)
    if error is None:
        return _nothing_sent(config, count)
    failed = _never_sent(config, progress, error)
    if failed is None:
        code, words = _answer(config, error)
        failed = _verdict(config, code, words) if code else _lost(config, progress)
    return failed


def _is_anymails(error: Exception) -> bool:
    return type(error).__module__.startswith("anymail.")


def _nothing_sent(config: ESPConfig, count: int) -> AttemptFailed:
    if count == 0:
        return SendCancelled(
            f"{config.name}: a receiver of pre_send cancelled the message.", phase="data"
        )
    # It counts the message as sent, without saying anything of its recipients.
    return MessageOutcomeUnknown(
        f"{config.name}: the provider took the message, but named no recipients.", phase="reply"
    )


def _recipients(outgoing: OutgoingMessage, status: Any) -> tuple[Recipient, ...]:
    """Each recipient's state, those added by a receiver included."""
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
            f"{config.name}: the provider doesn't say what became of the message.",
            phase="reply",
            recipients=recipients,
        )
    if "sent" in states:
        return Outcome(config.name, recipients)
    words = ", ".join(sorted({item.reply for item in recipients}))
    return MessageRefused(
        f"{config.name}: the provider refused all recipients: {words}",
        phase="rcpt",
        reply=words,
        recipients=recipients,
    )


def _never_sent(config: ESPConfig, progress: Progress, error: Exception) -> AttemptFailed | None:
    """The failure of a message that surely was not handed over whole; None: it may have been."""
    if progress.at in ("resolve", "connect", "tls"):
        phase = "tls" if progress.at == "tls" else "connect"
        return _connection_failed(config, progress.error or error, phase)
    if progress.at == "request":
        return _connection_failed(config, progress.error, "data")
    if isinstance(
        error, AnymailUnsupportedFeature | AnymailSerializationError | AnymailInvalidAddress
    ):
        words = _scrubbed(config, " ".join(map(str, error.args)))
        return MessageUnsupported(f"{config.name}: {words}", phase="unsupported", reply=words)
    if progress.at == "":
        # A receiver of pre_send, or the message itself; its callers know their own error.
        words = f"{config.name}: {type(error).__name__} before anything was sent."
        return MessageRefused(words, phase="data", original=_unchained(error))
    return None


def _connection_failed(config: ESPConfig, error: Exception | None, phase: str) -> AttemptFailed:
    if isinstance(error, EmailDeliveryError):
        return cast(AttemptFailed, _unchained(error))  # DestinationRefused
    words = str(error) if error is not None else "the connection broke while sending"
    failed = MessageDeferred(f"{config.name}: failed at {phase}: {words}", phase=phase)
    failed.__cause__ = _unchained(error) if error is not None else None
    return failed


def _unchained(error: Exception) -> Exception:
    """The error without its frames and causes: they hold the request."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _lost(config: ESPConfig, progress: Progress) -> AttemptFailed:
    why = "an answer that can't be read" if progress.at == "done" else "no answer"
    return MessageOutcomeUnknown(
        f"{config.name}: the message was handed over, and {why} came.", phase="reply"
    )


def _verdict(config: ESPConfig, code: int, words: str) -> AttemptFailed:
    """The failure that an answer stands for.

    Args:
        code: the status of HTTP.
        words: what the provider says.
    """
    said = f"{config.name}: the provider answered {code}: {words}"
    values: dict[str, Any] = {"code": code, "reply": words}
    if code < 300 or code in _GATEWAY:
        return MessageOutcomeUnknown(said, phase="reply", **values)
    if code == 401 or _KEY.search(words):
        return MessageDeferred(said, phase="auth", **values)
    if code in _LATER:
        return MessageDeferred(said, phase="data", **values)
    if code == 413:
        return MessageTooLarge(said, phase="size", **values)
    if code < 400 or code in _ACCOUNT or _SENDER.search(words):
        return MessageDeferred(said, phase="mail", **values)
    kind = MessageDeferred if code >= 500 else MessageRefused
    return kind(said, phase="data", **values)


def _answer(config: ESPConfig, error: Exception) -> tuple[int, str]:
    """Status and words of the answer that an error holds; 0: there was none."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # boto3's
        problem = response.get("Error", {})
        code = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if problem.get("Code") in ("TooManyRequestsException", "LimitExceededException"):
            code = 429
        words = f"{problem.get('Code', '')}: {problem.get('Message', '')}"
        return code, _scrubbed(config, words)
    code, text = getattr(response, "status_code", 0) or 0, getattr(response, "text", "") or ""
    if 200 <= code < 300 and _says_no(text):
        code = 400
    return code, _scrubbed(config, _said(text))


def _says_no(text: str) -> bool:
    """Whether an answer that HTTP calls a success says that it is none: Postal's."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and (
        content.get("success") is False or str(content.get("status", "")).endswith("error")
    )


def _said(text: str) -> str:
    """What an answer says, without its JSON."""
    try:
        said = "; ".join(dict.fromkeys(_sayings(json.loads(text))))
    except (ValueError, RecursionError):
        said = ""
    return said or text


def _sayings(value: Any, is_saying: bool = False) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _sayings(inner, is_saying or key.lower().replace("_", "") in _SAYING)
    elif isinstance(value, list):
        for inner in value:
            yield from _sayings(inner, is_saying)
    elif isinstance(value, str) and value and is_saying:
        yield value


def _scrubbed(config: ESPConfig, text: str) -> str:
    """The words on one line, without keys and control characters, at most 500 characters."""
    for secret in sorted(_spellings(config.secrets.values()), key=len, reverse=True):
        text = text.replace(secret, "…")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]


def _spellings(secrets: Iterable[str]) -> set[str]:
    return {s for secret in secrets for s in (secret, json.dumps(secret)[1:-1]) if s}
