"""Every page of the plugin, and sending, by way of other servers.

Slow, so only ``make configurations`` runs them.
"""

import os
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
ASGI = """
import os
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings.production")
application = get_asgi_application()
"""
SEND = """
from django.core.mail import send_mail
from wagtail_smtp.models import LogEntry
from django.http import HttpResponse
from django.urls import path
from mysite.urls import urlpatterns as before

def send(request):
    send_mail("Hello", "Body", None, ["ada@example.org"], fail_silently=True)
    return HttpResponse(str(LogEntry.objects.count()))

urlpatterns = [path("send/", send), *before]
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "site")
    made.write("asgi.py", ASGI)
    made.write("sending.py", SEND)
    made.append("settings/base.py", 'ROOT_URLCONF = "mysite.sending"\n')
    made.succeeds("migrate", "--noinput")
    made.succeeds("collectstatic", "--noinput")
    made.succeeds("shell", "-c", _IN_USE)
    return made


@pytest.mark.parametrize(
    ("module", "server"),
    [
        ("gunicorn", (*GUNICORN, "--preload", "--workers", "2")),
        ("gevent", (*GUNICORN, "--worker-class", "gevent")),
        ("uvicorn", ("-m", "uvicorn", "mysite.asgi:application", "--port", "PORT")),
    ],
    ids=["preload", "gevent", "uvicorn"],
)
def test_every_page(project: Project, module: str, server: tuple[str, ...]) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    with project.served(*server) as browser:
        pages = browser.plugin_pages()
        sent = [browser.get("/send/") for _ in range(4)]
    assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(pages, 200)
    assert len(pages) > 8
    # One was sent before.
    assert [response.text for response in sent] == ["2", "3", "4", "5"]
