"""Redirect a message: remove everything that could send it to someone else.

Custom headers and a class's own way of writing a message stay, since projects test them. So
what is known to name people, or to steer a provider, is removed, and the result is looked at.
"""

from collections.abc import Iterable
from email.utils import getaddresses
from functools import partial
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives

from wagtail_smtp.config.validation import ascii_address
from wagtail_smtp.delivery.routing import Redirect
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.transports import mime

SUBJECT_PREFIX = "[Redirected] "

#: Original recipients are shown up to this many characters a header.
_SHOWN = 900

#: Headers that a redirected message must not carry: they name the real recipients, or a
#: program at the report address could act on them.
_REMOVED = frozenset(
    {
        "to",
        "cc",
        "bcc",
        "reply-to",
        "apparently-to",
        "delivered-to",
        "mail-followup-to",
        "mail-reply-to",
        "return-path",
        "errors-to",
        "return-receipt-to",
        "return-receipt-requested",
        "disposition-notification-to",
        "generate-delivery-report",
        "x-confirm-reading-to",
        "x-pmrqc",
        "dkim-signature",
        # Providers take recipients and orders from these over plain SMTP as well:
        # SendGrid, SparkPost, Amazon SES.
        "x-smtpapi",
        "x-msys-api",
        "x-ses-list-management-options",
    }
)
#: The same by how they begin; the last are Mandrill's, Mailgun's, Mailjet's, Postmark's, Brevo's.
_REMOVED_PREFIXES = (
    *("resent-", "list-", "x-original-"),
    *("x-mc-", "x-mailgun-", "x-mj-", "x-pm-", "x-mailin-", "x-sib-"),
)

#: Headers of ours that name the real recipients.
_ORIGINALS = ("X-Original-To", "X-Original-Cc", "X-Original-Reply-To", "X-Original-Bcc")

#: What backends read from a message that names people, or may.
_NAMES_PEOPLE = (
    "merge_data",
    "merge_metadata",
    "merge_headers",
    "esp_extra",
    "envelope_sender",
    "personalizations",
)

#: The attributes that Django itself gives a message.
FIELDS = frozenset(vars(EmailMultiAlternatives())) | {
    name
    for name in dir(EmailMultiAlternatives)
    if not name.startswith("__") and not callable(getattr(EmailMultiAlternatives, name))
}
#: Those of backends that concern the message as a whole, whoever receives it.
_HARMLESS = frozenset(
    {
        "email_category",
        # What a stored message is written from; its headers are the fields that were redirected.
        "wagtail_smtp_frozen",
        "wagtail_smtp_fixed",
        "tags",
        "metadata",
        "template_id",
        "merge_global_data",
        "track_opens",
        "track_clicks",
        "send_at",
    }
)


def apply(
    message: EmailMessage, redirect: Redirect, *, is_black_box: bool, envelope_sender: str = ""
) -> None:
    """Let ``message`` reach the redirect's addresses alone.

    Args:
        is_black_box: something carries the message that takes everything from it; otherwise it
            is sent as the bytes its class writes.
        envelope_sender: for a black box that takes that from the message, too.

    Raises:
        RedirectError: it could still reach someone else.
    """
    originals = {
        "X-Original-To": _shown(message, "To", message.to),
        "X-Original-Cc": _shown(message, "Cc", message.cc),
        "X-Original-Reply-To": _shown(message, "Reply-To", message.reply_to),
        "X-Original-Bcc": f"{len(message.bcc)} recipients" if message.bcc else "",
    }
    message.extra_headers = {
        name: value for name, value in message.extra_headers.items() if not _is_removed(name)
    }
    message.extra_headers.update({name: value for name, value in originals.items() if value})
    message.to, message.cc, message.bcc, message.reply_to = list(redirect.addresses), [], [], []
    message.subject = f"{SUBJECT_PREFIX}{message.subject}"
    _drop_attributes(message, also_unknown=is_black_box)
    if envelope_sender:
        _set_envelope_sender(message, envelope_sender)
    _check_result(message, redirect)
    # Whoever asks again gets the answer that was looked at. (Not a lambda: some backends pickle.)
    vars(message)["recipients"] = partial(list, redirect.addresses)


def require_redirected(message: EmailMessage, redirect: Redirect) -> None:
    """Refuse a redirected message that was changed since so that it may reach somebody else.

    Raises:
        RedirectError: it was.
    """
    for name in _NAMES_PEOPLE:
        if getattr(message, name, None):
            raise _not_redirected(f"a receiver sets {name}")
    for name in message.extra_headers:
        if _is_removed(name) and name not in _ORIGINALS:
            raise _not_redirected(f"a receiver sets the header {name}")
    _check_result(message, redirect)


def _is_removed(name: str) -> bool:
    # A class may write what is no name; some programs read it as one all the same.
    name = name.strip(" \t:").lower()
    return name in _REMOVED or name.startswith(_REMOVED_PREFIXES)


def _shown(message: EmailMessage, header: str, addresses: Iterable[str]) -> str:
    """The addresses as one plain header value, capped."""
    given = [str(v) for k, v in message.extra_headers.items() if k.lower() == header.lower()]
    text = ", ".join(given or [str(address) for address in addresses])
    # Not an address list to any mail program; control characters can't break the header.
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"


def _drop_attributes(message: EmailMessage, *, also_unknown: bool) -> None:
    """Take out what backends read from a message.

    Args:
        also_unknown: whatever Django doesn't know, too. Where only the bytes that the class
            writes leave, it keeps what it may need for writing them.
    """
    for name in _NAMES_PEOPLE:
        vars(message).pop(name, None)
        if getattr(message, name, None):
            raise _not_redirected(f"its class sets {name}")
    if also_unknown:
        for name in vars(message).keys() - FIELDS - _HARMLESS:
            delattr(message, name)


def _set_envelope_sender(message: EmailMessage, sender: str) -> None:
    # Django's backends take it from from_email, and what people see from the header if there
    # is one (ticket 9214).
    if not any(name.lower() == "from" for name in message.extra_headers):
        message.extra_headers["From"] = str(message.from_email)
    message.from_email = sender


def _check_result(message: EmailMessage, redirect: Redirect) -> None:
    """Refuse a message whose class brings back what was taken out."""
    # On a copy: writing a message may attach something to it.
    probe = mime.copied(message)
    written: Any
    try:
        recipients = {*type(probe).recipients(probe), *probe.to, *probe.cc, *probe.bcc}
        written = mime.rendered(probe)
    except AttributeError as error:
        raise _not_redirected(f"its class can't do without what was taken out ({error})") from error
    if recipients != set(redirect.addresses):
        raise _not_redirected("its class adds recipients")
    for name, _value in written.items():
        if _is_removed(name) and name.lower() != "to" and name not in message.extra_headers:
            raise _not_redirected(f"its class writes the header {name}")
    to = [address for _name, address in getaddresses(map(str, written.get_all("to", [])))]
    if [*map(ascii_address, to)] != [*map(ascii_address, redirect.addresses)]:
        raise _not_redirected("its class writes its own To")


def _not_redirected(why: str) -> RedirectError:
    return RedirectError(
        f"The message can't be redirected, since {why}. Nothing was sent, so that it can't "
        "reach its real recipients."
    )
