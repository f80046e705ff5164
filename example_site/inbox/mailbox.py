"""Received messages on disk: for each an ``.eml``, and a ``.json`` with the envelope."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path

from example_site import places

MAIL = places.DIRECTORY / "mail"


@dataclass
class Delivered:
    """A received message with its envelope."""

    server: str
    login: str
    mail_from: str
    rcpt_to: list[str]
    tls: bool
    number: int = field(default_factory=time.time_ns)

    @property
    def path(self) -> Path:
        """The path of the message's files, without a suffix."""
        return MAIL / self.server / str(self.number)

    @property
    def server_name(self) -> str:
        return next((s.name for s in places.SERVERS if s.slug == self.server), self.server)

    @property
    def arrived(self) -> datetime:
        return datetime.fromtimestamp(self.number / 1e9, UTC)

    @cached_property
    def content(self) -> bytes:
        return self.path.with_suffix(".eml").read_bytes()

    @cached_property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [(name, str(value)) for name, value in self.message.items()]

    @property
    def subject(self) -> str:
        return str(self.message["Subject"] or "(no subject)")

    @property
    def body(self) -> str:
        part = self.message.get_body(("plain", "html"))
        return str(part.get_content()) if part else ""

    @property
    def attachments(self) -> list[EmailMessage]:
        return list(self.message.iter_attachments())

    @property
    def attachment_names(self) -> list[str]:
        return [part.get_filename() or part.get_content_type() for part in self.attachments]


def keep(delivered: Delivered, content: bytes) -> None:
    """Save a message. The envelope is written last, because it makes the message visible."""
    delivered.path.parent.mkdir(parents=True, exist_ok=True)
    delivered.path.with_suffix(".eml").write_bytes(content)
    unfinished = delivered.path.with_suffix(".part")
    unfinished.write_text(json.dumps(asdict(delivered)))
    unfinished.rename(delivered.path.with_suffix(".json"))


def all_delivered() -> Iterator[Delivered]:
    """All messages of all servers, newest first."""
    files = sorted(MAIL.glob("*/*.json"), key=lambda file: int(file.stem), reverse=True)
    for file in files:
        yield Delivered(**json.loads(file.read_text()))


def delivered(server: str, number: int) -> Delivered | None:
    """One message, or None if it doesn't exist."""
    if server not in {each.slug for each in places.SERVERS}:
        return None
    file = MAIL / server / f"{number}.json"
    return Delivered(**json.loads(file.read_text())) if file.is_file() else None
