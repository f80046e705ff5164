"""Redirect a message: remove everything that could send it to someone else.

Custom headers and custom message classes are kept, because projects test them. So everything that
is known to name recipients or to control an email provider is removed, and the result is checked.
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

#: Maximum characters of original recipients in each header.
_SHOWN = 900

#: Headers to remove: they name the real recipients, or a program that reads the report email could
#: act on them.
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
        # Email providers read recipients and instructions from these, even over SMTP: SendGrid,
        # SparkPost, Amazon SES.
        "x-smtpapi",
        "x-msys-api",
        "x-ses-list-management-options",
    }
)
#: Prefixes of headers to remove; the second line's are of Mandrill, Mailgun, Mailjet, Postmark and
#: Brevo.
_REMOVED_PREFIXES = (
    *("resent-", "list-", "x-original-"),
    *("x-mc-", "x-mailgun-", "x-mj-", "x-pm-", "x-mailin-", "x-sib-"),
)

#: Headers that the plugin adds to show the real recipients.
_ORIGINALS = ("X-Original-To", "X-Original-Cc", "X-Original-Reply-To", "X-Original-Bcc")

#: Attributes in which backends may find recipients.
_NAMES_RECIPIENTS = (
    "merge_data",
    "merge_metadata",
    "merge_headers",
    "esp_extra",
    "envelope_sender",
    "personalizations",
)

#: The attributes of Django's own messages.
FIELDS = frozenset(vars(EmailMultiAlternatives())) | {
    name
    for name in dir(EmailMultiAlternatives)
    if not name.startswith("__") and not callable(getattr(EmailMultiAlternatives, name))
}
#: Attributes of backends that concern the whole message and not its recipients.
_HARMLESS = frozenset(
    {
        "email_category",
        "email_site",
        # A stored message is serialised from these; its headers come from the redirected fields.
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
    """Change ``message`` so that it only reaches the redirect's addresses.

    Args:
        is_black_box: whether the transport reads everything from the message's attributes.
            Otherwise only the serialised bytes are sent.
        envelope_sender: the envelope sender, for a transport that reads it from ``from_email``.

    Raises:
        RedirectError: the message could still reach someone else.
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
    # Later calls return what was checked. Not a lambda, because some backends pickle messages.
    vars(message)["recipients"] = partial(list, redirect.addresses)


def require_redirected(message: EmailMessage, redirect: Redirect) -> None:
    """Check again that a redirected message only reaches the redirect's addresses.

    Raises:
        RedirectError: a signal receiver has changed it so that it could reach someone else.
    """
    for name in _NAMES_RECIPIENTS:
        if getattr(message, name, None):
            raise _not_redirected(f"a receiver sets {name}")
    for name in message.extra_headers:
        if _is_removed(name) and name not in _ORIGINALS:
            raise _not_redirected(f"a receiver sets the header {name}")
    _check_result(message, redirect)


def _is_removed(name: str) -> bool:
    # A custom class may write an invalid name that some programs accept anyway.
    name = name.strip(" \t:").lower()
    return name in _REMOVED or name.startswith(_REMOVED_PREFIXES)


def _shown(message: EmailMessage, header: str, addresses: Iterable[str]) -> str:
    """The addresses as one plain header value of limited length."""
    given = [str(v) for k, v in message.extra_headers.items() if k.lower() == header.lower()]
    text = ", ".join(given or [str(address) for address in addresses])
    # Plain text, so no program treats it as an address list. Without control characters, which
    # could end the header.
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"


def _drop_attributes(message: EmailMessage, *, also_unknown: bool) -> None:
    """Remove attributes in which backends may find recipients.

    Args:
        also_unknown: remove all attributes that Django doesn't define. If only the serialised
            bytes are sent, the message's class may need them for that.
    """
    for name in _NAMES_RECIPIENTS:
        vars(message).pop(name, None)
        if getattr(message, name, None):
            raise _not_redirected(f"its class sets {name}")
    if also_unknown:
        for name in vars(message).keys() - FIELDS - _HARMLESS:
            delattr(message, name)


def _set_envelope_sender(message: EmailMessage, sender: str) -> None:
    # Django's backends read it from from_email, and the visible sender from the From header if
    # there is one (Django ticket 9214).
    if not any(name.lower() == "from" for name in message.extra_headers):
        message.extra_headers["From"] = str(message.from_email)
    message.from_email = sender


def _check_result(message: EmailMessage, redirect: Redirect) -> None:
    """Refuse a message whose class adds recipients again."""
    # On a copy, because serialising a message may change it.
    probe = mime.copied(message)
    rendered: Any
    try:
        recipients = {*type(probe).recipients(probe), *probe.to, *probe.cc, *probe.bcc}
        rendered = mime.rendered(probe)
    except AttributeError as error:
        raise _not_redirected(f"its class needs what was removed ({error})") from error
    if recipients != set(redirect.addresses):
        raise _not_redirected("its class adds recipients")
    for name, _value in rendered.items():
        if _is_removed(name) and name.lower() != "to" and name not in message.extra_headers:
            raise _not_redirected(f"its class writes the header {name}")
    to = [address for _name, address in getaddresses(map(str, rendered.get_all("to", [])))]
    if [*map(ascii_address, to)] != [*map(ascii_address, redirect.addresses)]:
        raise _not_redirected("its class writes its own To")


def _not_redirected(why: str) -> RedirectError:
    return RedirectError(
        f"The message can't be redirected because {why}. Nothing was sent, so it doesn't reach "
        "its real recipients."
    )
