"""Where a message goes: first the redirect, then the candidates, and why."""

import email
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.policy import compat32
from typing import cast

from django.core.mail import EmailMessage
from django.utils.translation import gettext as _

from wagtail_smtp.categories import ALERT
from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import is_email_address, with_current_domains
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.exceptions import MessageTooLarge, MessageUnsupported, RedirectError
from wagtail_smtp.transports import standard
from wagtail_smtp.transports.base import OutgoingMessage

#: Sources of a redirect.
FORCED = "settings"


@dataclass(frozen=True, slots=True)
class Redirect:
    """The addresses that receive a message instead of its recipients, and the source.

    ``source`` is the name of a set, or :data:`FORCED`.
    """

    addresses: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Route:
    """The candidates for a message, best first (None is standard delivery), and why."""

    category: str
    candidates: tuple[SettingsSetConfig | None, ...]
    why: str
    redirect: Redirect | None = None


def route(configuration: Configuration, category: str) -> Route:
    """Decide redirect and candidates for mail of ``category``.

    Raises:
        RedirectError: it must be redirected, but there is no valid address.
    """
    redirect = redirect_for(configuration, category)
    if configuration.method == "standard":
        return Route(category, (None,), "method", redirect)
    if category in conf.STANDARD_CATEGORIES:
        return Route(category, (None,), "standard category", redirect)
    sets = configuration.carriers(category)
    if not sets:
        return Route(category, (None,), "no set applies", redirect)
    # An alert reports failing servers, so it may use standard delivery when other mail may not.
    last: tuple[None, ...] = (None,) if conf.FALLBACK_TO_STANDARD or category == ALERT else ()
    return Route(category, (*sets, *last), "first set that applies", redirect)


def redirect_for(configuration: Configuration, category: str) -> Redirect | None:
    """Return the redirect for mail of ``category``; None: there is none.

    Decided once per message, before the candidates, and applied to all of them.

    Raises:
        RedirectError: a redirect is on, but it has no valid address.
    """
    forced = conf.forced_redirect()
    if forced is not None:
        return _usable(forced, FORCED)
    item = configuration.redirecting_set(category)
    return None if item is None else _usable(item.report_addresses, item.name)


def _usable(addresses: tuple[str, ...], source: str) -> Redirect:
    valid = tuple(dict.fromkeys(with_current_domains(a) for a in addresses if is_email_address(a)))
    if not valid:
        raise RedirectError(
            f"All mail is redirected by {source}, but no valid report address is given there. "
            "Nothing was sent. Name one, or end the redirect."
        )
    return Redirect(valid, source)


#: Bytes per megabyte, as used in *max size*.
MEGABYTE = 1024 * 1024

_AS_MAILED = compat32.clone(linesep="\r\n")


def check(outgoing: OutgoingMessage, item: SettingsSetConfig | None) -> None:
    """Refuse a message whose attachments are too large for the set.

    Raises:
        MessageTooLarge: phase ``size``.
    """
    if item is None or item.max_size is None:
        return
    allowed = item.max_size * MEGABYTE
    # The whole message is an upper bound, and known without reading it.
    if len(outgoing.content) <= allowed:
        return
    size = sum(size for _name, size in attachments(outgoing.content))
    if size > allowed:
        raise MessageTooLarge(
            f"{item.name}: the attachments have {size / MEGABYTE:.1f} MB as mailed, the limit of "
            f"this set is {item.max_size} MB.",
            phase="size",
        )


def attachments(content: bytes) -> Iterator[tuple[str, int]]:
    """Name and size, in bytes as sent, of each attachment of a message.

    Whatever is no text to be read counts, with a name or without: pictures in the text too.
    """
    for part in _leaves(email.message_from_bytes(content)):
        name = part.get_filename()
        is_text = part.get_content_maintype() == "text"
        if name is not None or not is_text or part.get_content_disposition() == "attachment":
            yield name or "", _size(part)


def _size(part: Message) -> int:
    payload = part.get_payload()
    if isinstance(payload, str):
        return len(payload)
    # A message in the message: its own headers and parts.
    return len(part.as_bytes(policy=_AS_MAILED).partition(b"\r\n\r\n")[2])


def _leaves(message: Message) -> Iterator[Message]:
    # What only calls itself multipart is one piece; a message in the message is too.
    if message.get_content_maintype() != "multipart" or not message.is_multipart():
        yield message
        return
    for part in message.get_payload():
        yield from _leaves(cast(Message, part))


#: What only a provider can make a message of: each recipient's own, from a template. Even an
#: empty one makes a message for each recipient, who would see each other otherwise.
NEEDS_PROVIDER = (
    "template_id",
    "merge_data",
    "merge_global_data",
    "merge_headers",
    "merge_metadata",
)


def is_black_box(item: SettingsSetConfig | None) -> bool:
    """Whether what sends it reads the recipients from the message itself, and takes them all.

    An email provider does, and so does the project's own backend (``item`` is None).
    """
    return item is None or item.uses_esp


def require(message: EmailMessage, item: SettingsSetConfig | None, way: Route) -> None:
    """Refuse to send half of a message: over SMTP nothing fills in templates.

    Raises:
        MessageUnsupported: phase ``unsupported``.
    """
    found = [name for name in NEEDS_PROVIDER if getattr(message, name, None) is not None]
    if not found or (item is not None and item.uses_esp):
        return
    if item is None and (len(way.candidates) == 1 or standard.server() is None):
        return  # the project's own affair, as it was before the plugin
    raise MessageUnsupported(
        _("“%(set)s” sends by SMTP, which doesn't support email provider templates: %(what)s.")
        % {"set": item.name if item else standard.NAME, "what": ", ".join(found)},
        phase="unsupported",
    )
