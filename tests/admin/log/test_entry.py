"""An entry's page, its message and downloads: content from outside is inert."""

import pytest
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.support.log_entries import make_entry, make_message, make_waiting
from wagtail_smtp.admin.log.message import ReadableMessage
from wagtail_smtp.models import LogAttempt, LogEntry, StoredMessage

SCRIPT = "<script>alert(1)</script>"
EVIL_HTML = (
    '<html><head><meta http-equiv="refresh" content="0;url=https://evil.example/">'
    "<base href=https://evil.example/></head><body onload=alert(1)>"
    f"{SCRIPT}<img src=https://evil.example/pixel.gif><p>Readable</p></body></html>"
)


def url(name, entry, *args):
    return reverse(f"wagtail_smtp_log:{name}", args=[entry.pk, *args])


@pytest.fixture
def text(admin_client):
    def get(entry):
        response = admin_client.get(url("entry", entry))
        assert response.status_code == 200
        return " ".join(response.content.decode().split())

    return get


def test_all_that_is_known(text, make_set, reload):
    item = make_set(name="Office")
    reload()
    entry = make_entry(
        "anna@example.org",
        state="refused",
        reason="554 5.7.1 Spam",
        set_key=item.key,
        version=1,
        message_id="<1@example.com>",
        size=2048,
        redirected_by="Test",
    )
    entry.recipients.update(state="refused", code=554, reply="5.7.1 Spam")
    LogAttempt.objects.create(
        entry=entry, via="Office", began_at=entry.created_at, seconds=1.234, state="refused",
        phase="rcpt", code=554, reply="5.7.1 Spam",
    )  # fmt: skip
    make_entry(resend_of=entry, state="sent")
    page = text(entry)
    for known in (
        'data-state="refused"',
        "554 5.7.1 Spam",
        "Shop &lt;shop@example.com&gt;",
        "&lt;1@example.com&gt;",
        "Invoices (set by the sending code)",
        f"/edit/{item.pk}/",
        reverse("wagtail_smtp_versions:index"),
        "2.0 KB",
        "anna@example.org",
        "1.23 s",
        "Last step",
        'data-resent="sent"',
        "The content of this message is not kept.",
    ):
        assert known in page, known
    assert "Redirected by</dt><dd><bdi>Test" in page


def test_what_waits(text):
    page = text(make_waiting())
    assert (
        "<dt>In the outbox</dt><dd>Waiting</dd> <dt>Attempts so far</dt><dd>0</dd>"
        in page.replace("</dd><dt>", "</dd> <dt>")
    )
    assert "<dt>No attempts after</dt>" in page
    assert "Try now" in page
    assert "Cancel sending" in page
    assert ">Resend<" not in page


@pytest.mark.threat(11)
def test_nothing_in_a_header_is_markup(admin_client, text):
    entry = make_entry(
        subject=SCRIPT,
        reason=f"550 {SCRIPT}",
        message_id=SCRIPT,
        redirected_by=SCRIPT,
        via=SCRIPT,
        message=make_message(files=[(f"{SCRIPT}.txt", "x", "text/plain")]),
    )
    LogEntry.objects.update(sender=SCRIPT)
    entry.recipients.update(reply=SCRIPT, address=SCRIPT, code=550)
    LogAttempt.objects.create(
        entry=entry, via=SCRIPT, began_at=entry.created_at, seconds=1, state="failed", reply=SCRIPT
    )
    pages = [text(entry)]
    for path in (reverse("wagtail_smtp_log:index"), url("resend", entry)):
        pages.append(admin_client.get(path).content.decode())
    bulk = reverse("wagtail_bulk_action", args=["wagtail_smtp", "logentry", "resend"])
    pages.append(admin_client.get(bulk, {"id": entry.pk}).content.decode())
    for page in pages:
        assert SCRIPT not in page
        assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("shown_as", ["document", "object", "embed"])
def test_the_frame_is_no_page_of_its_own(admin_client, shown_as):
    """A browser would follow links that target that page."""
    entry = make_entry(message=make_message(html='<a href="https://x.example" target="_self">'))
    headers = {"Sec-Fetch-Dest": shown_as}
    response = admin_client.get(url("frame", entry), headers=headers)
    assert response.status_code == 302
    assert response["Location"] == url("entry", entry)
    framed = admin_client.get(url("frame", entry), headers={"Sec-Fetch-Dest": "iframe"})
    assert_harmless(framed)


def assert_harmless(response):
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert response["X-DNS-Prefetch-Control"] == "off"
    policy = response["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script" not in policy
    assert "http" not in policy
    assert "allow-" not in policy


@pytest.mark.threat(11)
def test_the_message_stands_in_a_frame_that_can_do_nothing(admin_client, text):
    entry = make_entry(message=make_message(html=EVIL_HTML))
    page = text(entry)
    assert f'sandbox="" src="{url("frame", entry)}"' in page
    assert "Readable" not in page
    assert "evil.example" not in page
    response = admin_client.get(url("frame", entry))
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert_harmless(response)
    assert response["Content-Security-Policy"] == (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )
    shown = response.content.decode()
    assert "Readable" in shown
    # A link opens nothing: the sandbox blocks new windows.
    assert shown.index('<base target="_blank">') < shown.index("<base href")


def test_a_text_is_shown_as_text(admin_client):
    entry = make_entry(message=make_message(body=f"<b>{SCRIPT}</b> ümläut"))
    shown = admin_client.get(url("frame", entry)).content.decode()
    assert "&lt;b&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;/b&gt; ümläut" in shown
    assert "<script" not in shown


def test_the_source(admin_client):
    entry = make_entry(message=make_message(html=EVIL_HTML))
    response = admin_client.get(url("source", entry))
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert_harmless(response)
    assert b"Subject: Your invoice" in response.content
    assert b"Bcc" not in response.content


def test_download_as_eml(admin_client):
    entry = make_entry(message=make_message())
    response = admin_client.get(url("download", entry))
    assert_harmless(response)
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"] == f'attachment; filename="message-{entry.pk}.eml"'
    assert b"Subject: Your invoice" in response.content


@pytest.mark.threat(13)
def test_attachments(admin_client, text):
    message = make_message(
        html="<p>Hi</p>",
        files=[
            ("Rechnung März.pdf", b"%PDF-1", "application/pdf"),
            ("../../evil\\x.html", "<script>", "text/html"),
            ("", "no name", "text/csv"),
        ],
    )
    message.attach("inner.eml", make_message(subject="the inner one"), "message/rfc822")
    entry = make_entry(message=message)
    page = text(entry)
    assert "Rechnung_März.pdf</a> (6 bytes)" in page
    answers = [admin_client.get(url("attachment", entry, number)) for number in range(1, 5)]
    for response in answers:
        assert_harmless(response)
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment; filename")
    assert answers[0].content == b"%PDF-1"
    assert "M%C3%A4rz.pdf" in answers[0]["Content-Disposition"]
    assert ".." not in answers[1]["Content-Disposition"]
    assert "/" not in answers[1]["Content-Disposition"].replace("utf-8''", "")
    assert b"<script>" in answers[1].content
    assert 'filename="attachment-3"' in answers[2]["Content-Disposition"]
    assert any(b"the inner one" in response.content for response in answers)
    for number in (0, 9, 10**30):
        assert admin_client.get(url("attachment", entry, number)).status_code == 404


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        (b"Content-Type: text/html; charset=nonsense\r\n\r\n<p>caf\xc3\xa9", "html", "<p>café"),
        (b"Content-Type: text/plain; charset=latin-1\r\n\r\ncaf\xe9", "plain", "café"),
        (b"Content-Type: multipart/mixed\r\n\r\nno boundary", "plain", None),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nHi\r\n", "plain", "Hi"),
        (b"Content-Type: \xff\xfe\r\n\r\nx", "html", None),
        (b"", "plain", ""),
    ],
)
def test_odd_messages_are_shown_all_the_same(source, kind, text):
    message = ReadableMessage(source)
    body = message.body(kind)
    assert (body.strip() if body is not None else None) == text
    assert isinstance(message.attachments, list)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("frame", "view_message"),
        ("source", "view_source"),
        ("download", "download_message"),
        ("attachment", "download_attachment"),
    ],
)
def test_each_look_is_in_the_audit_log(admin_client, name, action):
    entry = make_entry(message=make_message(files=[("a.txt", "x", "text/plain")]))
    admin_client.get(url(name, entry, *([1] if name == "attachment" else [])))
    row = ModelLogEntry.objects.get(action=f"wagtail_smtp.{action}")
    assert (row.user, row.object_id) == (admin_client.user, str(entry.pk))
    assert "invoice" not in row.label
    assert str(row.formatter.label)
    assert row.message


NAMES = ["frame", "source", "download", "attachment"]


@pytest.mark.threat(1, 22)
@pytest.mark.parametrize("state", ["queued", "failed", "sent"])
def test_a_security_message_is_never_shown(admin_client, text, state):
    message = make_message(body="the code is canary-7", files=[("code.txt", "x", "text/plain")])
    entry = make_entry(state=state, category="security", message=message)
    page = text(entry)
    assert "Security messages are never shown" in page
    assert "canary-7" not in page
    assert "code.txt" not in page
    assert "<iframe" not in page
    assert ">Resend<" not in page
    for name in NAMES:
        response = admin_client.get(url(name, entry, *([1] if name == "attachment" else [])))
        assert response.status_code == 302
        assert response.url == reverse("wagtailadmin_home")
    assert not ModelLogEntry.objects.filter(action__startswith="wagtail_smtp").exists()


def test_a_message_whose_key_is_gone(admin_client, text, configure):
    from cryptography.fernet import Fernet

    entry = make_entry(message=make_message())
    configure(ENCRYPTION_KEYS=[Fernet.generate_key().decode()])
    # Messages stored with the key derived from SECRET_KEY stay readable; damaged ones don't.
    StoredMessage.objects.update(content=b"gAAAA-damaged")
    page = text(entry)
    assert "can&#x27;t be decrypted" in page
    assert "<iframe" not in page
    for name in NAMES:
        answer = admin_client.get(url(name, entry, *([1] if name == "attachment" else [])))
        assert answer.status_code == 404
    response = admin_client.post(url("resend", entry), follow=True)
    assert "can&#x27;t be decrypted" in response.content.decode()


def test_what_is_not_there(admin_client):
    entry = make_entry()
    for name in ("frame", "source", "download"):
        assert admin_client.get(url(name, entry)).status_code == 404
        assert (
            admin_client.get(reverse(f"wagtail_smtp_log:{name}", args=[10**30])).status_code == 404
        )
    for pk in (entry.pk + 1, 10**30):
        assert admin_client.get(reverse("wagtail_smtp_log:entry", args=[pk])).status_code == 404


def test_a_message_with_many_recipients(text):
    entry = make_entry(*(f"r{number}@example.org" for number in range(230)))
    page = text(entry)
    assert "Only the first 200 are listed." in page
    assert "r199@example.org" in page
    assert "r200@example.org" not in page
