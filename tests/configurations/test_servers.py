"""Every page of the plugin, and sending, by way of other servers.

Slow, so only ``make configurations`` runs them.
"""

import os
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.configurations.test_wagtail_start import _IN_USE
from tests.configurations.wagtail_start import Project

pytestmark = pytest.mark.skipif(
    not os.environ.get("WAGTAIL_SMTP_ALL_CONFIGURATIONS"),
    reason="slow: make configurations",
)

GUNICORN = ("-m", "gunicorn", "mysite.wsgi", "--bind", "ADDRESS")
# Its processes are forked after the site is loaded. It closes each connection without saying so.
UWSGI = (
    *("-c", "import pyuwsgi; pyuwsgi.run()", "--http-socket", "ADDRESS", "--master"),
    *("--module", "mysite.wsgi", "--processes", "2", "--enable-threads", "--die-on-term"),
    *("--add-header", "Connection: close"),
)
ASGI = """
import os
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.production")
application = get_asgi_application()
"""
SEND = """
from django.core.mail import send_mail
from django.db import transaction
from django.http import HttpResponse
from django.urls import path
from mysite.urls import urlpatterns as before
from wagtail_smtp.models import LogEntry

def send(request):
    send_mail("Hello", "Body", None, ["ada@example.org"], fail_silently=True)
    return count(request)

@transaction.atomic
def send_inside(request):
    # A thread writes its entry, on another connection.
    send_mail("Inside", "Body", None, ["ada@example.org"], fail_silently=True)
    transaction.set_rollback(True)
    return HttpResponse()

def count(request):
    return HttpResponse(str(LogEntry.objects.count()))

urlpatterns = [
    path("send/", send), path("send-inside/", send_inside), path("count/", count), *before
]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("made") / "site")
    project.write("asgi.py", ASGI)
    project.write("sending.py", SEND)
    project.append("settings/base.py", 'ROOT_URLCONF = "mysite.sending"\n')
    project.succeeds("migrate", "--noinput")
    project.succeeds("collectstatic", "--noinput")
    project.succeeds("shell", "-c", _IN_USE)
    return project


@pytest.mark.parametrize(
    ("module", "server"),
    [
        ("gunicorn", (*GUNICORN, "--preload", "--workers", "2")),
        ("gevent", (*GUNICORN, "--worker-class", "gevent")),
        ("uvicorn", ("-m", "uvicorn", "mysite.asgi:application", "--port", "PORT")),
        ("pyuwsgi", UWSGI),
    ],
    ids=["preload", "gevent", "uvicorn", "uWSGI"],
)
def test_every_page(made: Project, tmp_path: Path, module: str, server: tuple[str, ...]) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    project = made.copied_to(tmp_path / "site")
    with project.served(*server) as browser:
        pages = browser.plugin_pages()
        sent = [browser.get("/send/") for _ in range(4)]
        inside = browser.get("/send-inside/")
        deadline = time.monotonic() + 60
        while browser.get("/count/").text != "6" and time.monotonic() < deadline:
            time.sleep(0.1)
        logged = browser.get("/count/").text
    assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(pages, 200)
    assert len(pages) > 8
    # One was sent before.
    assert [response.text for response in sent] == ["2", "3", "4", "5"]
    assert inside.status_code == 200
    assert logged == "6"
