"""Show a stored message in the log: its text, attachments and source."""

import email
import posixpath
from dataclasses import dataclass
from email.message import Message

from django.core.exceptions import PermissionDenied, SuspiciousFileOperation
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.utils.http import content_disposition_header
from django.utils.text import get_valid_filename
from django.utils.translation import gettext as _
from django.views import View
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import RequiresPermission
from wagtail_smtp.categories import SECURITY
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.exceptions import MessageUnreadable
from wagtail_smtp.models import LogEntry
from wagtail_smtp.transports import mime


@dataclass(frozen=True)
class Attachment:
    """An attachment; ``number`` counts from 1."""

    number: int
    name: str
    content: bytes

    @property
    def size(self) -> int:
        """The decoded size in bytes."""
        return len(self.content)


class ReadableMessage:
    """The stored message of an entry, parsed but not rendered. Loads nothing remote."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self._files: list[Message] = []
        #: The first text part of each content type.
        self._texts: dict[str, Message] = {}
        for part in mime.leaves(email.message_from_bytes(source)):
            kind = part.get_content_type()
            if _is_file(part) or kind in self._texts:
                self._files.append(part)
            else:
                self._texts[kind] = part

    @classmethod
    def of(cls, entry: LogEntry) -> "ReadableMessage":
        """Load the message of ``entry``.

        Raises:
            PermissionDenied: it is a security message, which is never shown.
            MessageUnreadable: it isn't stored, its key is missing, or it is damaged.
        """
        if entry.category == SECURITY:
            raise PermissionDenied
        return cls(stored_message.load(entry).frozen_content)

    def body(self, kind: str) -> str | None:
        """The text of content type ``text/<kind>``, or None."""
        part = self._texts.get(f"text/{kind}")
        return None if part is None else _text(part)

    @property
    def attachments(self) -> list[Attachment]:
        """Attachments and all other parts that aren't shown as text."""
        return [
            Attachment(number, _name(part, number), _content(part))
            for number, part in enumerate(self._files, 1)
        ]


def _is_file(part: Message) -> bool:
    is_named = part.get_filename() is not None
    is_text = part.get_content_type() in ("text/plain", "text/html")
    return is_named or part.get_content_disposition() == "attachment" or not is_text


def _content(part: Message) -> bytes:
    inner = part.get_payload()
    if isinstance(inner, list):  # a message in the message
        return b"".join(each.as_bytes() for each in inner if isinstance(each, Message))
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message) -> str:
    content = _content(part)
    try:
        return content.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def _name(part: Message, number: int) -> str:
    """Return a file name that is safe on every system."""
    given = (part.get_filename() or "").replace("\\", "/")
    try:
        name = get_valid_filename(posixpath.basename(given)).lstrip(".")[-100:]
    except SuspiciousFileOperation:
        name = ""
    return name or f"attachment-{number}"


#: Disables scripts, forms, frames, links and remote resources in a message.
_FRAME_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_POLICY = "sandbox; default-src 'none'"
#: ``Sec-Fetch-Dest`` of a browser that loads a page, not a frame.
_PAGES = ("document", "object", "embed")


class ContentView(RequiresPermission, View):
    """Base view; ``response_for`` returns the response."""

    permission_required = (permissions.VIEW_LOG, permissions.VIEW_CONTENT)
    action = ""
    policy = _POLICY

    def response_for(self, entry, message):
        raise NotImplementedError

    def get(self, request, *args, **kwargs):
        entry = get_object_or_404(LogEntry, pk=kwargs["pk"])
        try:
            message = ReadableMessage.of(entry)
        except MessageUnreadable as error:
            raise Http404(str(error)) from error
        response = self.response_for(entry, message)
        log_action(entry, self.action)
        response["Content-Security-Policy"] = self.policy
        response["X-Content-Type-Options"] = "nosniff"
        response["Referrer-Policy"] = "no-referrer"
        response["X-Frame-Options"] = "SAMEORIGIN"
        response["X-DNS-Prefetch-Control"] = "off"
        response["Cache-Control"] = "no-store"
        return response


def log_action(entry, action, **data):
    """Record an action on an entry in the audit log, without the message's subject."""
    title = _("Log entry %d") % entry.pk
    log(instance=entry, action=f"wagtail_smtp.{action}", title=title, data=data or None)


class FrameView(ContentView):
    """The readable message, for the frame on the entry's page."""

    action = "view_message"
    policy = _FRAME_POLICY

    def get(self, request, *args, **kwargs):
        # Opened as a page, it would follow links that target it.
        if request.headers.get("Sec-Fetch-Dest") in _PAGES:
            return redirect("wagtail_smtp_log:entry", kwargs["pk"])
        return super().get(request, *args, **kwargs)

    def response_for(self, entry, message):
        page = render_to_string(
            "wagtail_smtp/log/message.html",
            {"html": message.body("html"), "text": message.body("plain")},
        )
        return HttpResponse(page)


class SourceView(ContentView):
    """The message source as plain text."""

    action = "view_source"

    def response_for(self, entry, message):
        return HttpResponse(message.source, content_type="text/plain; charset=utf-8")


class _Download(ContentView):
    def file(self, name, content):
        response = HttpResponse(content, content_type="application/octet-stream")
        response["Content-Disposition"] = content_disposition_header(True, name)
        return response


class DownloadView(_Download):
    """The message as an .eml file."""

    action = "download_message"

    def response_for(self, entry, message):
        return self.file(f"message-{entry.pk}.eml", message.source)


class AttachmentView(_Download):
    """One attachment of the message."""

    action = "download_attachment"

    def response_for(self, entry, message):
        for item in message.attachments:
            if item.number == self.kwargs["number"]:
                return self.file(item.name, item.content)
        raise Http404
