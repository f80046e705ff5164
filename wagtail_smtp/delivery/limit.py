"""How large the attachments of a message may be at a set."""

import email
from collections.abc import Iterator
from email.message import Message

from wagtail_smtp.configuration import SettingsSetConfig
from wagtail_smtp.exceptions import MessageTooLarge
from wagtail_smtp.transports.base import Letter

#: Octets of the megabyte that people enter.
MEGABYTE = 1024 * 1024


def check(letter: Letter, item: SettingsSetConfig | None) -> None:
    """Refuse a letter whose attachments are too large for the set.

    Raises:
        MessageTooLarge: phase ``size``.
    """
    if item is None or item.max_size is None:
        return
    allowed = item.max_size * MEGABYTE
    # The whole message is an upper bound, and known without reading it.
    if len(letter.content) <= allowed:
        return
    size = sum(size for _name, size in attachments(letter.content))
    if size > allowed:
        raise MessageTooLarge(
            f"{item.name}: the attachments have {size / MEGABYTE:.1f} MB as mailed, the limit of "
            f"this set is {item.max_size} MB.",
            phase="size",
        )


def attachments(content: bytes) -> Iterator[tuple[str, int]]:
    """Name and size, in octets as mailed, of each attachment of a message."""
    for part in _leaves(email.message_from_bytes(content)):
        name = part.get_filename()
        if name is not None or part.get_content_disposition() == "attachment":
            payload = part.get_payload()
            size = len(payload) if isinstance(payload, str) else len(part.as_bytes())
            yield name or "", size


def _leaves(message: Message) -> Iterator[Message]:
    for part in message.get_payload() if message.is_multipart() else ():
        if isinstance(part, Message):
            if part.get_content_maintype() == "multipart":
                yield from _leaves(part)
            else:
                yield part
