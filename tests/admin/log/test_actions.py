"""Actions on entries: resend one or several, try now, cancel, export."""

import csv
import io
import re
import smtplib
from datetime import timedelta

import openpyxl
import pytest
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from wagtail.models import ModelLogEntry

from tests.support.log_entries import fill, make_entry, make_message, make_waiting
from wagtail_smtp.admin.log import export as log_export
from wagtail_smtp.admin.log import filters
from wagtail_smtp.models import LogEntry, OutboxMessage


def url(name, entry):
    return reverse(f"wagtail_smtp_log:{name}", args=[entry.pk])


def bulk_url():
    return reverse("wagtail_bulk_action", args=["wagtail_smtp", "logentry", "resend"])


def shown(response):
    return " ".join(response.content.decode().split())


def audit(action):
    return ModelLogEntry.objects.filter(action=f"wagtail_smtp.{action}")


def test_resend_asks_first(admin_client):
    entry = make_entry("anna@example.org", message=make_message(to=["anna@example.org"]))
    assert "Resend" in shown(admin_client.get(url("entry", entry)))
    page = shown(admin_client.get(url("resend", entry)))
    assert "Resend this message?" in page
    assert "anna@example.org" in page
    assert "may arrive twice" not in page
    assert 'type="email"' not in page
    assert not mail.outbox


@pytest.mark.threat(3)
def test_resend_goes_to_the_original_recipients_and_nobody_else(admin_client):
    entry = make_entry("anna@example.org", message=make_message(to=["anna@example.org"]))
    other = {"to": "evil@example.net", "recipient": "evil@example.net", "email": "evil@example.net"}
    response = admin_client.post(url("resend", entry) + "?to=evil@example.net", other, follow=True)
    assert "The message was resent." in shown(response)
    [sent] = mail.outbox
    assert sent.recipients() == ["anna@example.org"]
    again = LogEntry.objects.first()
    assert again.resend_of == entry
    assert response.redirect_chain[-1][0] == url("entry", again)
    assert "Copy of" in shown(response)
    row = audit("resend").get()
    assert (row.user, row.object_id) == (admin_client.user, str(entry.pk))


def test_resend_of_an_unknown_outcome_says_what_may_happen(admin_client):
    entry = make_entry(state="unknown", message=make_message())
    assert "it may arrive twice" in shown(admin_client.get(url("resend", entry)))
    assert "it may arrive twice" in shown(admin_client.get(bulk_url(), {"id": entry.pk}))


def test_a_resend_that_fails_says_why(admin_client, make_set, reload):
    make_set(name="Broken", host="127.0.0.1", port=9, timeout=1)
    reload()
    entry = make_entry(message=make_message())
    response = admin_client.post(url("resend", entry), follow=True)
    assert "The message was not sent" in shown(response)
    assert "Broken" in shown(response)
    again = LogEntry.objects.first()
    assert (again.state, again.resend_of) == ("failed", entry)


def test_of_what_a_backend_raises_the_kind_is_told(admin_client, monkeypatch):
    from wagtail_smtp.maintenance import resend

    def broken(entry):
        raise RuntimeError("the server said: canary")

    monkeypatch.setattr(resend, "resend", broken)
    entry = make_entry(message=make_message())
    response = admin_client.post(url("resend", entry), follow=True)
    assert "not sent: RuntimeError" in shown(response)
    assert "canary" not in shown(response)


class Echoing(BaseEmailBackend):
    """A project's own backend whose server echoes the password."""

    def send_messages(self, messages):
        raise smtplib.SMTPAuthenticationError(535, b"5.7.8 No: canary")


@pytest.mark.parametrize("several", [False, True])
def test_a_backend_that_echoes_a_password(admin_client, configure, several):
    configure(STANDARD={"BACKEND": "tests.admin.log.test_actions.Echoing"})
    entry = make_entry(message=make_message())
    target = f"{bulk_url()}?id={entry.pk}" if several else url("resend", entry)
    response = admin_client.post(target, follow=True)
    assert LogEntry.objects.first().reason in shown(response)
    assert "SMTPAuthenticationError" in shown(response)
    assert "canary" not in shown(response)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"category": "security", "message": True},
        {"state": "deferred", "message": True},
    ],
    ids=["not kept", "security", "waits"],
)
def test_what_cannot_be_resent(admin_client, values):
    values = dict(values)
    if values.pop("message", False):
        values["message"] = make_message()
    entry = make_entry(**values)
    for response in (
        admin_client.post(url("resend", entry), follow=True),
        admin_client.get(url("resend", entry), follow=True),
    ):
        assert "no longer do this with this message" in shown(response)
    page = shown(admin_client.get(bulk_url(), {"id": entry.pk}))
    assert "data-left-out" in page
    assert "<form" not in page.partition("<main")[2]
    admin_client.post(f"{bulk_url()}?id={entry.pk}")
    assert not mail.outbox
    assert not audit("resend").exists()
    assert LogEntry.objects.count() == 1


def test_several_are_resent(admin_client, make_set):
    kept = [make_entry(subject=f"kept {n}", message=make_message()) for n in range(3)]
    gone = make_entry(subject="gone")
    secret = make_entry(subject="code", category="security", message=make_message())
    query = "?" + "&".join(f"id={entry.pk}" for entry in [*kept, gone, secret])
    page = shown(admin_client.get(bulk_url() + query))
    assert 'data-resend-count="3"' in page
    assert page.index("kept 2") < page.index("data-left-out") < page.index(">gone<")
    next_url = reverse("wagtail_smtp_log:index")
    response = admin_client.post(f"{bulk_url()}{query}&next={next_url}", follow=True)
    assert "3 messages were resent." in shown(response)
    assert response.redirect_chain[-1][0] == next_url
    assert len(mail.outbox) == 3
    assert audit("resend").count() == 3


def test_several_of_which_some_fail(admin_client, make_set, reload):
    make_set(name="Broken", host="127.0.0.1", port=9, timeout=1, categories=["notification"])
    reload()
    bad = make_entry(category="notification", message=make_message())
    good = make_entry(message=make_message())
    query = f"?id={bad.pk}&id={good.pk}&next={reverse('wagtail_smtp_log:index')}"
    response = admin_client.post(bulk_url() + query, follow=True)
    assert "1 message was resent." in shown(response)
    assert "1 was not sent" in shown(response)


@pytest.mark.parametrize(
    "query",
    ["", "?id=all&state=odd", "?id=all&q=%00", "?id=x", "?id=²", "?id=" + "9" * 40, "?id=-1"],
)
def test_odd_selections_resend_nothing(admin_client, query):
    make_entry(message=make_message())
    assert admin_client.get(bulk_url() + query).status_code == 200
    admin_client.post(bulk_url() + query)
    assert not mail.outbox


def test_try_now(admin_client, django_capture_on_commit_callbacks):
    entry = make_waiting()
    assert "Try to send this message now?" in shown(admin_client.get(url("try_now", entry)))
    response = admin_client.post(url("try_now", entry), follow=True)
    assert "The message will be tried next." in shown(response)
    assert OutboxMessage.objects.get().due_at <= timezone.now()
    assert audit("try_now").get().user == admin_client.user


def test_cancel(admin_client):
    entry = make_waiting()
    assert "Cancel this message?" in shown(admin_client.get(url("cancel", entry)))
    response = admin_client.post(url("cancel", entry), follow=True)
    assert "The message was cancelled." in shown(response)
    entry.refresh_from_db()
    assert entry.state == "cancelled"
    assert audit("cancel").get().user == admin_client.user


@pytest.mark.parametrize("name", ["try_now", "cancel"])
def test_what_is_on_its_way_is_left_alone(admin_client, name, monkeypatch):
    entry = make_waiting()
    OutboxMessage.objects.update(state="sending")
    page = shown(admin_client.get(url("entry", entry)))
    assert "Try now" not in page
    response = admin_client.post(url(name, entry), follow=True)
    assert "no longer do this with this message" in shown(response)
    from wagtail_smtp.admin.log import actions

    # A worker claims it between the check and the action.
    monkeypatch.setattr(actions.ActionView, "is_possible", lambda self: True)
    response = admin_client.post(url(name, entry), follow=True)
    assert "already being sent or has been sent" in shown(response)
    assert OutboxMessage.objects.get().state == "sending"
    assert not audit(name).exists()


def test_the_audit_log_is_in_words(admin_client, make_set, reload):
    make_set(name="Office")
    reload(admin_client.user)
    admin_client.post(url("cancel", make_waiting()))
    page = shown(admin_client.get(reverse("wagtailadmin_reports:site_history")))
    assert "Version 1 made live" in page
    assert "Cancelled the message" in page


def export(client, file_format="csv", **query):
    path = reverse("wagtail_smtp_log:export")
    query = "&".join(f"{name}={value}" for name, value in query.items())
    response = client.post(f"{path}?{query}", {"format": file_format})
    assert response.status_code == 200
    content = b"".join(response.streaming_content)
    if file_format == "csv":
        assert response["Content-Disposition"] == 'attachment; filename="delivery-log.csv"'
        return list(csv.reader(io.StringIO(content.decode())))
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
    return [list(row) for row in sheet.values]


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
def test_export(admin_client, file_format):
    make_entry("a@example.org", "b@example.org", state="sent", message_id="<1@x>")
    make_entry(reason="no", ago=1)
    heading, newest, first = export(admin_client, file_format)
    assert heading == [
        "Time (Europe/Berlin)", "State", "Category", "Subject", "Recipients", "Sent through",
        "Message-ID", "Reason", "Tracking",
    ]  # fmt: skip
    assert newest[1:6] == ["Failed", "Invoices", "Your invoice", "real@example.org", "Office"]
    assert newest[7] == "no"
    assert first[4] == "a@example.org, b@example.org"
    assert first[6] == "<1@x>"
    row = audit("export").get()
    assert row.user == admin_client.user
    assert row.data == {"rows": 2, "format": file_format}


@pytest.mark.threat(4)
@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
@pytest.mark.parametrize(
    "start",
    [*"=+-@\t\r\n＝＋－＠", " =", '"=', "\ufeff=", ";=", "x;=", "x; ＝", "x|@", "x\t+", 'x;"='],
)
def test_formulas_are_neutralised(admin_client, file_format, start):
    evil = f"{start}cmd|' /C calc'!A0"
    make_entry(evil, subject=evil, reason=evil, message_id=evil, via=evil)
    _heading, row = export(admin_client, file_format)
    for cell in (row[3], row[5], row[6], row[7]):
        for part in re.split(r"[;,\t|\r\n]", cell):
            assert not re.match(r"[\s\ufeff\"]*[=+\-@＝＋－＠]", part), cell


@pytest.mark.parametrize("file_format", ["csv", "xlsx"])
def test_times_are_those_of_the_reader(admin_client, file_format):
    entry = make_entry()
    local = timezone.localtime(entry.created_at)
    [[_heading, *_], [cell, *_]] = export(admin_client, file_format)
    if file_format == "csv":
        assert cell == local.isoformat(" ", "seconds")
    else:
        assert abs(cell - local.replace(tzinfo=None)) < timedelta(seconds=1)


def test_export_of_what_is_asked_for(admin_client):
    make_entry(subject="one", state="failed")
    make_entry(subject="two", state="sent")
    page = shown(admin_client.get(reverse("wagtail_smtp_log:export"), {"state": "failed"}))
    assert "This exports the 1 entry" in page
    assert [row[3] for row in export(admin_client, state="failed")[1:]] == ["one"]
    assert [row[3] for row in export(admin_client, q="two")[1:]] == ["two"]


def test_an_export_is_capped_and_goes_beyond_a_page(admin_client, monkeypatch):
    fill(30)
    monkeypatch.setattr(log_export, "_CHUNK", 7)
    assert len(export(admin_client)) == 31
    monkeypatch.setattr(log_export, "ROWS", 20)
    assert len(export(admin_client)) == 21


def test_an_export_of_another_kind(admin_client):
    response = admin_client.post(reverse("wagtail_smtp_log:export"), {"format": "exe"})
    assert response.status_code == 400


def test_an_export_looks_through_everything(admin_client):
    rows = fill(40)
    LogEntry.objects.filter(pk=rows[2].pk).update(state="failed")
    assert [row[3] for row in export(admin_client, state="failed", category="form")[1:]] == [
        "Message 2"
    ]
    since = (timezone.now() - timedelta(days=1)).date()
    assert len(export(admin_client, q="Message", created_at_from=since)) == 41


def test_an_export_of_a_search_looks_through_a_long_log(admin_client, monkeypatch):
    monkeypatch.setattr(filters, "LOOK_FURTHER", 10)
    monkeypatch.setattr(filters, "LOOK_MOST", 100)
    rows = fill(60)
    LogEntry.objects.filter(pk__in=[rows[1].pk, rows[30].pk]).update(subject="Umbrella")
    assert len(export(admin_client, q="umbrella")) == 3
    monkeypatch.setattr(filters, "LOOK_MOST", 40)
    assert len(export(admin_client, q="umbrella")) == 2


def test_an_export_is_streamed(admin_client, monkeypatch):
    monkeypatch.setattr(log_export, "_CHUNK", 5)
    fill(50)
    response = admin_client.post(reverse("wagtail_smtp_log:export"), {"format": "csv"})
    assert response.streaming
    with CaptureQueriesContext(connection) as queries:
        lines = iter(response.streaming_content)
        for _heading_and_first in range(2):
            next(lines)
        assert len(queries) <= 4  # a chunk of entries and their recipients
        assert len(list(lines)) == 49
        assert len(queries) >= 20


def test_a_long_export_is_not_counted(admin_client, monkeypatch):
    monkeypatch.setattr(log_export, "COUNTED", 10)
    fill(11)
    page = shown(admin_client.get(reverse("wagtail_smtp_log:export")))
    assert "This exports up to 50,000 entries" in page
