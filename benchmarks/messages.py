"""The messages that are sent: small, a newsletter's size, and one with a large attachment."""

import random
from collections.abc import Callable
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives

RECIPIENT = "someone@example.org"
SUBJECT = "Your registration for the conference"
_SENTENCE = "Thank you for your registration; you will find all that you need to know below.\n"
_HTML = '<tr><td class="cell"><a href="https://example.com/item/1">Größe & Farbe</a></td></tr>\n'

#: Builds a message for a connection; None: the project's own backend.
Build = Callable[[Any], EmailMessage]

_ATTACHMENT = random.Random(1).randbytes(760_000)


def small(connection: Any) -> EmailMessage:
    """2 KB of plain text."""
    return EmailMultiAlternatives(SUBJECT, _SENTENCE * 20, None, [RECIPIENT], connection=connection)


def html(connection: Any) -> EmailMessage:
    """30 KB of plain text and HTML."""
    message = EmailMultiAlternatives(
        SUBJECT, _SENTENCE * 100, None, [RECIPIENT], connection=connection
    )
    message.attach_alternative("<table>\n" + _HTML * 240 + "</table>\n", "text/html")
    return message


def large(connection: Any) -> EmailMessage:
    """1 MB with an attachment."""
    message = small(connection)
    message.attach("map.bin", _ATTACHMENT, "application/octet-stream")
    return message


SIZES: dict[str, Build] = {"2 KB": small, "30 KB": html, "1 MB": large}
