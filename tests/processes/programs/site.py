"""A site with one page, which sends a mail."""

import time

from django.core.mail import send_mail
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path


def send(request: HttpRequest) -> JsonResponse:
    """Send a message with the subject asked for, and say when that began and ended."""
    began = time.monotonic()
    send_mail(request.GET["subject"], "Body", None, ["someone@example.org"])
    return JsonResponse({"began": began, "ended": time.monotonic()})


urlpatterns = [path("send", send)]
application = get_wsgi_application()
