"""Defences that no other test needs: what isn't written, not loaded and not fetched."""

import ast
import logging
import pickle
import re
import sys
import zlib
from pathlib import Path

import pytest
from django.core.mail import EmailMessage
from django.urls import reverse

import wagtail_smtp
from tests.admin.conftest import admin_client as admin_client
from tests.support.log_entries import make_entry, make_message
from tests.support.servers.hostile import HostileServer
from tests.support.servers.receiver import Receiver
from wagtail_smtp.config import crypto
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.exceptions import EmailDeliveryError, MessageUnreadable
from wagtail_smtp.live import lookup
from wagtail_smtp.models import StoredMessage

PACKAGE = Path(wagtail_smtp.__file__).parent
ROOT = PACKAGE.parent
#: Modules that run code from the data they load.
LOADERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "_pickle"}


@pytest.mark.threat(6)
def test_sending_writes_no_file_and_no_transcript(
    make_set, reload, monkeypatch, tmp_path, caplog, capfd
):
    monkeypatch.chdir(tmp_path)
    written = []
    # An audit hook can't be removed, so it listens only while the test runs.
    listening = [True]

    def hook(event, args):
        if listening and event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax"):
            written.append(args[0])

    sys.addaudithook(hook)
    with HostileServer() as server, caplog.at_level(logging.DEBUG):
        make_set(server, name="Office")
        reload()
        EmailMessage("Hi", "Body", None, ["real@example.org"]).send()
        server.password = "another"
        lookup.forget()  # a new process, which has to log in
        with pytest.raises(EmailDeliveryError):
            EmailMessage("Hi", "Body", None, ["real@example.org"]).send()
        listening.clear()
        assert server.logins == [("user@example.com", "secret of the tests")] * 2
    # A temporary file without a name is opened as its folder.
    assert [name for name in written if isinstance(name, str) and Path(name).is_file()] == []
    assert list(tmp_path.iterdir()) == []
    printed = "".join(capfd.readouterr()) + caplog.text
    assert "AUTH" not in printed
    assert "secret of the tests" not in printed


class Bomb:
    """Runs code when it is unpickled."""

    exploded: list[str] = []

    def __reduce__(self):
        return Bomb.exploded.append, ("unpickled",)


@pytest.mark.threat(12)
@pytest.mark.parametrize("pack", [lambda data: data, zlib.compress])
def test_an_object_in_the_log_is_never_loaded(db, admin_client, pack):
    entry = make_entry(message=make_message())
    content = crypto.seal(pack(pickle.dumps(Bomb())))
    StoredMessage.objects.filter(entry=entry).update(content=content)
    with pytest.raises(MessageUnreadable):
        stored_message.load(entry)
    for name in ("entry", "frame", "source", "download"):
        admin_client.get(reverse(f"wagtail_smtp_log:{name}", args=[entry.pk]))
    assert Bomb.exploded == []


@pytest.mark.threat(12)
def test_no_module_can_load_objects():
    found = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [node.id] if isinstance(node, ast.Name) and node.id in ("eval", "exec") else []
            found += [(file.name, name) for name in names if name.split(".")[0] in LOADERS]
            found += [(file.name, name) for name in names if name in ("eval", "exec")]
    assert found == []


@pytest.mark.threat(14)
def test_nothing_in_a_message_is_fetched(admin_client):
    with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        html = (
            f'<link rel=stylesheet href="{url}a"><img src="{url}b"><script src="{url}c"></script>'
            f'<iframe src="{url}d"></iframe><div style="background: url({url}e)">x</div>'
        )
        headers = {"List-Unsubscribe": f"<{url}f>", "List-Unsubscribe-Post": "yes", "X-Image": url}
        message = make_message(html, [("a.url", f"[InternetShortcut]\nURL={url}g", "text/plain")])
        message.extra_headers = headers
        entry = make_entry(message=message)
        for name in ("entry", "frame", "source", "download", "resend"):
            response = admin_client.get(reverse(f"wagtail_smtp_log:{name}", args=[entry.pk]))
            assert response.status_code == 200
        path = reverse("wagtail_smtp_log:attachment", args=[entry.pk, 1])
        assert admin_client.get(path).status_code == 200
        assert admin_client.get(reverse("wagtail_smtp_log:index"), {"q": url}).status_code == 200
        assert receiver.paths == []


@pytest.mark.threat(16)
def test_a_vulnerability_can_be_reported_in_private():
    text = (ROOT / "SECURITY.md").read_text()
    report = text.partition("## Report a vulnerability")[2].partition("\n## ")[0]
    assert re.search(r"\]\((https://\S+/security)\)", report)
    assert "Don't open an issue" in report
    assert re.search(r"Only the newest release receives fixes|supported", report)
    assert (
        "SECURITY.md"
        in (ROOT / "README.md").read_text() + (ROOT / "docs/explanation/security.md").read_text()
    )
