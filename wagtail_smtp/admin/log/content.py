"""The content of a stored message, each part as an inert response of its own.

Every view is recorded in the audit log. Nothing remote is loaded, here or in the browser.
"""

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views import View
from wagtail.log_actions import log

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.log.message import KeptMessage
from wagtail_smtp.exceptions import MessageUnreadable
from wagtail_smtp.models import LogEntry

#: Disables scripts, forms, frames, links and remote resources in a message.
_FRAME_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_POLICY = "sandbox; default-src 'none'"
#: ``Sec-Fetch-Dest`` of a browser that loads a page, not a frame.
_PAGES = ("document", "object", "embed")


class ContentView(permissions.RequireLog, View):
    """Base view; ``response_for`` returns the response."""

    permission = permissions.VIEW_CONTENT
    action = ""
    policy = _POLICY

    def get(self, request, *args, **kwargs):
        entry = get_object_or_404(LogEntry, pk=kwargs["pk"])
        try:
            message = KeptMessage.of(entry)
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
