"""A stored message as the log shows it: its text, attachments and source."""

import email
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from django.core.exceptions import PermissionDenied, SuspiciousFileOperation
from django.utils.text import get_valid_filename

from wagtail_smtp.categories import SECURITY
from wagtail_smtp.delivery.log import message_store
from wagtail_smtp.models import LogEntry


@dataclass(frozen=True)
class Attachment:
    """An attachment; ``number`` counts from 1."""

    number: int
    name: str
    content: bytes

    @property
    def size(self) -> int:
        """The decoded size in bytes."""
        return len(self.content)


class KeptMessage:
    """The stored message of an entry, parsed but not rendered. Loads nothing remote."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self._files: list[Message] = []
        #: The first text part of each content type.
        self._texts: dict[str, Message] = {}
        for part in _leaves(email.message_from_bytes(source)):
            kind = part.get_content_type()
            if _is_file(part) or kind in self._texts:
                self._files.append(part)
            else:
                self._texts[kind] = part

    @classmethod
    def of(cls, entry: LogEntry) -> "KeptMessage":
        """Load the message of ``entry``.

        Raises:
            PermissionDenied: it is a security message, which is never shown.
            MessageUnreadable: it isn't stored, its key is missing, or it is damaged.
        """
        if entry.category == SECURITY:
            raise PermissionDenied
        return cls(message_store.load(entry).frozen_content)

    def body(self, kind: str) -> str | None:
        """The text of content type ``text/<kind>``, or None."""
        part = self._texts.get(f"text/{kind}")
        return None if part is None else _text(part)

    @property
    def attachments(self) -> list[Attachment]:
        """Attachments and all other parts that aren't shown as text."""
        return [
            Attachment(number, _name(part, number), _content(part))
            for number, part in enumerate(self._files, 1)
        ]


def _leaves(message: Message) -> Iterator[Message]:
    parts = message.get_payload()
    if message.get_content_maintype() != "multipart" or not isinstance(parts, list):
        yield message
        return
    for part in parts:
        if isinstance(part, Message):
            yield from _leaves(part)


def _is_file(part: Message) -> bool:
    is_named = part.get_filename() is not None
    is_text = part.get_content_type() in ("text/plain", "text/html")
    return is_named or part.get_content_disposition() == "attachment" or not is_text


def _content(part: Message) -> bytes:
    inner = part.get_payload()
    if isinstance(inner, list):  # a message in the message
        return b"".join(each.as_bytes() for each in inner if isinstance(each, Message))
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message) -> str:
    content = _content(part)
    try:
        return content.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def _name(part: Message, number: int) -> str:
    """Return a file name that is safe on every system."""
    given = (part.get_filename() or "").replace("\\", "/")
    try:
        name = get_valid_filename(posixpath.basename(given)).lstrip(".")[-100:]
    except SuspiciousFileOperation:
        name = ""
    return name or f"attachment-{number}"
