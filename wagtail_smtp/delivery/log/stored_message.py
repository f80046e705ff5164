"""Convert messages to bytes that can be stored, and back; store and load them.

A message is frozen as the caller made it, with Message-ID and Date set, but before the sender and
the redirect are applied: those depend on the settings at the time it is sent. Its body is never
rendered again, so signatures remain valid.
"""

import email
import email.policy
import functools
import hashlib
import itertools
import json
import re
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.message import Message, MIMEPart
from email.mime.base import MIMEBase
from io import BytesIO
from typing import Any, cast

import django
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.db import connections
from django.db.models import Sum
from django.utils.functional import Promise

from wagtail_smtp import alerts
from wagtail_smtp.conf import conf
from wagtail_smtp.config import crypto
from wagtail_smtp.exceptions import (
    MessageLocked,
    MessageUnreadable,
    SecretUnreadable,
    StorageFull,
)
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.models import LogEntry, StoredMessage, StoredPiece
from wagtail_smtp.runtime import process
from wagtail_smtp.transports import mime

#: Version of the format. Rows in any other format are refused (ARCHITECTURE decision 9).
FORMAT = 1

#: Attributes for email providers that are stored with a message, as JSON.
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
    # Set by this plugin, not by a provider: the headers that were added when it was frozen.
    "wagtail_smtp_fixed",
)
#: Headers that are rendered again from a message's fields.
_FIELDS = frozenset({"subject", "from", "to", "cc", "bcc", "reply-to"})


@dataclass(frozen=True, slots=True)
class Frozen:
    """A message as compressed bytes; ``size`` is its uncompressed size in bytes."""

    content: bytes
    size: int


def freeze(prepared: EmailMessage) -> Frozen:
    """Convert a message to bytes.

    Args:
        prepared: from :func:`wagtail_smtp.delivery.outgoing.prepare`.

    Raises:
        ValueError: it can't be rendered, or an attribute can't be stored as JSON.
    """
    if isinstance(prepared, FrozenMessage) and prepared.is_unchanged():
        return _packed(*prepared.wagtail_smtp_frozen)
    content = mime.to_bytes(prepared)
    values = {
        "from_email": str(prepared.from_email),
        "to": [*map(str, prepared.to)],
        "cc": [*map(str, prepared.cc)],
        "bcc": [*map(str, prepared.bcc)],
        # A subclass may add recipients or leave some out.
        "recipients": [*map(str, prepared.recipients())],
        "reply_to": [*map(str, prepared.reply_to)],
        "subject": str(prepared.subject),
        "headers": _headers(prepared, content),
        "attributes": _attributes(prepared),
    }
    return _packed(values, content)


def _packed(values: dict[str, Any], content: bytes) -> Frozen:
    head = json.dumps({"format": FORMAT, **values}).encode() + b"\n"
    packer, buffer = zlib.compressobj(1), BytesIO()
    buffer.write(packer.compress(head))
    for start in range(0, len(content), _BLOCK):
        buffer.write(packer.compress(memoryview(content)[start : start + _BLOCK]))
    buffer.write(packer.flush())
    return Frozen(buffer.getvalue(), len(content))


def _headers(prepared: EmailMessage, content: bytes) -> dict[str, str]:
    """The message's extra headers, including those that a subclass adds."""
    own = {str(name): str(value) for name, value in prepared.extra_headers.items()}
    if type(prepared).message is EmailMessage.message:
        return own
    present = {name.lower() for name in own}
    written = email.message_from_bytes(content[: _end_of_head(content)], policy=email.policy.SMTP)
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
    """Convert sets, and lazy translations in the active language, for ``json.dumps``."""
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} can't be stored as JSON")


def thaw(content: bytes) -> "FrozenMessage":
    """Convert what :func:`freeze` wrote back to a message.

    Raises:
        MessageUnreadable: it is damaged.
        MessageLocked: it was written in another format, by another release.
    """
    return _thawed([content])


def _thawed(pieces: Iterable[bytes]) -> "FrozenMessage":
    """Do the same with content in pieces; none is asked for beyond the message's end."""
    try:
        head, written = _unpacked(pieces)
        values = json.loads(head)
        written_as = values.pop("format")
    except (zlib.error, ValueError, KeyError, AttributeError) as error:
        raise MessageUnreadable("The stored message is damaged.") from error
    if written_as != FORMAT:
        raise MessageLocked("The stored message was written by another release of wagtail-smtp.")
    try:
        message = FrozenMessage(values, written)
        message.recipients()  # reads the only value that isn't read above
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MessageUnreadable("The stored message is damaged.") from error
    return message


def _unpacked(pieces: Iterable[bytes]) -> tuple[bytes, bytes]:
    """The values and the message in compressed pieces, without copying the message."""
    blocks = _decompressed(pieces)
    head, newline, rest = b"", b"", b""
    for block in blocks:
        head, newline, rest = (head + block).partition(b"\n")
        if newline:
            break
    buffer = BytesIO()
    buffer.write(rest)
    for block in blocks:
        buffer.write(block)
    return head, buffer.getvalue()


def _decompressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj()
    for piece in pieces:
        left = piece
        while left and not unpacker.eof:
            yield unpacker.decompress(left, _BLOCK)
            left = unpacker.unconsumed_tail
        if unpacker.eof:
            return
    yield unpacker.flush()
    if not unpacker.eof:
        raise zlib.error("incomplete")


_MODERN = django.VERSION >= (6, 0)


class FrozenMessage(EmailMultiAlternatives):
    """A stored message. Its fields can be changed; its body is sent as it was stored."""

    def __init__(self, values: dict[str, Any], content: bytes) -> None:
        super().__init__(
            subject=values["subject"],
            from_email=values["from_email"],
            to=values["to"],
            cc=values["cc"],
            bcc=values["bcc"],
            reply_to=values["reply_to"],
            headers=dict(values["headers"]),
        )
        for name, value in values["attributes"].items():
            setattr(self, name, _moment(value) if name == "send_at" else value)
        # A name that can't be mistaken for a provider's attribute.
        self.wagtail_smtp_frozen = (values, content)

    def recipients(self) -> list[str]:
        """The original message's recipients, unless ``to``, ``cc`` or ``bcc`` was changed."""
        values = self.wagtail_smtp_frozen[0]
        same = all(getattr(self, name) == values[name] for name in ("to", "cc", "bcc"))
        return list(values["recipients"]) if same else super().recipients()

    def is_unchanged(self) -> bool:
        """Whether no field was changed, so that freezing it again gives the same bytes."""
        values, content = self.wagtail_smtp_frozen
        return self.as_frozen() is content and self.bcc == values["bcc"]

    @property
    def frozen_content(self) -> bytes:
        """The whole message as rendered when it was frozen."""
        return self.wagtail_smtp_frozen[1]

    def as_frozen(self) -> bytes | None:
        """The message as stored, with the current From; None if another field was changed.

        This is much faster than rendering the headers again.
        """
        values, content = self.wagtail_smtp_frozen
        if (
            self.subject != values["subject"]
            or self.to != values["to"]
            or self.cc != values["cc"]
            or self.reply_to != values["reply_to"]
            or self.extra_headers != values["headers"]
        ):
            return None
        if self.from_email == values["from_email"]:
            return content
        return _with_from(content, _from_line(self.from_email, self.encoding))

    def message(self, **kwargs: Any) -> Any:
        """Render the headers from the fields; the body stays as stored."""
        written = self.as_frozen()
        if written is not None:
            return _Written(None, written)
        fields = EmailMessage(
            self.subject,
            "",
            self.from_email,
            self.to,
            cc=self.cc,
            reply_to=self.reply_to,
            headers=self.extra_headers,
        )
        fields.encoding = self.encoding
        return _Written(mime.rendered(fields), self.frozen_content)

    def unpack(self) -> None:
        """Set body, alternatives and attachments, for backends that read those.

        Raises:
            MessageUnreadable: a part's charset is unknown.
        """
        structure = mime.Structure(self.frozen_content, email.policy.SMTP)
        structure.restore()
        try:
            self._unpack(structure.parsed)
        except (LookupError, ValueError) as error:
            raise MessageUnreadable(f"A part of the message can't be read: {error}") from error

    def _unpack(self, parsed: MIMEPart) -> None:
        plain, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
        body = html if plain is None else plain
        if body is not None:
            self.body = body.get_content()
            self.content_subtype = body.get_content_subtype()
        for part, is_alternative in _parts(parsed, body) if parsed.is_multipart() else ():
            if is_alternative or part is html:
                self.attach_alternative(part.get_content(), _mimetype(part))
            else:
                self.attach(cast(Any, part if _MODERN else _legacy(part)))


def _moment(value: Any) -> Any:
    """Parse an ISO time; other values, such as numbers and provider keywords, stay as they are."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value


@functools.lru_cache(maxsize=256)
def _from_line(from_email: str, encoding: Any) -> bytes:
    """The From header as Django renders it, with its line endings."""
    fields = EmailMessage("", "", from_email, ["to@example.com"])
    fields.encoding = encoding
    content = mime.to_bytes(fields)
    head = content[: _end_of_head(content)] + b"\r\n"
    return _FROM.search(head)[0]  # type: ignore[index]


#: The From header with its continuation lines.
_FROM = re.compile(rb"^From:.*\r\n(?:[ \t].*\r\n)*", re.IGNORECASE | re.MULTILINE)


def _with_from(content: bytes, line: bytes) -> bytes | None:
    end = _end_of_head(content)
    changed, count = _FROM.subn(lambda _found: line, content[:end] + b"\r\n")
    return b"".join((changed, memoryview(content)[end + 2 :])) if count == 1 else None


def _end_of_head(content: bytes) -> int:
    """Where the last line of the headers ends."""
    found = content.find(b"\r\n\r\n")
    return len(content) if found < 0 else found


def _parts(whole: MIMEPart, body: MIMEPart | None) -> Iterator[tuple[MIMEPart, bool]]:
    """Yield every part except the body, and whether it is an alternative to the body."""
    of_alternatives = whole.get_content_type() == "multipart/alternative"
    for part in whole.iter_parts():
        if part is body:
            continue
        holds_body = any(inner is body for inner in part.walk())
        if part.is_multipart() and (holds_body or part.get_content_type() in _OF_BODIES):
            yield from _parts(part, body)
        else:
            yield part, of_alternatives and not part.is_multipart() and not part.is_attachment()


#: Multipart types that contain a body, not an attachment.
_OF_BODIES = ("multipart/alternative", "multipart/related")


def _mimetype(part: MIMEPart) -> str:
    """A part's content type, with parameters such as a calendar's ``method``."""
    params = cast(Any, part["Content-Type"]).params if "Content-Type" in part else {}
    more = (f"; {name}={value}" for name, value in params.items() if name.lower() != "charset")
    return part.get_content_type() + "".join(more)


def _legacy(part: Message) -> MIMEBase:
    """Convert a part to the class that Django before 6.0 expects."""
    base = MIMEBase(part.get_content_maintype(), part.get_content_subtype())
    vars(base).update(_headers=list(part.raw_items()), _payload=part.get_payload())
    return base


class _Written(Message):
    """A message whose body is bytes and is never rendered again."""

    def __init__(self, fields: Message | None, content: bytes) -> None:
        super().__init__(policy=fields.policy if fields is not None else email.policy.compat32)
        self._fields = fields
        self._content = content
        head = content[: _end_of_head(content)] + b"\r\n\r\n"
        parsed = email.message_from_bytes(head)
        if fields is None:
            self._headers = list(parsed.raw_items())
        else:
            own = [(n, v) for n, v in fields.raw_items() if not is_mime(n.lower())]
            kept = [(n, v) for n, v in parsed.raw_items() if is_mime(n.lower())]
            self._headers = [*kept, *own]

    def as_bytes(self, unixfrom: bool = False, policy: Any = None, linesep: str = "\r\n") -> bytes:
        """The whole message, with ``linesep`` as line ending."""
        written = self._content
        if self._fields is not None:
            end = _end_of_head(self._content)
            own = self._fields.policy.clone(linesep="\r\n")
            fields = b"".join(
                own.fold_binary(name, value)
                for name, value in self._fields.raw_items()
                if not is_mime(name.lower())
            )
            head = _mime_lines(self._content[:end])
            written = b"".join((head, fields, memoryview(self._content)[end + 2 :]))
        return written if linesep == "\r\n" else written.replace(b"\r\n", linesep.encode())

    def as_string(self, *args: Any, **kwargs: Any) -> str:
        """The whole message as text."""
        return self.as_bytes(linesep="\n").decode("utf-8", "replace")


def _mime_lines(head: bytes) -> bytes:
    """The unchanged MIME header lines of a message's head."""
    kept: list[bytes] = []
    is_kept = False
    for line in head.split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            is_kept = is_mime(line.partition(b":")[0].decode("ascii", "replace").lower())
        if is_kept:
            kept.append(line + b"\r\n")
    return b"".join(kept)


def is_mime(lower: str) -> bool:
    """Whether a header is a MIME header; ``lower`` is its name in lower case."""
    return lower == "mime-version" or lower.startswith("content-")


#: Bytes that are compressed or decompressed at a time, and compressed bytes of a piece: a row. Each
#: step, in this process, the driver and the database, holds a few copies of a row in memory.
_BLOCK = 1024 * 1024
PIECE = 512 * 1024
#: Percentage of the quota at which ADMINS are alerted.
WARN_AT = 80
#: Message size, in bytes, that MySQL and MariaDB always accept, and an allowance for the rest of
#: the statement.
_ALWAYS_FITS, _OF_STATEMENT = 64 * 1024, 4 * 1024
#: Seconds for which the total stored size is cached.
_REMEMBERED = 60


def keep(entry: LogEntry, frozen: bytes) -> None:
    """Store the message of an entry, as returned by :func:`freeze`.

    Raises:
        StorageFull: the quota would be exceeded, or a piece is larger than the database accepts.
            Nothing was written, and the transaction can still be used.
    """
    first, *others = [crypto.seal(piece) for piece in _in_pieces(frozen)]
    _check_size(max((first, *others), key=len))
    size = len(first) + sum(map(len, others))
    _usage.add(size)
    # By primary key: otherwise ``entry.stored`` would be cached even after a rollback.
    StoredMessage.objects.create(entry_id=entry.pk, content=first, size=size)
    for number, content in enumerate(others, 1):
        StoredPiece.objects.create(entry_id=entry.pk, number=number, content=content)


def _in_pieces(frozen: bytes) -> Iterator[bytes]:
    """Split a message. Each piece begins with the digest of the one before, so none fits others."""
    piece = frozen[:PIECE]
    yield piece
    for start in range(PIECE, len(frozen), PIECE):
        piece = hashlib.sha256(piece).digest() + frozen[start : start + PIECE]
        yield piece


def _read_pieces(content: bytes, entry_id: int) -> Iterator[bytes]:
    """Decrypt the first piece, then read and decrypt the others one by one."""
    piece = crypto.unseal(content)
    yield piece
    rows = StoredPiece.objects.using(db_connections.write_alias()).filter(entry=entry_id)
    for number in itertools.count(1):
        found = rows.filter(number=number).values_list("content", flat=True).first()
        if found is None:
            return
        digest = hashlib.sha256(piece).digest()
        piece = crypto.unseal(bytes(found))
        if not piece.startswith(digest):
            raise MessageUnreadable("The stored message is damaged.")
        yield piece[len(digest) :]


def discard(entries: Iterable[int]) -> None:
    """Delete the messages of entries, given by key.

    Without a transaction, an interruption leaves incomplete messages, which can be deleted again.
    """
    alias = db_connections.write_alias()
    for model in (StoredPiece, StoredMessage):
        model._default_manager.using(alias).filter(entry__in=entries)._raw_delete(alias)


def _check_size(content: bytes) -> None:
    """Refuse messages for which MySQL and MariaDB would close the connection.

    The limit is read every time, because it can change while this process runs.
    """
    connection = connections[db_connections.write_alias()]
    if connection.vendor != "mysql" or len(content) < _ALWAYS_FITS:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    # The driver sends the content as a literal, with a backslash before some bytes.
    escaped = sum(content.count(byte) for byte in b"\0\n\r\x1a'\"\\")
    if len(content) + escaped + _OF_STATEMENT > limit:
        raise StorageFull(
            f"The message is larger than the database accepts: {len(content)} bytes once "
            f"compressed and encrypted, where max_allowed_packet is {limit}."
        )


def load(entry: LogEntry) -> FrozenMessage:
    """Load the message of an entry.

    Raises:
        MessageUnreadable: it isn't stored, or it is damaged.
        MessageLocked: it can't be decrypted, or another release wrote it.
    """
    stored = StoredMessage.objects.using(db_connections.write_alias()).filter(entry=entry)
    return opened(stored.values_list("content", flat=True).first(), entry.pk)


def opened(content: bytes | memoryview | None, entry_id: int) -> FrozenMessage:
    """Decrypt the message of an entry; raises what :func:`load` raises.

    Args:
        content: of its :class:`StoredMessage`; None: there is none.
    """
    if content is None:
        raise MessageUnreadable("The message is not stored any more.")
    try:
        return _thawed(_read_pieces(bytes(content), entry_id))
    except SecretUnreadable as error:
        raise MessageLocked(
            "The stored message can't be decrypted: this process lacks the key it was stored with."
        ) from error


def percent_used() -> int:
    """Percentage of the quota that is used."""
    rows = StoredMessage.objects.using(db_connections.write_alias())
    return int(100 * (rows.aggregate(stored=Sum("size"))["stored"] or 0) // conf.MAX_STORED)


class _Usage:
    """How many bytes are stored, cached in this process for a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stored_size = 0
        self._known_until = 0.0

    def add(self, size: int) -> None:
        """Count ``size`` more bytes.

        Raises:
            StorageFull: the quota would be exceeded; nothing was counted.
        """
        now = time.monotonic()
        if now >= self._known_until:
            rows = StoredMessage.objects.using(db_connections.write_alias())
            stored = rows.aggregate(stored=Sum("size"))["stored"] or 0
            with self._lock:
                self._stored_size, self._known_until = stored, now + _REMEMBERED
        with self._lock:
            if self._stored_size + size > conf.MAX_STORED:
                # Messages may be pruned at any time, so the next call reads the total again.
                self._known_until = 0.0
                alerts.note_store_usage(100)
                raise StorageFull(
                    f"The stored messages would be larger than {conf.MAX_STORED} bytes "
                    "(WAGTAIL_SMTP['MAX_STORED'])."
                )
            self._stored_size += size
            percent = 100 * self._stored_size // conf.MAX_STORED
        if percent >= WARN_AT:
            alerts.note_store_usage(percent)


_usage = _Usage()
process.after_in_child(lambda: _usage.__init__())  # type: ignore[misc]


def forget() -> None:
    """Discard the cached total, so that it is read again; for tests and after pruning."""
    _usage.__init__()  # type: ignore[misc]
