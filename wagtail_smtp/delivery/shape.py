"""A copy of the message as it leaves: sender and redirect applied, headers only."""

import copy
from collections.abc import Iterable
from email.utils import formataddr, formatdate, make_msgid, parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.utils import DNS_NAME

from wagtail_smtp.configuration import SettingsSetConfig
from wagtail_smtp.delivery.candidates import Redirect
from wagtail_smtp.delivery.classify import HEADER
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.transports import mime
from wagtail_smtp.transports.base import Envelope
from wagtail_smtp.validation import effective_sender, is_email_address

SUBJECT_PREFIX = "[Redirected] "

#: Original recipients are shown up to this many characters a header.
_SHOWN = 900

#: Headers that a redirected message must not carry: they name the real recipients, or a
#: program at the report address could act on them. All Resent-, List- and X-Original- too.
_REMOVED = frozenset(
    {
        "to",
        "cc",
        "bcc",
        "reply-to",
        "return-path",
        "errors-to",
        "return-receipt-to",
        "disposition-notification-to",
        "dkim-signature",
    }
)
_REMOVED_PREFIXES = ("resent-", "list-", "x-original-")

#: What provider backends read from a message for single recipients.
_PER_RECIPIENT = ("merge_data", "merge_metadata", "merge_headers", "esp_extra")


def prepare(message: EmailMessage) -> EmailMessage:
    """A copy of the caller's message that may be changed, with Message-ID and Date fixed.

    They stay equal over all attempts: Django would make new ones at each.
    """
    prepared = copy.copy(message)
    # The way back to this plugin stays behind: locmem copies messages, and locks can't be.
    for name in vars(prepared).keys() & {"connection", "_connection"}:
        vars(prepared)[name] = None
    for name in ("to", "cc", "bcc", "reply_to"):
        setattr(prepared, name, list(getattr(message, name)))
    prepared.extra_headers = {
        name: value
        for name, value in message.extra_headers.items()
        if name.strip().lower() != HEADER.lower()
    }
    present = {name.lower() for name in prepared.extra_headers}
    if "date" not in present:
        prepared.extra_headers["Date"] = formatdate(localtime=settings.EMAIL_USE_LOCALTIME)
    if "message-id" not in present:
        prepared.extra_headers["Message-ID"] = make_msgid(domain=str(DNS_NAME))
    return prepared


def shape(
    prepared: EmailMessage, item: SettingsSetConfig | None, redirect: Redirect | None, username: str
) -> tuple[EmailMessage, Envelope]:
    """The message for one candidate, and its envelope.

    Args:
        prepared: from :func:`prepare`; it is not changed.
        item: the set that will carry it; None: standard delivery, which keeps the sender.
        redirect: who receives it instead.
        username: what the set logs in with; may be its sender address.

    Raises:
        RedirectError: the message would reach somebody else all the same.
        ValueError: an address is invalid.
    """
    shaped = prepare(prepared)
    sender = parseaddr(str(shaped.from_email))[1]
    if item is not None:
        _set_sender(shaped, item, _sender_address(item, username))
        sender = parseaddr(str(shaped.from_email))[1]
        if redirect is not None:
            sender = _sender_address(item, username) or sender
        sender = item.bounce_address or sender
    if redirect is not None:
        _redirect(shaped, redirect)
        recipients: Iterable[str] = redirect.addresses
    else:
        recipients = shaped.recipients()
    return shaped, Envelope(
        mime.bare_address(sender, shaped) if sender else "",
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
    name, current = parseaddr(original)
    if own is not None:
        del message.extra_headers[own]
    message.from_email = formataddr((item.sender_name or name, address or current))
    # Django writes only this spelling of the header.
    has_reply_to = message.reply_to or "Reply-To" in message.extra_headers
    if brings_its_own and not has_reply_to and current and current != (address or current):
        message.reply_to = [original]


def _is_site_default(address: str) -> bool:
    defaults = (
        settings.DEFAULT_FROM_EMAIL,
        getattr(settings, "WAGTAILADMIN_NOTIFICATION_FROM_EMAIL", None),
        settings.SERVER_EMAIL,
    )
    parsed = parseaddr(address)
    return any(parsed == parseaddr(str(default)) for default in defaults if default)


def _redirect(message: EmailMessage, redirect: Redirect) -> None:
    originals = {
        "X-Original-To": _shown(message, "To", message.to),
        "X-Original-Cc": _shown(message, "Cc", message.cc),
        "X-Original-Reply-To": _shown(message, "Reply-To", message.reply_to),
    }
    if message.bcc:
        originals["X-Original-Bcc"] = f"{len(message.bcc)} recipients"
    message.extra_headers = {
        name: value for name, value in message.extra_headers.items() if not _is_removed(name)
    }
    message.extra_headers.update({name: value for name, value in originals.items() if value})
    message.to, message.cc, message.bcc, message.reply_to = list(redirect.addresses), [], [], []
    message.subject = f"{SUBJECT_PREFIX}{message.subject}"
    _drop_per_recipient_data(message)
    _require_redirected(message, redirect)


def _is_removed(name: str) -> bool:
    name = name.strip().lower()
    return name in _REMOVED or name.startswith(_REMOVED_PREFIXES)


def _shown(message: EmailMessage, header: str, addresses: Iterable[str]) -> str:
    """The addresses as one plain header value, capped."""
    given = [str(v) for k, v in message.extra_headers.items() if k.lower() == header.lower()]
    text = ", ".join(given or [str(address) for address in addresses])
    # Not an address list to any mail program; control characters can't break the header.
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"


def _drop_per_recipient_data(message: EmailMessage) -> None:
    for name in _PER_RECIPIENT:
        message.__dict__.pop(name, None)
        if getattr(message, name, None):
            raise _not_redirected(f"its class sets {name}")


def _require_redirected(message: EmailMessage, redirect: Redirect) -> None:
    """Refuse a message whose class brings back what was taken out."""
    if set(message.recipients()) != set(redirect.addresses):
        raise _not_redirected("its class adds recipients")
    written: Any = mime.rendered(message)
    for name, _value in written.items():
        if _is_removed(name) and name.lower() != "to" and name not in message.extra_headers:
            raise _not_redirected(f"its class writes the header {name}")
    if [a for _n, a in _addresses(written.get_all("to", []))] != list(redirect.addresses):
        raise _not_redirected("its class writes its own To")


def _addresses(values: Iterable[Any]) -> list[tuple[str, str]]:
    from email.utils import getaddresses

    return getaddresses([str(value) for value in values])


def _not_redirected(why: str) -> RedirectError:
    return RedirectError(
        f"The message can't be redirected, since {why}. Nothing was sent, so that it can't "
        "reach its real recipients."
    )
