"""Testing a set from its form and from the listing: what it says, and what it must not do."""

import json
import re
import ssl

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape
from wagtail.models import ModelLogEntry
from wagtail.users.models import UserProfile

from tests.admin.conftest import form_data
from tests.support import causes
from tests.support.servers.hostile import HostileServer
from tests.support.servers.hostile_faults import Fault
from tests.support.servers.smtp_server import CA_PEM, free_port
from wagtail_smtp.admin.connection_check import check
from wagtail_smtp.causes import GROUPS, GUIDES
from wagtail_smtp.diagnostics.check_set import NOT_ASKED
from wagtail_smtp.models import LogEntry, Secret, SettingsSet
from wagtail_smtp.templatetags.wagtail_smtp_tags import wagtail_smtp_links

SETS = "wagtailsnippets_wagtail_smtp_settingsset"
NEW, TYPED = f"{SETS}:test_new", f"{SETS}:test_typed"
CONNECTION, EMAIL = f"{SETS}:test_connection", f"{SETS}:send_test_email"
ORDER = [
    "Name resolution",
    "Connection",
    "Greeting",
    "Encryption",
    "Authentication",
    "Fast sending",
    "Sender accepted",
]


def lines(response):
    """What the answer says, line by line."""
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return [json.loads(line) for line in content.splitlines()]


def typed(server, **values):
    """What the form posts for a server that listens on this machine."""
    defaults = {
        "host": server.host,
        "port": str(server.port),
        "encryption": server.encryption,
        "username": server.username,
        "password": server.password,
        "ca_certificates": CA_PEM,
        "test": "connection",
    }
    return form_data(**(defaults | values))


def stored_data(item, **values):
    """What the form of a stored set posts, unchanged but for ``values``."""
    kept = ("name", "host", "port", "encryption", "username", "ca_certificates")
    data = {name: str(getattr(item, name)) for name in kept}
    return form_data(**(data | {"password": "", "loaded_revision": str(item.revision)} | values))


def test_a_set_that_is_not_saved_yet(admin_client):
    with HostileServer() as server:
        response = admin_client.post(reverse(NEW), typed(server))
        *stages, end = lines(response)
    assert [stage["label"] for stage in stages] == ORDER
    assert all(stage["ok"] and stage["time"] for stage in stages)
    assert "valid until" in stages[3]["details"][0]
    assert end["ok"]
    assert end["notes"] == ["Tested with the password you entered."]
    assert not SettingsSet.objects.exists()
    assert not Secret.objects.exists()
    assert server.received == []
    assert "no-store" in response["Cache-Control"]


def test_the_stored_password_is_used_where_none_is_typed(admin_client, make_set):
    with HostileServer() as server:
        item = make_set(server)
        revision = item.revision
        data = stored_data(item, sender_name="New")
        *_stages, end = lines(admin_client.post(reverse(TYPED, args=[item.pk]), data))
        assert server.logins == [(server.username, server.password)]
    assert end["ok"]
    assert end["notes"] == ["Tested with the saved password."]
    item.refresh_from_db()
    assert (item.sender_name, item.revision) == ("", revision)


@pytest.mark.threat(9)
@pytest.mark.parametrize("field", ["host", "port", "username", "ca_certificates", "encryption"])
def test_the_stored_password_goes_nowhere_else(admin_client, make_set, field):
    with HostileServer() as server, HostileServer(encryption="ssl") as other:
        item = make_set(server)
        change = {
            "host": {"host": "localhost"},
            "port": {"port": str(other.port)},
            "username": {"username": "other@example.com"},
            "ca_certificates": {"ca_certificates": ""},
            "encryption": {"encryption": "ssl"},
        }[field]
        data = stored_data(item, **change)
        response = admin_client.post(reverse(TYPED, args=[item.pk]), data)
        [line] = lines(response)
        assert response.status_code == 422
        assert list(line["errors"]) == ["password"]
        assert server.connections == other.connections == 0


def test_errors_come_back_at_their_fields(admin_client):
    data = form_data(["qa@"], redirect="on", port="0", host="a b", test="connection")
    response = admin_client.post(reverse(NEW), data)
    [line] = lines(response)
    assert response.status_code == 422
    assert {"port", "host", "report_emails-0-address"} <= set(line["errors"])
    assert "Nothing was tested" in line["text"]


def test_no_password_at_all_is_an_error_at_its_field(admin_client, make_set):
    with HostileServer() as server:
        item = make_set(server)
        data = stored_data(item, remove_password="on")
        [line] = lines(admin_client.post(reverse(TYPED, args=[item.pk]), data))
        assert list(line["errors"]) == ["password"]
        assert server.connections == 0
    item.refresh_from_db()
    assert item.secret.ciphertext


def test_a_stale_form_is_not_tested(admin_client, make_set):
    with HostileServer() as server:
        item = make_set(server)
        data = stored_data(item)
        SettingsSet.objects.filter(pk=item.pk).update(revision=5)
        [line] = lines(admin_client.post(reverse(TYPED, args=[item.pk]), data))
        assert "has changed this set" in line["text"]
        assert server.connections == 0


def test_a_deleted_set_is_not_tested(admin_client, make_set):
    item = make_set()
    data = stored_data(item)
    url = reverse(TYPED, args=[item.pk])
    item.delete()
    response = admin_client.post(url, data)
    assert response.status_code == 404
    assert "deleted" in lines(response)[0]["text"]


def test_a_failure_ends_with_its_remedy_and_where_that_is_described(admin_client):
    with HostileServer() as server:
        data = typed(server, password="wrong")
        *stages, end = lines(admin_client.post(reverse(NEW), data))
    assert stages[-1]["label"] == "Authentication"
    assert not stages[-1]["ok"]
    assert stages[-1]["response"].startswith("535 ")
    remedy = stages[-1]["cause"]
    assert remedy["title"] == "The server refused the username or password"
    assert not end["ok"]
    url, _hash, slug = remedy["url"].partition("#")
    assert f'id="{slug}"' in admin_client.get(url).content.decode()


@pytest.mark.parametrize("encryption", ["ssl", "starttls"])
def test_mixed_up_encryption(admin_client, encryption):
    with HostileServer(encryption={"ssl": "starttls", "starttls": "ssl"}[encryption]) as server:
        # Where neither side speaks first, nothing but time ends it.
        data = typed(
            server, encryption=encryption, timeout={"ssl": "8", "starttls": "1"}[encryption]
        )
        *_stages, last, _end = lines(admin_client.post(reverse(NEW), data))
    assert "SSL/TLS" in last["cause"]["advice"]


@pytest.mark.threat(21)
def test_default_credentials(admin_client, configure):
    with HostileServer(encryption="none") as server:
        options = {"host": "localhost", "port": server.port, "username": server.username}
        options |= {"password": server.password}
        backend = "django.core.mail.backends.smtp.EmailBackend"
        configure(STANDARD={"BACKEND": backend, "OPTIONS": options})
        locked = dict.fromkeys(["host", "port", "encryption", "username", "password"])
        data = form_data(authentication="default", test="connection", **locked)
        *_stages, end = lines(admin_client.post(reverse(NEW), data))
        assert len(server.logins) == 1
    assert end["ok"]
    assert "default credentials" in end["notes"][0]


def test_a_sender_that_was_not_asked_for_is_not_praised(admin_client, settings):
    settings.DEFAULT_FROM_EMAIL = "a@example.com, b@example.com"
    with HostileServer() as server:
        data = typed(server, authentication="none", username="", password="")
        *stages, end = lines(admin_client.post(reverse(NEW), data))
    assert "Sender accepted" not in [stage["label"] for stage in stages]
    assert end["ok"]
    assert end["text"] == str(NOT_ASKED)
    assert end["notes"] == []


def test_the_result_is_above_the_stages(admin_client):
    page = admin_client.get(reverse(f"{SETS}:add")).content.decode()
    parts = [f'data-wsmtp-test-target="{name}"' for name in ("title", "result", "stages")]
    order = [page.index(part) for part in parts]
    assert order == sorted(order)


def test_a_login_that_was_not_tried_is_not_claimed(admin_client):
    with HostileServer(faults=[Fault("banner", "refuse", "554 5.3.2 No")]) as server:
        *_stages, end = lines(admin_client.post(reverse(NEW), typed(server)))
    assert not end["ok"]
    assert end["notes"] == []


def test_where_the_server_said_nothing_the_words_name_no_phase(admin_client):
    with HostileServer(auth=False) as server:
        *_stages, last, _end = lines(admin_client.post(reverse(NEW), typed(server)))
    assert last["response"].startswith("the server offers no supported login method")


# Test email


def test_a_test_email_arrives(admin_client):
    with HostileServer() as server:
        data = typed(server, test="email", test_address="me@example.org")
        *stages, end = lines(admin_client.post(reverse(NEW), data))
        [received] = server.received
    assert [stage["label"] for stage in stages[-2:]] == ["Recipient accepted", "Message accepted"]
    assert received.recipients == ["me@example.org"]
    assert end["text"] == "The server accepted the test email for me@example.org. Check the inbox."
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("who", ["the set", "what is live", "the settings"])
def test_a_redirect_holds_and_is_told(admin_client, make_set, reload, configure, who):
    with HostileServer() as server:
        if who == "what is live":
            make_set(name="Testing", redirect=True, reports=["qa@example.com"])
            reload()
        if who == "the settings":
            configure(REDIRECT_ALL_TO=["qa@example.com"])
        reports = ["off@example.com", "qa@example.com"]
        values = {"redirect": "on", "report_emails-0-enabled": None} if who == "the set" else {}
        data = typed(server, test="email", test_address="me@example.org")
        data |= form_data(reports, **{k: v for k, v in data.items() if k[:7] != "report_"})
        data |= values
        data = {key: value for key, value in data.items() if value is not None}
        *_stages, end = lines(admin_client.post(reverse(NEW), data))
        assert [received.recipients for received in server.received] == [["qa@example.com"]]
    assert end["text"] == "The server accepted the test email for qa@example.com. Check the inbox."
    assert "did not go to me@example.org" in end["notes"][0]
    entry = ModelLogEntry.objects.get(action="wagtail_smtp.send_test_email")
    assert entry.data["recipients"] == ["qa@example.com"]


def test_a_redirect_without_an_address_sends_nothing(admin_client, make_set, configure):
    configure(REDIRECT_ALL_TO=[])
    with HostileServer() as server:
        item = make_set(server)
        response = admin_client.post(
            reverse(EMAIL, args=[item.pk]), {"test_address": "me@example.org"}
        )
        [line] = lines(response)
        assert response.status_code == 409
        assert "redirect" in line["text"]
        assert server.connections == 0


@pytest.mark.parametrize("address", ["", "nobody", "a@b.c\nBcc: x@example.org", "ü@example.org"])
def test_a_test_email_to_no_address(admin_client, make_set, address):
    with HostileServer() as server:
        item = make_set(server)
        response = admin_client.post(reverse(EMAIL, args=[item.pk]), {"test_address": address})
        [line] = lines(response)
        assert response.status_code == 422
        assert list(line["errors"]) == ["test_address"]
        assert server.connections == 0


# A stored set


def test_a_stored_set_from_the_listing(admin_client, make_set):
    with HostileServer() as server:
        item = make_set(server, name="Office")
        listing = admin_client.get(reverse(f"{SETS}:list")).content.decode()
        for name in (CONNECTION, EMAIL):
            url = reverse(name, args=[item.pk])
            assert url in listing
            page = admin_client.get(url).content.decode()
            assert "Office" in page
            assert server.connections == 0
        assert "boss@example.com" in page
        *_stages, end = lines(admin_client.post(reverse(CONNECTION, args=[item.pk])))
        assert end["ok"]
        assert server.received == []
        data = {"test_address": "me@example.org"}
        *_stages, end = lines(admin_client.post(reverse(EMAIL, args=[item.pk]), data))
        assert end["ok"]
        assert len(server.received) == 1


def test_a_stored_password_that_does_not_fit(admin_client, make_set):
    with HostileServer() as server, HostileServer() as other:
        item = make_set(server)
        SettingsSet.objects.filter(pk=item.pk).update(port=other.port)
        [line] = lines(admin_client.post(reverse(CONNECTION, args=[item.pk])))
        assert "enter the password again" in line["text"]
        assert other.connections == 0


@pytest.mark.parametrize("page", [TYPED, CONNECTION, EMAIL])
def test_a_set_that_was_deleted_meanwhile(admin_client, make_set, page):
    item = make_set()
    data = stored_data(item, test_address="me@example.org")
    url = reverse(page, args=[item.pk])
    item.delete()
    response = admin_client.post(url, data)
    assert response.status_code == 404
    assert lines(response)[0]["text"] == "Someone has deleted this settings set."


# What the guard refuses


@pytest.mark.threat(10)
@pytest.mark.parametrize(
    "host", ["169.254.169.254", "100.100.100.200", "[::ffff:169.254.169.254]", "0.0.0.0", "fe80::1"]
)
def test_metadata_is_out_of_reach_and_the_words_are_coarse(admin_client, host):
    data = form_data(host=host.strip("[]"), port="25", test="connection")
    *stages, end = lines(admin_client.post(reverse(NEW), data))
    assert len(stages) == 1
    assert stages[0]["cause"]["title"] == causes.title("not-allowed")
    assert stages[0]["label"] == "Permission to connect"
    assert stages[0]["response"] == ""
    assert stages[0]["details"] == []
    assert not end["ok"]


@pytest.mark.threat(10)
def test_a_refused_target_does_not_show_whether_something_listens(admin_client, configure):
    configure(ALLOWED_NETWORKS=[])
    said = []
    with HostileServer() as server:
        for port in (server.port, free_port()):
            data = typed(server, port=str(port))
            told = lines(admin_client.post(reverse(NEW), data))
            told[0].pop("time")
            said.append(told)
        assert server.connections == 0
    assert said[0] == said[1]


# Care


def test_no_secret_is_said_or_kept(admin_client):
    canary = "canary-5f1e-of-the-test"
    with HostileServer(faults=[Fault("auth", "refuse", f"535 5.7.8 No {canary}")]) as server:
        told = lines(admin_client.post(reverse(NEW), typed(server, password=canary)))
    assert canary not in json.dumps(told)
    assert canary not in str([entry.data for entry in ModelLogEntry.objects.all()])


@pytest.mark.parametrize("kind", ["connection", "email"])
def test_each_test_has_its_entry_in_the_audit_log(admin_client, make_set, kind):
    with HostileServer() as server:
        item = make_set(server, name="Office")
        data = stored_data(item, test=kind, test_address="me@example.org")
        lines(admin_client.post(reverse(TYPED, args=[item.pk]), data))
    entry = ModelLogEntry.objects.get()
    assert entry.user == admin_client.user
    assert entry.object_id == str(item.pk)
    expected = {
        "connection": f"Tested the connection to 127.0.0.1:{server.port}",
        "email": "Tried to send a test email to me@example.org",
    }
    assert entry.message == expected[kind]


def test_the_test_of_a_new_set_has_its_entry_too(admin_client):
    with HostileServer() as server:
        lines(admin_client.post(reverse(NEW), typed(server)))
    assert ModelLogEntry.objects.get().data["server"] == f"127.0.0.1:{server.port}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", [TYPED, CONNECTION])
def test_no_transaction_and_no_query_while_the_server_is_talked_to(
    admin_client, make_set, monkeypatch, page
):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    with HostileServer() as server:
        item = make_set(server)
        response = admin_client.post(reverse(page, args=[item.pk]), stored_data(item))
        assert not connection.in_atomic_block
        assert server.connections == 0
        content = iter(response.streaming_content)
        with CaptureQueriesContext(connection) as queries:
            # All lines, but not the end: what is queried there has nothing to do with the test.
            told = [json.loads(next(content)) for _each in [*ORDER, "end"]]
        assert told[-1]["ok"]
        assert queries.captured_queries == []
        assert list(content) == []


def test_it_speaks_the_language_of_the_user(admin_client):
    UserProfile.objects.create(user=admin_client.user, preferred_language="de")
    with HostileServer() as server:
        told = lines(admin_client.post(reverse(NEW), typed(server)))
    assert "3000" in told[3]["details"][0]
    assert "1. Januar" in told[3]["details"][0]
    assert all(re.fullmatch(r"\d+,\d\d s", line["time"]) for line in told[:-1])


def test_a_certificate_that_never_expires(admin_client, settings, monkeypatch):
    settings.TIME_ZONE = "Asia/Tokyo"
    never = {"issuer": ((("commonName", "CA"),),), "notAfter": "Dec 31 23:59:59 9999 GMT"}
    monkeypatch.setattr(ssl.SSLSocket, "getpeercert", lambda *arguments: never)
    with HostileServer() as server:
        *stages, end = lines(admin_client.post(reverse(NEW), typed(server)))
    assert "Dec. 31, 9999" in stages[3]["details"][0]
    assert end["ok"]


def test_an_error_of_our_own_ends_the_stream_in_words(admin_client, monkeypatch, caplog):
    def fail(report):
        raise RuntimeError("a bug")

    monkeypatch.setattr(check, "_stage", fail)
    with HostileServer() as server:
        [end] = lines(admin_client.post(reverse(NEW), typed(server)))
    assert not end["ok"]
    assert "error on this site" in end["text"]
    assert "a bug" in caplog.text
    monkeypatch.undo()
    with HostileServer() as server:
        *_stages, end = lines(admin_client.post(reverse(NEW), typed(server)))
    assert end["ok"]


@pytest.mark.django_db(transaction=True)
def test_under_asgi(admin_client, make_set):
    async def ask(url, data):
        client = AsyncClient()
        await client.aforce_login(admin_client.user)
        response = await client.post(url, data)
        content = [line async for line in response.streaming_content]
        return b"".join(content)

    with HostileServer() as server:
        item = make_set(server)
        for _again in range(2):
            content = async_to_sync(ask)(reverse(CONNECTION, args=[item.pk]), {})
            *stages, end = map(json.loads, content.splitlines())
            assert [stage["label"] for stage in stages] == ORDER
            assert end["ok"]


# The sender of a backup


def test_a_backup_with_another_domain_is_pointed_out(admin_client, make_set):
    make_set(name="Office", sender_address="a@example.com")
    with HostileServer() as server:
        item = make_set(server, name="Spare", sender_address="b@example.net", backup=True)
        data = stored_data(item, backup="on", sender_address="b@example.net")
        *_stages, end = lines(admin_client.post(reverse(TYPED, args=[item.pk]), data))
        assert "SPF" in " ".join(end["notes"])
        url = reverse(f"{SETS}:edit", args=[item.pk])
        assert "“Office”" in admin_client.get(url).content.decode()
        saved = admin_client.post(url, data, follow=True).content.decode()
        assert "the set it replaces, “Office”" in saved
        data |= {"sender_address": "b@example.com"}
        *_stages, end = lines(
            admin_client.post(reverse(TYPED, args=[item.pk]), data | _fresh(item))
        )
        assert len(end["notes"]) == 1


def _fresh(item):
    item.refresh_from_db()
    return {"loaded_revision": str(item.revision)}


def test_the_page_of_the_problems_has_more_to_say(admin_client):
    page = admin_client.get(reverse("wagtail_smtp_troubleshooting:index")).content.decode()
    without_links = re.sub("</?a[^>]*>", "", page)
    for slug, _title, of_group in GROUPS:
        assert f'id="{slug}"' in page
        for cause in of_group:
            assert f'id="{cause.slug}"' in page
            assert f'href="#{cause.slug}"' in page
            # What the result of a test didn't say.
            assert all(escape(str(item)) in without_links for item in cause.more)
            assert escape(cause.example) in page
    assert all(url in page for _label, url in GUIDES)
    assert 'href="https://myaccount.google.com/apppasswords"' in page


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Open https://example.com/a?b=c&d=1.", "https://example.com/a?b=c&amp;d=1"),
        ("(see https://example.com/a)", "https://example.com/a"),
        ("Scope https://mail.example.com/. Others", "https://mail.example.com/"),
        ('https://example.com/"onclick=x', "https://example.com/"),
        ("Enter smtp.example.com, a@example.com or http://example.com", None),
        ("<script>javascript:alert(1)</script> https://", None),
    ],
)
def test_only_whole_addresses_become_links(text, address):
    html = wagtail_smtp_links(text)
    assert re.findall('href="([^"]*)"', html) == ([address] if address else [])
    assert re.sub("</?a[^>]*>", "", html) == escape(text)


def test_the_menu_leads_to_the_problems(admin_client):
    home = admin_client.get(reverse("wagtailadmin_home")).content.decode()
    assert reverse("wagtail_smtp_troubleshooting:index") in home


@pytest.mark.parametrize("name", ["typed", "stored"])
def test_in_a_copy_the_connection_is_tested_but_no_email_is_sent(
    admin_client, make_set, reload, run_in, name
):
    run_in("production")
    with HostileServer() as server:
        item = make_set(server)
        reload()
        run_in("staging")
        url = reverse(EMAIL if name == "stored" else TYPED, args=[item.pk])
        data = stored_data(item, test="email", test_address="real@example.org")
        response = admin_client.post(url, data)
        [line] = lines(response)
        assert (response.status_code, line["kind"]) == (409, "problem")
        assert "No email is sent from “staging”" in line["text"]
        assert server.connections == 0
        url = reverse(CONNECTION if name == "stored" else TYPED, args=[item.pk])
        *_stages, end = lines(admin_client.post(url, stored_data(item, test="connection")))
    assert end["ok"]
    assert server.received == []
    assert not ModelLogEntry.objects.filter(action="wagtail_smtp.send_test_email").exists()


@pytest.fixture
def copied(make_set, reload, run_in):
    """A set in a copy of production's database."""
    run_in("production")
    item = make_set(name="Office")
    reload()
    run_in("staging")
    return item


def test_in_a_copy_no_test_email_is_offered(copied, admin_client, configure):
    form, listing = reverse(f"{SETS}:edit", args=[copied.pk]), reverse(f"{SETS}:list")
    email = reverse(EMAIL, args=[copied.pk])
    for url in (form, reverse(f"{SETS}:add"), email):
        page = admin_client.get(url).content.decode()
        assert "data-no-test" in page, url
        assert 'name="test_address"' not in page, url
        assert "askForAddress" not in page, url
    page = admin_client.get(listing).content.decode()
    assert email not in page
    assert reverse(CONNECTION, args=[copied.pk]) in page
    configure(REDIRECT_ALL_TO=["qa@example.com"])
    assert "data-no-test" not in admin_client.get(form).content.decode()
    assert email in admin_client.get(listing).content.decode()
