"""What a server's reply means, by the table in SPEC 4."""

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
    """Whether the server agrees."""
    return 200 <= reply.code < 300


def is_no(reply: Reply) -> bool:
    """Whether the server refuses, for now or for good."""
    return 400 <= reply.code < 600


def error_for(name: str, phase: str, reply: Reply) -> AttemptFailed:
    """The error for a reply that says no, by the table in SPEC 4."""
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
    # 552 is a full mailbox as well (5.2.2), and Gmail's word for files it doesn't take (5.7.0).
    enhanced = _ENHANCED.match(text)
    return enhanced[0] in _TOO_LARGE if enhanced else code == 552


def connection_lost(name: str, phase: str, error: OSError) -> MessageDeferred:
    """The error for a connection that failed before the message was handed over."""
    return MessageDeferred(f"{name}: failed at {phase}: {error}", phase=phase)


def response_text(reply: Reply) -> str:
    """The server's words on one line, without control characters, at most 500 characters."""
    text = reply.text.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text)[:500].strip()
