"""A message as bytes and addresses for the wire.

The one place that knows how Django's generations differ in this: up to 5.2 messages are
written by the legacy email API, from 6.0 on by the modern one with a policy.
"""

import email.message
import email.policy
import functools
import random
import re
from collections.abc import Callable
from email.generator import BytesGenerator
from email.message import Message
from email.utils import parseaddr
from io import BytesIO
from typing import Any, cast

import django
from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp

_MODERN = django.VERSION >= (6, 0)


def rendered(message: EmailMessage) -> Message:
    """The message as Django's SMTP backend would write it."""
    if _MODERN:
        return cast(Message, cast(Any, message).message(policy=email.policy.SMTP))
    return message.message()


def to_bytes(message: EmailMessage) -> bytes:
    """The bytes that Django's SMTP backend would send, before dot-stuffing.

    Raises:
        ValueError: a header has a line break or can't be encoded.
    """
    as_frozen: Callable[[], bytes | None] | None = getattr(message, "as_frozen", None)
    if as_frozen is not None and (written := as_frozen()) is not None:
        return written
    content = cast(Any, rendered(message))
    if type(content).as_bytes not in _USUAL:
        # The message's class writes itself, perhaps with the line ends of this machine.
        own = cast(bytes, content.as_bytes() if _MODERN else content.as_bytes(linesep="\r\n"))
        return _LINE_END.sub(b"\r\n", own)
    buffer = BytesIO()
    if _MODERN:
        # A class may write itself by a policy with the line ends of this machine.
        policy = content.policy.clone(linesep="\r\n")
        _Generator(buffer, mangle_from_=False, policy=policy).flatten(content)
    else:
        _Generator(buffer, mangle_from_=False).flatten(content, linesep="\r\n")
    return buffer.getvalue()


def _usual_writers() -> set[Any]:
    """The methods that write a message by Python's own generator."""
    own = {email.message.Message.as_bytes, email.message.EmailMessage.as_bytes}
    if _MODERN:
        return own
    from django.core.mail.message import MIMEMixin  # gone in 7.0

    return own | {MIMEMixin.as_bytes}


_USUAL = _usual_writers()


class _Generator(BytesGenerator):
    """Python's generator, which takes most of the time of sending, less wasteful.

    It writes line by line, folds headers that need no folding, and searches all text for a
    random boundary by regular expression. What comes out is the same.
    """

    def _write_headers(self, msg: Message) -> None:
        is_legacy = isinstance(self.policy, email.policy.Compat32)  # type: ignore[attr-defined]
        for name, value in msg.raw_items():  # type: ignore[attr-defined]
            if is_legacy and isinstance(value, str) and _fits(name, value):
                self.write(f"{name}: {value}{self._NL}")  # type: ignore[attr-defined]
            else:
                self._fp.write(self.policy.fold_binary(name, value))  # type: ignore[attr-defined, union-attr]
        self.write(self._NL)  # type: ignore[attr-defined]

    def _write_lines(self, lines: str) -> None:
        if lines:
            newline: str = self._NL  # type: ignore[attr-defined]
            is_plain = "\r" not in lines
            self.write(  # type: ignore[attr-defined]
                lines.replace("\n", newline) if is_plain else _NEWLINE.sub(newline, lines)
            )

    @classmethod
    def _make_boundary(cls, text: bytes | None = None) -> str:
        make = super()._make_boundary  # type: ignore[misc]
        if text is None:
            return cast(str, make())
        state = random.getstate()
        boundary = cast(str, make())
        if boundary.encode("ascii") not in text:
            return boundary
        random.setstate(state)
        return cast(str, make(text))


#: Words of visible ASCII, one space between them.
_WORDS = re.compile(r"[!-~]+(?: [!-~]+)*\Z")


def _fits(name: str, value: str) -> bool:
    """Whether a header is written as it is: nothing to encode, no line to fold."""
    return len(name) + len(value) <= 70 and _WORDS.match(value) is not None


_LINE_END = re.compile(rb"\r?\n")
_NEWLINE = re.compile(r"\r\n|\r|\n")


def bare_address(address: str, message: EmailMessage) -> str:
    """The address alone, ASCII, as an SMTP command takes it.

    Raises:
        ValueError: it is no single valid address, or its local part is not ASCII.
    """
    text = str(address)
    if _PLAIN_ADDRESS.match(text):
        return text
    return _bare_address(text, message.encoding or settings.DEFAULT_CHARSET)


#: An address that needs no parsing: no name, quotes, comments or other scripts.
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_ADDRESS = re.compile(
    rf"{_ATOM}(?:\.{_ATOM})*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\Z", re.IGNORECASE | re.ASCII
)


@functools.lru_cache(maxsize=4096)  # parsing takes up to a tenth of the time of sending
def _bare_address(address: str, encoding: Any) -> str:
    if _MODERN:
        # The method uses nothing of its instance; making one would need a host.
        return cast(str, cast(Any, smtp.EmailBackend).prep_address(None, address))
    from django.core.mail.message import sanitize_address  # deprecated from 6.0 on

    bare = parseaddr(sanitize_address(address, encoding))[1]
    if not parseaddr(address)[1].rpartition("@")[0].isascii():
        raise ValueError(f"Invalid address {address!r}: local-part contains non-ASCII characters")
    return bare
