"""The outgoing message: a copy with sender and redirect applied, and what it needs.

Only headers change, never the body.
"""

import re
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.policy import compat32
from email.utils import formatdate, make_msgid, parseaddr
from functools import lru_cache, partial

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.utils import DNS_NAME
from django.utils.translation import gettext as _

from wagtail_smtp.config import bounce_address
from wagtail_smtp.config.validation import (
    ascii_address,
    effective_sender,
    is_email_address,
    mailbox,
)
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.delivery.redirect import FIELDS, apply, require_redirected
from wagtail_smtp.delivery.routing import HEADER, STANDARD_DELIVERY, Redirect, Route
from wagtail_smtp.delivery.suppressed import without
from wagtail_smtp.exceptions import MessageTooLarge, MessageUnsupported
from wagtail_smtp.runtime import project
from wagtail_smtp.transports import mime
from wagtail_smtp.transports.base import Envelope, OutgoingMessage, Transport

#: A valid header name (RFC 5322 2.2). Other characters could end the name or the line.
_HEADER_NAME = re.compile(r"[!-9;-~]+")


def prepare(message: EmailMessage) -> EmailMessage:
    """Return a copy of the caller's message with Message-ID and Date.

    They are the same in all attempts; Django would create new ones for each.

    Raises:
        ValueError: a header's name is invalid.
    """
    prepared = mime.copied(message)
    # The locmem backend copies messages, but this plugin's backend has a lock and can't be copied.
    for name in vars(prepared).keys() & {"connection", "_connection"}:
        vars(prepared)[name] = None
    given = {
        name: value
        for name, value in message.extra_headers.items()
        if name.strip().lower() != HEADER.lower()
    }
    for name in given:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"Invalid header name {name!r}")
    present = {name.lower() for name in given}
    # Like Django, put them before the message's own headers.
    fixed = {}
    if "date" not in present:
        fixed["Date"] = formatdate(localtime=settings.EMAIL_USE_LOCALTIME)
    if "message-id" not in present:
        fixed["Message-ID"] = make_msgid(domain=str(DNS_NAME))
    prepared.extra_headers = fixed | given
    # A stored message already knows which of its headers the plugin added.
    known = getattr(message, "wagtail_smtp_fixed", ())
    prepared.wagtail_smtp_fixed = (*fixed, *known)  # type: ignore[attr-defined]  # our own
    return prepared


@contextmanager
def copy_new_attributes(outgoing: EmailMessage, original: EmailMessage) -> Iterator[None]:
    """Copy the attributes that a backend sets on the outgoing message to the caller's.

    django-anymail sets ``anymail_status``, for example, even if it then raises an error.
    """
    before = dict(vars(outgoing))
    try:
        yield
    finally:
        for name, value in vars(outgoing).items():
            if name not in FIELDS and (name not in before or before[name] is not value):
                setattr(original, name, value)


def build_outgoing(
    prepared: EmailMessage,
    candidate: SettingsSetConfig,
    transport: Transport | type[Transport],
    redirect: Redirect | None,
    *,
    username: str,
    key: str = "",
    suppressed: Collection[str] = (),
) -> OutgoingMessage:
    """Return the message as the candidate sends it, with sender and redirect applied.

    Args:
        prepared: from :func:`prepare`; it is not changed.
        transport: the candidate's, or its class; only its capabilities are used.
        username: the candidate's login, which may be its sender address.
        key: of the log entry.
        suppressed: recipients that don't get it, normalised.

    Raises:
        RedirectError: the message could still reach someone else.
        ValueError: an address is invalid.
    """
    message = mime.copied(prepared)
    address = _sender_address(candidate, username)
    if not transport.encodes_addresses:
        _set_sender(message, candidate, address)
    sender = candidate.bounce_address or message.from_email
    if redirect is not None:
        # Bounces must not reach the original sender.
        sender = candidate.bounce_address or address or settings.DEFAULT_FROM_EMAIL
        apply(
            message,
            redirect,
            is_black_box=transport.is_black_box,
            envelope_sender=str(sender) if transport.uses_from_email_as_sender else "",
        )
    elif suppressed and transport.is_black_box:
        without(message, suppressed)
    recipients = message.recipients() if redirect is None else redirect.addresses
    if transport.encodes_addresses:
        mime.update_domains(message)
    envelope = Envelope(
        _envelope_sender(message, candidate, transport, str(sender), key),
        _envelope_recipients(message, recipients, suppressed),
    )
    check_redirect = None if redirect is None else partial(require_redirected, redirect=redirect)
    return OutgoingMessage(message, envelope, check_redirect, key)


def _envelope_sender(
    message: EmailMessage,
    candidate: SettingsSetConfig,
    transport: Transport | type[Transport],
    sender: str,
    key: str,
) -> str:
    """The sender's bare address, which names the log entry if bounces are to be recognised."""
    bare = _parsed(sender)[1] if transport.encodes_addresses else mime.bare_address(sender, message)
    if candidate.bounce_separator and key and transport.keeps_envelope_sender:
        return bounce_address.signed(bare, candidate.bounce_separator, uuid.UUID(key))
    return bare


def _envelope_recipients(
    message: EmailMessage, recipients: Iterable[str], suppressed: Collection[str]
) -> tuple[str, ...]:
    """The bare addresses of those who get the message, each once."""
    bare = dict.fromkeys(mime.bare_address(item, message) for item in recipients)
    return tuple(item for item in bare if item.lower() not in suppressed)


def _sender_address(item: SettingsSetConfig, username: str) -> str:
    if address := effective_sender(item):
        return address
    return username if is_email_address(username) else ""


def _set_sender(message: EmailMessage, item: SettingsSetConfig, address: str) -> None:
    """Apply the set's sender, unless the message has its own and may keep it."""
    header = next((k for k in message.extra_headers if k.lower() == "from"), None)
    original = str(message.extra_headers[header] if header else message.from_email)
    has_own_sender = header is not None or not _is_site_default(original)
    if has_own_sender and not item.always_use_sender:
        return
    name, current = _parsed(original)
    if header is not None:
        del message.extra_headers[header]
    else:
        mime.bare_address(original, message)  # raises ValueError if it is invalid
    new_name, new_address = item.sender_name or name, address or current
    if (new_name, new_address) == (name, current):
        message.from_email = original
    else:
        message.from_email = mailbox(new_name, ascii_address(new_address))
    # Django only writes this spelling of the header.
    has_reply_to = message.reply_to or "Reply-To" in message.extra_headers
    if has_own_sender and not has_reply_to and current != (address or current):
        message.reply_to = [original]


# A site has few senders, and parsing one takes longer than everything else here.
_parsed = lru_cache(maxsize=256)(parseaddr)


def _is_site_default(address: str) -> bool:
    defaults = (
        settings.DEFAULT_FROM_EMAIL,
        getattr(settings, "WAGTAILADMIN_NOTIFICATION_FROM_EMAIL", None),
        settings.SERVER_EMAIL,
    )
    name, bare = _parsed(address)
    # An address that can't be parsed equals no other.
    return bool(bare) and any(
        (name, bare) == _parsed(str(default)) for default in defaults if default
    )


#: Attributes that only an email provider can turn into messages: each recipient's own, from a
#: template. Even empty ones cause a message per recipient, where recipients don't see each other.
NEEDS_MERGING = (
    "template_id",
    "merge_data",
    "merge_global_data",
    "merge_headers",
    "merge_metadata",
)


def check_supported(message: EmailMessage, transport: Transport, route: Route) -> None:
    """Check that the transport can fill in the message's template, as SMTP can't.

    Raises:
        MessageUnsupported: phase ``unsupported``.
    """
    found = [name for name in NEEDS_MERGING if getattr(message, name, None) is not None]
    # With standard delivery alone, the project chose what it sends, as without this plugin.
    if not found or transport.supports_merge_data or route.candidates == (STANDARD_DELIVERY,):
        return
    with project.in_site_language():
        text = _(
            "“%(set)s” sends by SMTP, which doesn't support email provider templates: %(what)s."
        ) % {"set": transport.name, "what": ", ".join(found)}
    raise MessageUnsupported(text, phase="unsupported")


#: Bytes per megabyte, as used in *max size*.
MEGABYTE = 1024 * 1024

_AS_MAILED = compat32.clone(linesep="\r\n")


def check_size(outgoing: OutgoingMessage, candidate: SettingsSetConfig) -> None:
    """Check the size of the attachments.

    Raises:
        MessageTooLarge: they are larger than the set's limit; phase ``size``.
    """
    if candidate.max_size is None:
        return
    allowed = candidate.max_size * MEGABYTE
    # The size of the whole message is an upper bound that needs no parsing.
    if outgoing.size <= allowed:
        return
    size = sum(size for _name, size in attachments(outgoing.content))
    if size > allowed:
        raise MessageTooLarge(
            f"{candidate.name}: the attachments take {size / MEGABYTE:.1f} MB in the email, and "
            f"the limit of this set is {candidate.max_size} MB.",
            phase="size",
        )


def attachments(content: bytes) -> Iterator[tuple[str, int]]:
    """The name and the size, in bytes as sent, of each attachment of a message.

    Everything but the text counts, with or without a name, including pictures within the text.
    """
    structure = mime.Structure(content)
    for part in mime.leaves(structure.parsed):
        name = part.get_filename()
        is_text = part.get_content_maintype() == "text"
        if name is not None or not is_text or part.get_content_disposition() == "attachment":
            yield name or "", structure.size(_text(part))


def _text(part: Message) -> str:
    payload = part.get_payload()
    if isinstance(payload, str):
        return payload
    # An attached message: its headers and parts.
    written = part.as_bytes(policy=_AS_MAILED).partition(b"\r\n\r\n")[2]
    return written.decode("ascii", "surrogateescape")
