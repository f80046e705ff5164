"""Managed sets in the admin: shown with their file, locked on the server too, but testable."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from tests.admin.conftest import form_data
from tests.support.servers.smtp_server import SMTPServer
from wagtail_smtp import live
from wagtail_smtp.admin.base import EDIT_SET, MAKE_LIVE, PUT_FIRST, SETS
from wagtail_smtp.models import SettingsSet

NAMES = "wagtailsnippets_wagtail_smtp_settingsset"


@pytest.fixture
def server() -> Iterator[SMTPServer]:
    with SMTPServer(encryption="none", auth=False) as server:
        yield server


@pytest.fixture
def manage(configure, settings, tmp_path: Path, server):
    """Import sets from the project's file: ``manage({"id": "a"}, …)`` with the test's server."""
    settings.BASE_DIR = tmp_path
    configure(SETS_FILE=tmp_path / "conf" / "email.json")

    def manage(*changes: dict[str, Any], reload: bool = False) -> list[SettingsSet]:
        sets = [
            {
                "name": f"Set {number}",
                "host": "127.0.0.1",
                "port": server.port,
                "encryption": "none",
                "authentication": "none",
                "sender_address": "site@example.com",
            }
            | each
            for number, each in enumerate(changes, start=1)
        ]
        path = tmp_path / "conf" / "email.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"version": 1, "sets": sets}))
        call_command("smtp_import", "--yes", *(["--reload"] if reload else []), verbosity=0)
        return list(SettingsSet.objects.exclude(managed_by="").order_by("sort_order"))

    return manage


def names() -> list[str]:
    return list(SettingsSet.objects.order_by("sort_order").values_list("name", flat=True))


def test_the_listing_shows_the_file_and_a_lock(admin_client, manage, make_set) -> None:
    [item] = manage({"id": "a"})
    own = make_set(name="Own", slug="own", sort_order=5)
    page = admin_client.get(reverse(SETS)).content.decode()
    assert "<bdi data-managed-by>conf/email.json</bdi>" in page
    assert page.count('data-w-orderable-target="handle"') == 1
    assert page.count('<td class="ord" data-managed>') == 1
    assert reverse(f"{NAMES}:delete", args=[own.pk]) in page
    assert reverse(f"{NAMES}:delete", args=[item.pk]) not in page
    assert reverse(f"{NAMES}:copy", args=[item.pk]) in page


def test_the_listing_has_no_such_column_without_a_file(admin_client, make_set) -> None:
    make_set(name="Own")
    page = admin_client.get(reverse(SETS)).content.decode()
    assert "Managed by" not in page


def test_the_form_is_locked(admin_client, manage) -> None:
    [item] = manage({"id": "a", "report_emails": ["qa@example.com"]})
    response = admin_client.get(reverse(EDIT_SET, args=[item.pk]))
    page = response.content.decode()
    assert "data-managed" in page
    assert "conf/email.json" in page
    assert reverse(f"{NAMES}:delete", args=[item.pk]) not in page
    assert reverse(f"{NAMES}:copy", args=[item.pk]) in page
    assert response.context["form"].fields["host"].disabled


def test_the_form_offers_nothing_that_only_changes_something(
    admin_client, manage, monkeypatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "x")
    login = {"authentication": "password", "username": "me", "password": {"env": "SMTP_PASSWORD"}}
    [item, other] = manage({"id": "a"} | login, {"id": "b", "report_emails": ["qa@example.com"]})
    page = admin_client.get(reverse(EDIT_SET, args=[item.pk])).content.decode()
    assert 'name="password"' in page
    assert "remove_password" not in page
    assert "report_emails-" not in page
    page = admin_client.get(reverse(EDIT_SET, args=[other.pk])).content.decode()
    assert 'name="report_emails-0-address"' in page


def test_a_managed_set_is_inspected_not_edited(admin_client, manage, make_set) -> None:
    [item] = manage({"id": "a"})
    own = make_set(name="Own", slug="own", sort_order=5)
    page = " ".join(re.sub("<svg.*?</svg>", "", listing(admin_client), flags=re.S).split())
    for row, label in ((item, "Inspect"), (own, "Edit")):
        assert re.search(rf'href="{reverse(EDIT_SET, args=[row.pk])}"[^>]*> {label} </a>', page)
        assert label in admin_client.get(reverse(EDIT_SET, args=[row.pk])).context["page_title"]


def listing(client) -> str:
    return client.get(reverse(SETS)).content.decode()


def test_a_posted_form_is_refused(admin_client, manage) -> None:
    [item] = manage({"id": "a"})
    before = SettingsSet.objects.values().get()
    data = form_data(name="Other", host="evil.example.com", loaded_revision=str(item.revision))
    response = admin_client.post(reverse(EDIT_SET, args=[item.pk]), data, follow=True)
    assert SettingsSet.objects.values().get() == before
    assert "conf/email.json" in str(next(iter(response.context["messages"])))


def test_a_form_posted_while_a_file_is_imported_is_refused(
    admin_client, make_set, configure
) -> None:
    item = make_set(name="Office")
    configure(SETS_FILE="email.json")

    def after_waiting(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if sql.startswith("UPDATE") and "lock_counter" in sql:
            rows = SettingsSet.objects.filter(pk=item.pk)
            rows.update(managed_by="email.json", revision=item.revision + 1)
        return result

    data = form_data(name="Other", loaded_revision=str(item.revision + 1))
    with connection.execute_wrapper(after_waiting):
        admin_client.post(reverse(EDIT_SET, args=[item.pk]), data)
    assert names() == ["Office"]


def test_deleting_is_refused(admin_client, manage) -> None:
    [item] = manage({"id": "a"})
    url = reverse(f"{NAMES}:delete", args=[item.pk])
    response = admin_client.post(url, follow=True)
    assert "conf/email.json" in str(next(iter(response.context["messages"])))
    assert SettingsSet.objects.count() == 1


def test_a_copy_is_not_managed(admin_client, manage) -> None:
    [item] = manage({"id": "a"})
    url = reverse(f"{NAMES}:copy", args=[item.pk])
    form = admin_client.get(url).context["form"]
    assert not form.fields["name"].disabled
    data = form_data(name="Copy", authentication="none", password=None, username=None)
    assert admin_client.post(url, data).status_code == 302
    copied = SettingsSet.objects.get(name="Copy")
    assert (copied.managed_by, copied.slug) == ("", "copy")


def test_the_order_among_managed_sets_is_the_files(admin_client, manage, make_set) -> None:
    first, second = manage({"id": "a"}, {"id": "b"})
    own = make_set(name="Own", sort_order=5)

    def move(item: SettingsSet, position: int) -> int:
        url = reverse(f"{NAMES}:reorder", args=[item.pk])
        return admin_client.post(f"{url}?position={position}").status_code

    assert move(second, 0) == 409
    assert move(first, 2) == 409
    assert names() == ["Set 1", "Set 2", "Own"]
    assert move(own, 1) == 200
    assert names() == ["Set 1", "Own", "Set 2"]
    admin_client.post(reverse(PUT_FIRST, args=[second.pk]))
    assert names() == ["Set 1", "Own", "Set 2"]
    admin_client.post(reverse(PUT_FIRST, args=[own.pk]))
    assert names() == ["Own", "Set 1", "Set 2"]
    admin_client.post(reverse(PUT_FIRST, args=[first.pk]))
    assert names() == ["Set 1", "Own", "Set 2"]


def test_no_button_moves_a_managed_set_first(admin_client, manage) -> None:
    redirect = {"redirect": True, "report_emails": ["qa@example.com"]}
    _first, second = manage({"id": "a", "categories": ["form"]}, {"id": "b", **redirect})
    page = admin_client.get(reverse(SETS)).content.decode()
    assert reverse(PUT_FIRST, args=[second.pk]) not in page
    manage({"id": "a", "categories": ["form"]})
    page = admin_client.get(reverse(SETS)).content.decode()
    assert reverse(PUT_FIRST, args=[second.pk]) in page


def events(response: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


def test_a_test_uses_what_the_file_says(admin_client, manage, server) -> None:
    [item] = manage({"id": "a"})
    url = reverse(f"{NAMES}:test_typed", args=[item.pk])
    data = form_data(host="evil.example.com", test="email", test_address="ada@example.com")
    found = events(admin_client.post(url, data))
    assert found
    assert [message.recipients for message in server.received] == [["ada@example.com"]]


def test_making_a_version_live_again_says_that_the_file_decides(admin_client, manage) -> None:
    manage({"id": "a"}, reload=True)
    [item] = manage({"id": "a", "timeout": 5}, reload=True)
    url = reverse(MAKE_LIVE, args=[1])
    response = admin_client.get(url)
    assert response.context["managed"] == {"conf/email.json": ["Set 1"]}
    assert "data-managed" in response.content.decode()
    token = response.context["plan"].token
    assert admin_client.post(url, {"token": token}).status_code == 302
    assert live.live_version().number == 3
    item.refresh_from_db()
    assert (item.timeout, item.managed_by) == (10, "conf/email.json")
    assert admin_client.get(reverse(MAKE_LIVE, args=[3])).context["managed"] == {}


def test_without_the_setting_nothing_is_locked(admin_client, manage, configure) -> None:
    [item] = manage({"id": "a"})
    configure(SETS_FILE=None)
    page = admin_client.get(reverse(EDIT_SET, args=[item.pk])).content.decode()
    assert "data-managed" not in page
    assert "action-save" in page


def test_the_reload_page_does_not_send_people_to_a_locked_form(
    admin_client, manage, make_set, monkeypatch
) -> None:
    monkeypatch.setenv("SMTP_OFFICE", "x")
    login = {"authentication": "password", "username": "me", "password": {"env": "SMTP_OFFICE"}}
    manage({"id": "a", "name": "From the file", **login})
    monkeypatch.delenv("SMTP_OFFICE")
    page = admin_client.get(reverse("wagtail_smtp_reload:index")).content.decode()
    assert "SMTP_OFFICE is missing" in page
    assert "data-edit-set" not in page
