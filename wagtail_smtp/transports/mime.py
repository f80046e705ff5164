"""A message as bytes and addresses for the wire.

The one place that knows how Django's generations differ in this: up to 5.2 messages are
written by the legacy email API, from 6.0 on by the modern one with a policy.
"""

import email.policy
from email.message import Message
from email.utils import parseaddr
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
    content = cast(Any, rendered(message))
    return cast(bytes, content.as_bytes() if _MODERN else content.as_bytes(linesep="\r\n"))


def bare_address(address: str, message: EmailMessage) -> str:
    """The address alone, ASCII, as an SMTP command takes it.

    Raises:
        ValueError: it is no single valid address, or its local part is not ASCII.
    """
    if _MODERN:
        # The method uses nothing of its instance; making one would need a host.
        return cast(str, cast(Any, smtp.EmailBackend).prep_address(None, address))
    from django.core.mail.message import sanitize_address  # deprecated from 6.0 on

    encoding = message.encoding or settings.DEFAULT_CHARSET
    bare = parseaddr(sanitize_address(address, encoding))[1]
    if not parseaddr(str(address))[1].rpartition("@")[0].isascii():
        raise ValueError(f"Invalid address {address!r}: local-part contains non-ASCII characters")
    return bare
