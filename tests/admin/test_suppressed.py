"""The pages of the suppression list: find, add, import, export and remove addresses."""

import csv
import io
import re
from datetime import timedelta
from html import unescape

import pytest
from django.core import mail
from django.core.files.base import ContentFile
from django.core.mail import send_mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from wagtail.models import ModelLogEntry

from tests.support.log_entries import make_entry, make_message
from wagtail_smtp import suppression
from wagtail_smtp.admin import paging
from wagtail_smtp.admin.suppressed import reading
from wagtail_smtp.diagnostics.check_set import try_set
from wagtail_smtp.exceptions import RecipientsSuppressed
from wagtail_smtp.maintenance import resend
from wagtail_smtp.models import LogEntry, SuppressedAddress

INDEX = reverse("wagtail_smtp_suppressed:index")


def url(name, *args):
    return reverse(f"wagtail_smtp_suppressed:{name}", args=args)


def _row(address):
    return SuppressedAddress.objects.get(digest=suppression.digest(address))


def _listed(client, **query):
    response = client.get(INDEX, query)
    assert response.status_code == 200
    ids = re.findall(r'id="suppressedaddress_(\d+)_title"', response.text)
    found = SuppressedAddress.objects.in_bulk(ids)
    return [found[int(key)].address for key in ids]


def _audited():
    return [
        (entry.action.removeprefix("wagtail_smtp."), entry.label)
        for entry in ModelLogEntry.objects.order_by("pk")
    ]


@pytest.fixture
def some(db):
    suppression.suppress("ada@example.org", "complained", detail="Spam button")
    suppression.suppress("bob@sub.example.org", "bounced")
    suppression.suppress("carol@example.net", "manual")


def test_search_and_filters(admin_client, some):
    newest_first = ["carol@example.net", "bob@sub.example.org", "ada@example.org"]
    assert _listed(admin_client) == newest_first
    assert _listed(admin_client, q="Ada@Example.org") == ["ada@example.org"]
    assert _listed(admin_client, q="example") == ["carol@example.net", "ada@example.org"]
    assert _listed(admin_client, q="@example.o") == ["ada@example.org"]
    assert _listed(admin_client, q="bo") == ["bob@sub.example.org"]
    assert _listed(admin_client, q="ob@") == []
    assert _listed(admin_client, q="%") == _listed(admin_client, q="a" * 300) == []
    assert _listed(admin_client, reason="bounced") == ["bob@sub.example.org"]
    assert _listed(admin_client, reason="bounced", q="ada") == []
    SuppressedAddress.objects.filter(address__startswith="ada").update(
        created_at=timezone.now() - timedelta(days=40)
    )
    recently = (timezone.now() - timedelta(days=3)).date().isoformat()
    assert _listed(admin_client, created_at_from=recently) == newest_first[:2]
    assert _listed(admin_client, created_at_to=recently) == ["ada@example.org"]


def test_a_long_list_is_paged_without_counting_it(admin_client, some, monkeypatch):
    monkeypatch.setattr(paging, "CAP", 2)
    page = admin_client.get(INDEX)
    [older] = re.findall(r'data-older>.*?href="([^"]+)"', page.text, re.DOTALL)
    assert "carol@example.net" in page.text
    with CaptureQueriesContext(connection) as captured:
        page = admin_client.get(older)
    assert "ada@example.org" in page.text
    assert "carol@example.net" not in page.text
    own = [query["sql"] for query in captured if "suppressedaddress" in query["sql"].lower()]
    assert own
    assert not [sql for sql in own if "COUNT(" in sql or " OFFSET " in sql]


def test_add(admin_client):
    data = {
        "addresses": "Ada <ADA@example.org>, bob@bücher.example\n\ncarol@example.net;",
        "detail": "Asked",
    }
    response = admin_client.post(url("add"), data)
    assert response.url == INDEX
    row = _row("bob@xn--bcher-kva.example")
    assert (row.reason, row.detail, str(row.created_by)) == ("manual", "Asked", "boss")
    assert SuppressedAddress.objects.count() == 3
    assert _audited() == [("suppress_several", "Suppressed addresses")]
    page = admin_client.post(
        url("add"), {"addresses": "ada@example.org\ndan@example.org"}, follow=True
    )
    assert SuppressedAddress.objects.count() == 4
    assert _audited()[1:] == [("suppress", "d…@example.org")]
    assert "1 address was already suppressed." in page.text


def test_what_is_no_address_is_named_and_nothing_is_lost(admin_client, monkeypatch):
    data = {"addresses": "ada@example.org\nno address\n<b>\n", "detail": "Asked"}
    page = admin_client.post(url("add"), data)
    assert page.status_code == 200
    assert "Line 2 is not an email address: no address" in page.text
    assert "Line 3 is not an email address: &lt;b&gt;" in page.text
    assert "no address\n" in page.text.replace("\r", "")
    assert not SuppressedAddress.objects.exists()


def test_the_page_of_an_address_and_its_message(admin_client, smtp_server, make_set, reload):
    smtp_server.refuse = {"gone@example.org": "550 5.1.1 User unknown"}
    make_set(smtp_server)
    reload()
    send_mail("Hi", "Body", None, ["gone@example.org", "ada@example.org"])
    entry, row = LogEntry.objects.get(), SuppressedAddress.objects.get()
    entry_url = reverse("wagtail_smtp_log:entry", args=[entry.pk])
    page = admin_client.get(url("address", row.pk)).text
    assert f'href="{entry_url}"' in page
    assert "550 5.1.1 User unknown" in page
    assert "?recipient=gone%40example.org" in page
    # And back.
    assert f'href="{url("address", row.pk)}"' in admin_client.get(entry_url).text
    LogEntry.objects.all().delete()
    assert "data-entry" not in admin_client.get(url("address", row.pk)).text


def test_links_only_where_they_lead_somewhere(client, make_user, some):
    entry = make_entry("ada@example.org")
    path = reverse("wagtail_smtp_log:entry", args=[entry.pk])
    link = url("address", _row("ada@example.org").pk)
    client.force_login(make_user("view_logentry", name="log"))
    assert link not in client.get(path).text
    client.force_login(make_user("view_suppressedaddress", name="list"))
    page = client.get(link).text
    assert "data-log>" not in page
    assert url("remove", _row("ada@example.org").pk) not in page
    page = client.get(INDEX).text
    assert url("add") not in page
    assert "data-bulk-action-checkbox" not in page


def test_remove(admin_client, some):
    row = _row("ada@example.org")
    page = admin_client.get(url("remove", row.pk))
    assert "ada@example.org" in page.text
    assert suppression.is_suppressed("ada@example.org")
    for _click in range(2):
        response = admin_client.post(url("remove", row.pk), {"next": f"{INDEX}?p=2"})
    assert response.status_code == 404
    assert not suppression.is_suppressed("ada@example.org")
    assert _audited() == [("allow", "a…@example.org")]


def _bulk(*keys, **query):
    path = reverse("wagtail_bulk_action", args=["wagtail_smtp", "suppressedaddress", "remove"])
    given = [f"id={key}" for key in keys] + [f"{name}={value}" for name, value in query.items()]
    return f"{path}?{'&'.join([*given, f'next={INDEX}'])}"


def test_remove_several(admin_client, some):
    keys = [_row(address).pk for address in ("ada@example.org", "carol@example.net")]
    path = _bulk(*keys, "junk")
    page = admin_client.get(path)
    assert 'data-remove-count="2"' in page.text
    assert SuppressedAddress.objects.count() == 3
    assert admin_client.post(path).url == INDEX
    assert SuppressedAddress.objects.get().address == "bob@sub.example.org"
    assert _audited() == [("allow_several", "Suppressed addresses")]


def test_remove_all_that_match(admin_client, some):
    admin_client.post(_bulk("all", reason="nonsense"))
    assert SuppressedAddress.objects.count() == 3
    page = admin_client.get(_bulk("all", q="example"))
    assert 'data-remove-count="2"' in page.text
    # What was confirmed is removed, and nothing that was added meanwhile.
    suppression.suppress("dave@example.org")
    form = re.search(r'<form action="([^"]+)" method="POST"', page.text)
    admin_client.post(unescape(form[1]))
    left = SuppressedAddress.objects.values_list("address", flat=True)
    assert set(left) == {"bob@sub.example.org", "dave@example.org"}


FILE = """Name;E-Mail;Notes
Ada;ADA@example.org;x
Bob;bob@example.org;"two
lines"
;not an address;y
Carol;carol@example.net
Ada again; ada@example.org
Nobody

"""


def _uploaded(client, content, **values):
    data = {"file": ContentFile(content, "list.csv"), "reason": "bounced", "detail": "Old list"}
    return client.post(url("import"), data | values)


def _confirmed(page):
    return re.search(r'name="confirmed" value="([^"]+)"', page.text)[1]


def test_import(admin_client):
    suppression.suppress("carol@example.net", "complained")
    page = _uploaded(admin_client, FILE.encode())
    counts = {name: int(n) for name, n in re.findall(r'data-(\w+)="(\d+)"', page.text)}
    assert {name: counts[name] for name in ("new", "known", "duplicates", "invalid")} == {
        "new": 2, "known": 1, "duplicates": 1, "invalid": 1,
    }  # fmt: skip
    assert "Line 5: <bdi>not an address</bdi>" in page.text
    assert SuppressedAddress.objects.count() == 1
    confirmed = _confirmed(page)
    for _click in range(2):
        assert admin_client.post(url("import"), {"confirmed": confirmed}).url == INDEX
    row = _row("ada@example.org")
    assert (row.reason, row.detail, str(row.created_by)) == ("bounced", "Old list", "boss")
    assert _row("carol@example.net").reason == "complained"
    assert SuppressedAddress.objects.count() == 3
    assert _audited() == [("import_suppressed", "Suppressed addresses")]


def test_a_preview_that_was_changed_is_refused(admin_client):
    confirmed = _confirmed(_uploaded(admin_client, b"ada@example.org"))
    for changed in (confirmed + "x", confirmed[1:], "", "a:b:c"):
        assert admin_client.post(url("import"), {"confirmed": changed}).status_code == 400
    assert not SuppressedAddress.objects.exists()


def test_an_old_preview_asks_for_the_file_again(admin_client, monkeypatch):
    from wagtail_smtp.admin.suppressed import files

    confirmed = _confirmed(_uploaded(admin_client, b"ada@example.org"))
    monkeypatch.setattr(files, "_VALID_FOR", -1)
    page = admin_client.post(url("import"), {"confirmed": confirmed})
    assert "help-critical" in page.text
    assert not SuppressedAddress.objects.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"ada@example.org\r\nbob@example.org\r\n",
        b"\xef\xbb\xbfemail,name\nada@example.org,Ada\nbob@example.org,B\xc3\xb6b",
        "email\tname\nada@example.org\tÄda\nbob@example.org\t".encode("utf-16"),
        "id,B\xfcro,Email Address\n1,x,ada@example.org\n2,y,bob@example.org\n".encode("cp1252"),
        b"number,who\n1,ada@example.org\n2,bob@example.org",
        b'"Ada <ada@example.org>"\n"B, Bob <BOB@example.org>"',
        b"ada@example.org; Bob <bob@example.org>\r\n",
        b"ada@example.org,bob@example.org,\n",
        b"ada@example.org,note\nbob@example.org,Ask carol@example.org",
    ],
)
def test_files_as_they_come(content):
    found = reading.from_csv(content)
    assert found.valid == ("ada@example.org", "bob@example.org")
    assert found.invalid == ()


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"PK\x03\x04zip", b"a\0b", b'"' + b"x" * 200_000 + b'"']
)
def test_files_that_cannot_be_imported(admin_client, content):
    page = _uploaded(admin_client, content)
    assert page.status_code == 200
    assert "w-field__errors" in page.text
    assert "confirmed" not in page.text


def test_files_that_are_too_large(admin_client, monkeypatch):
    monkeypatch.setattr(reading, "MAX_ADDRESSES", 2)
    assert "confirmed" not in _uploaded(admin_client, b"a@x.org\nb@x.org\nc@x.org").text
    monkeypatch.setattr(reading, "MAX_SIZE", 10)
    assert "confirmed" not in _uploaded(admin_client, b"a@example.org").text


def test_an_export_can_be_imported_again(admin_client, some):
    suppression.suppress("+plus@example.org", detail="=1+1")
    response = admin_client.post(url("export") + "?q=example")
    content = response.getvalue()
    rows = list(csv.reader(io.StringIO(content.decode())))
    assert [row[0] for row in rows] == [
        "address", "'+plus@example.org", "carol@example.net", "ada@example.org",
    ]  # fmt: skip
    assert rows[1][2] == "'=1+1"
    found = reading.from_csv(content)
    assert found.valid == ("+plus@example.org", "carol@example.net", "ada@example.org")
    assert _audited() == [("export_suppressed", "Suppressed addresses")]


def test_an_erased_address_is_found_by_its_hash(admin_client, some):
    SuppressedAddress.objects.filter(address="ada@example.org").update(address="", domain="")
    assert _listed(admin_client, q="ada@example.org") == [""]
    page = admin_client.get(url("address", _row("ada@example.org").pk))
    assert "data-erased" in page.text
    assert "?recipient=" not in page.text


def test_a_test_email_to_a_suppressed_address_says_so(admin_client, some):
    path = reverse("wagtail_smtp_delivery:test")
    data = {"recipient": "ada@example.org", "category": "test"}
    page = admin_client.post(path, data, follow=True).text
    assert 'data-result="warning"' in page
    assert f'href="{url("address", _row("ada@example.org").pk)}" data-suppressed' in page
    assert mail.outbox == []


def test_a_test_of_a_set_sends_nothing_to_a_suppressed_address(make_set, smtp_server, some):
    item = make_set(smtp_server)
    with pytest.raises(RecipientsSuppressed, match="is suppressed"):
        try_set(item, "ada@example.org")
    assert smtp_server.received == []


def test_a_resend_says_who_is_suppressed_and_that_nothing_was_sent(admin_client, some):
    entry = make_entry("ada@example.org", message=make_message())
    page = admin_client.get(reverse("wagtail_smtp_log:resend", args=[entry.pk]))
    assert "data-suppressed" in page.text
    done = resend.send_claimed(LogEntry.objects.get(pk=entry.pk))
    assert done.problem == ""  # it went to the message's recipient, who isn't suppressed
    suppression.suppress("real@example.org")
    assert resend.send_claimed(LogEntry.objects.get(pk=entry.pk)).problem
