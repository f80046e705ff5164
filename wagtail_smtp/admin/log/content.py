"""What a kept message holds, each piece as a response of its own that can do nothing.

Every look is written into the audit log. Nothing in a message is fetched, here or in the browser.
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

#: No script, form, frame, link or remote address in a message does anything.
_FRAME_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_POLICY = "sandbox; default-src 'none'"
#: What a browser says of itself that is about to show a page, and not a frame in one.
_PAGES = ("document", "object", "embed")


class ContentView(permissions.RequireLog, View):
    """Base of the views; ``response_for`` makes the answer."""

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
        log_look(entry, self.action)
        response["Content-Security-Policy"] = self.policy
        response["X-Content-Type-Options"] = "nosniff"
        response["Referrer-Policy"] = "no-referrer"
        response["X-Frame-Options"] = "SAMEORIGIN"
        response["X-DNS-Prefetch-Control"] = "off"
        response["Cache-Control"] = "no-store"
        return response


def log_look(entry, action, **data):
    """Write into the audit log who did what with an entry; its subject stays out of it."""
    title = _("Log entry %d") % entry.pk
    log(instance=entry, action=f"wagtail_smtp.{action}", title=title, data=data or None)


class FrameView(ContentView):
    """The message as it is read, for the frame on the entry's page."""

    action = "view_message"
    policy = _FRAME_POLICY

    def get(self, request, *args, **kwargs):
        # As a page of its own it would follow links that name it as their target.
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
    """The message as it is mailed, as plain text."""

    action = "view_source"

    def response_for(self, entry, message):
        return HttpResponse(message.source, content_type="text/plain; charset=utf-8")


class _Download(ContentView):
    def file(self, name, content):
        response = HttpResponse(content, content_type="application/octet-stream")
        response["Content-Disposition"] = content_disposition_header(True, name)
        return response


class DownloadView(_Download):
    """The message as a file that mail programs open."""

    action = "download_message"

    def response_for(self, entry, message):
        return self.file(f"message-{entry.pk}.eml", message.source)


class AttachmentView(_Download):
    """One file of the message."""

    action = "download_attachment"

    def response_for(self, entry, message):
        for item in message.attachments:
            if item.number == self.kwargs["number"]:
                return self.file(item.name, item.content)
        raise Http404
