"""The message as it is sent: a copy with sender and redirect applied, headers only."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from email.utils import formatdate, make_msgid, parseaddr
from functools import lru_cache

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.utils import DNS_NAME

from wagtail_smtp.config.validation import (
    ascii_address,
    effective_sender,
    is_email_address,
    mailbox,
)
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.delivery.classify import HEADER
from wagtail_smtp.delivery.redirect import FIELDS, apply, copied
from wagtail_smtp.delivery.routing import Redirect, is_black_box
from wagtail_smtp.transports import mime
from wagtail_smtp.transports.base import Envelope
from wagtail_smtp.transports.standard import StandardTransport

#: What a header may be called (RFC 5322 2.2). Anything else could end the name, or the line.
_HEADER_NAME = re.compile(r"[!-9;-~]+")


def prepare(message: EmailMessage) -> EmailMessage:
    """Return a copy of the caller's message that may be changed, with Message-ID and Date.

    They stay equal over all attempts: Django would make new ones at each.

    Raises:
        ValueError: a header's name is invalid.
    """
    prepared = copied(message)
    # The way back to this plugin stays behind: locmem copies messages, and locks can't be.
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
    # Where Django puts them: ahead of the message's own headers.
    fixed = {}
    if "date" not in present:
        fixed["Date"] = formatdate(localtime=settings.EMAIL_USE_LOCALTIME)
    if "message-id" not in present:
        fixed["Message-ID"] = make_msgid(domain=str(DNS_NAME))
    prepared.extra_headers = fixed | given
    # A stored message knows already which of its headers are ours.
    prepared.wagtail_smtp_fixed = (*fixed, *getattr(message, "wagtail_smtp_fixed", ()))
    return prepared


@contextmanager
def handed_back(message: EmailMessage, shaped: EmailMessage) -> Iterator[None]:
    """Copy what a backend sets on ``shaped`` to the caller's ``message``.

    django-anymail sets ``anymail_status``, for example, also where it then raises.
    """
    before = dict(vars(shaped))
    try:
        yield
    finally:
        for name, value in vars(shaped).items():
            if name not in FIELDS and (name not in before or before[name] is not value):
                setattr(message, name, value)


def shape(
    prepared: EmailMessage, item: SettingsSetConfig | None, redirect: Redirect | None, username: str
) -> tuple[EmailMessage, Envelope]:
    """The message for one candidate, and its envelope.

    Args:
        prepared: from :func:`prepare`; it is not changed.
        item: the set that will carry it; None: standard delivery, which keeps the sender. That
            and providers are black boxes, which take from the message what they like.
        redirect: who receives it instead.
        username: what the set logs in with; may be its sender address.

    Raises:
        RedirectError: the message could still reach someone else.
        ValueError: an address is invalid; of senders, standard delivery is the judge.
    """
    shaped = copied(prepared)
    own = ""
    if item is not None:
        address = _sender_address(item, username)
        own = item.bounce_address or (address if redirect is not None else "")
        _set_sender(shaped, item, address)
    # Under a redirect, bounces must not reach the original sender.
    sender = own or (settings.DEFAULT_FROM_EMAIL if redirect is not None else shaped.from_email)
    if redirect is not None:
        in_from = item is None and StandardTransport().uses_from_email_as_sender
        apply(
            shaped,
            redirect,
            is_black_box=is_black_box(item),
            envelope_sender=str(sender) if in_from else "",
        )
        recipients: Iterable[str] = redirect.addresses
    else:
        recipients = shaped.recipients()
    if item is None:
        # Its backend is Django's, or writes domains as Django does.
        mime.update_domains(shaped)
    return shaped, Envelope(
        _parsed(str(sender))[1] if item is None else mime.bare_address(str(sender), shaped),
        tuple(dict.fromkeys(mime.bare_address(address, shaped) for address in recipients)),
    )


def _sender_address(item: SettingsSetConfig, username: str) -> str:
    if address := effective_sender(item):
        return address
    return username if is_email_address(username) else ""


def _set_sender(message: EmailMessage, item: SettingsSetConfig, address: str) -> None:
    own = next((k for k in message.extra_headers if k.lower() == "from"), None)
    original = str(message.extra_headers[own] if own else message.from_email)
    brings_its_own = own is not None or not _is_site_default(original)
    if brings_its_own and not item.always_use_sender:
        return
    name, current = _parsed(original)
    if own is not None:
        del message.extra_headers[own]
    else:
        mime.bare_address(original, message)
    chosen = item.sender_name or name, address or current
    message.from_email = original if chosen == (name, current) else _mailbox(*chosen)
    # Django writes only this spelling of the header.
    has_reply_to = message.reply_to or "Reply-To" in message.extra_headers
    if brings_its_own and not has_reply_to and current != (address or current):
        message.reply_to = [original]


def _mailbox(name: str, address: str) -> str:
    return mailbox(name, ascii_address(address))


# The same few senders again and again: parsing them takes longer than all else here.
_parsed = lru_cache(maxsize=256)(parseaddr)


def _is_site_default(address: str) -> bool:
    defaults = (
        settings.DEFAULT_FROM_EMAIL,
        getattr(settings, "WAGTAILADMIN_NOTIFICATION_FROM_EMAIL", None),
        settings.SERVER_EMAIL,
    )
    name, bare = _parsed(address)
    # What can't be parsed equals nothing, above all not something else that can't be.
    return bool(bare) and any(
        (name, bare) == _parsed(str(default)) for default in defaults if default
    )
