"""Classify a server's reply."""

import re

from wagtail_smtp.exceptions import (
    AttemptFailed,
    MessageDeferred,
    MessageRefused,
    MessageTooLarge,
)
from wagtail_smtp.transports.smtp.stream import Reply

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\d)")
#: Enhanced codes for a message that is too large (RFC 3463 3.3 and 3.4).
_TOO_LARGE = ("5.2.3", "5.3.4")


def is_yes(reply: Reply) -> bool:
    """Whether the server accepts."""
    return 200 <= reply.code < 300


def is_no(reply: Reply) -> bool:
    """Whether the server refuses, temporarily or permanently."""
    return 400 <= reply.code < 600


def error_for(name: str, phase: str, reply: Reply) -> AttemptFailed:
    """Return the error for a reply that refuses."""
    text = response_text(reply)
    kind: type[AttemptFailed] = MessageDeferred
    if _is_too_large(reply.code, text) and phase != "rcpt":
        kind = MessageTooLarge
    elif reply.code >= 500 and phase in ("data", "body", "reply"):
        kind = MessageRefused
    return kind(
        f"{name}: the server refused at {phase}: {reply.code} {text}",
        phase=phase,
        code=reply.code,
        reply=text,
    )


def _is_too_large(code: int, text: str) -> bool:
    # 552 also means a full mailbox (5.2.2) and, at Gmail, a blocked file type (5.7.0).
    enhanced = _ENHANCED.match(text)
    return enhanced[0] in _TOO_LARGE if enhanced else code == 552


def connection_lost(name: str, phase: str, error: OSError) -> MessageDeferred:
    """Return the error for a connection that failed before the message was sent."""
    return MessageDeferred(f"{name}: failed at {phase}: {error}", phase=phase)


def response_text(reply: Reply) -> str:
    """The reply's text on one line: no control characters, at most 500 characters."""
    text = reply.text.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text)[:500].strip()
