"""Pages that show the received messages. Their content is untrusted."""

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import content_disposition_header

from example_site import places
from example_site.inbox import mailbox


def index(request: HttpRequest) -> HttpResponse:
    """All messages, newest first."""
    chosen = request.GET.get("server", "")
    found = [each for each in mailbox.all_delivered() if chosen in ("", each.server)]
    page = Paginator(found, 25).get_page(request.GET.get("p"))
    context = {"page_of_messages": page, "servers": places.SERVERS, "chosen": chosen}
    return render(request, "inbox/index.html", context)


def message(request: HttpRequest, server: str, number: int) -> HttpResponse:
    """One message with its envelope, headers and body."""
    return render(request, "inbox/message.html", {"delivered": _delivered(server, number)})


def attachment(request: HttpRequest, server: str, number: int, position: int) -> HttpResponse:
    """An attachment as a download, never shown as a page of this site."""
    attachments = _delivered(server, number).attachments
    if position >= len(attachments):
        raise Http404
    part = attachments[position]
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
    response = HttpResponse(
        part.get_payload(decode=True) or b"",
        content_type="application/octet-stream",
        headers=headers,
    )
    name = part.get_filename() or "attachment"
    response["Content-Disposition"] = content_disposition_header(True, name)
    return response


def _delivered(server: str, number: int) -> mailbox.Delivered:
    found = mailbox.delivered(server, number)
    if found is None:
        raise Http404("No such message.")
    return found
