"""A message as bytes that can be stored, and back.

What is frozen is the caller's message with Message-ID and Date fixed, before sender and redirect
are applied: those are decided when it is sent. Its body is never written anew, so signed parts
stay as they are.
"""

import email
import email.policy
import json
import zlib
from dataclasses import dataclass
from typing import Any

from django.core.mail import EmailMessage
from django.utils.functional import Promise

from wagtail_smtp.delivery.frozen import FrozenMessage, is_mime
from wagtail_smtp.exceptions import MessageLocked, MessageUnreadable
from wagtail_smtp.transports import mime

#: Version of the format. Rows of a newer one are refused (ARCHITECTURE decision 9).
FORMAT = 1

#: Attributes of provider backends that travel with a message; their values must fit into JSON.
ATTRIBUTES = (
    "envelope_sender",
    "esp_extra",
    "merge_data",
    "merge_global_data",
    "merge_headers",
    "merge_metadata",
    "metadata",
    "send_at",
    "tags",
    "template_id",
    "track_clicks",
    "track_opens",
    # Not a provider's: which of its headers were fixed here.
    "wagtail_smtp_fixed",
)
#: Headers that are made anew from a message's fields.
_FIELDS = frozenset({"subject", "from", "to", "cc", "bcc", "reply-to"})


@dataclass(frozen=True, slots=True)
class Frozen:
    """A message as bytes, compressed; ``size`` is in octets as mailed."""

    content: bytes
    size: int


def freeze(prepared: EmailMessage) -> Frozen:
    """A message as bytes.

    Args:
        prepared: from :func:`wagtail_smtp.delivery.shape.prepare`.

    Raises:
        ValueError: it can't be written, or a provider's attribute doesn't fit into JSON.
    """
    if isinstance(prepared, FrozenMessage) and prepared.is_unchanged():
        return _packed(*prepared.wagtail_smtp_frozen)
    content = mime.to_bytes(prepared)
    values = {
        "from_email": str(prepared.from_email),
        "to": [*map(str, prepared.to)],
        "cc": [*map(str, prepared.cc)],
        "bcc": [*map(str, prepared.bcc)],
        # Whom its class adds or leaves out.
        "recipients": [*map(str, prepared.recipients())],
        "reply_to": [*map(str, prepared.reply_to)],
        "subject": str(prepared.subject),
        "headers": _headers(prepared, content),
        "attributes": _attributes(prepared),
    }
    return _packed(values, content)


def _packed(values: dict[str, Any], content: bytes) -> Frozen:
    head = json.dumps({"format": FORMAT, **values}).encode()
    return Frozen(zlib.compress(head + b"\n" + content, 1), len(content))


def _headers(prepared: EmailMessage, content: bytes) -> dict[str, str]:
    """The message's own headers, those its class writes included."""
    own = {str(name): str(value) for name, value in prepared.extra_headers.items()}
    if type(prepared).message is EmailMessage.message:
        return own
    present = {name.lower() for name in own}
    written = email.message_from_bytes(content.partition(b"\r\n\r\n")[0], policy=email.policy.SMTP)
    for name, value in written.items():
        lower = name.lower()
        if lower not in present and lower not in _FIELDS and not is_mime(lower):
            own[name] = str(value)
    return own


def _attributes(message: EmailMessage) -> dict[str, Any]:
    found = {}
    for name in ATTRIBUTES:
        value = getattr(message, name, None)
        if value is None:
            continue
        if hasattr(value, "isoformat"):
            value = value.isoformat()
        try:
            found[name] = json.loads(json.dumps(value, default=_plain, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"The message's {name} can't be stored: {error}") from error
    return found


def _plain(value: Any) -> Any:
    """What JSON doesn't know: translations in the language of now, and lists of other kinds."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def thaw(content: bytes) -> "FrozenMessage":
    """The message that :func:`freeze` wrote.

    Raises:
        MessageUnreadable: it is damaged, or was written by a newer release.
    """
    try:
        head, _newline, written = zlib.decompress(content).partition(b"\n")
        values = json.loads(head)
        written_as = values.pop("format")
    except (zlib.error, ValueError, KeyError, AttributeError) as error:
        raise MessageUnreadable("The stored message is damaged.") from error
    if written_as != FORMAT:
        raise MessageLocked("The stored message was written by another release of wagtail-smtp.")
    try:
        return FrozenMessage(values, written)
    except (KeyError, TypeError) as error:
        raise MessageUnreadable("The stored message is damaged.") from error
