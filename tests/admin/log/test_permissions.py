"""What log pages offer to which role; test_roles.py tests who may open which page."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from tests.support.log_entries import make_entry, make_message

VIEW, CONTENT = "view_logentry", "view_message_content"
RESEND, EXPORT = "resend_message", "export_log"


@pytest.mark.threat(5)
def test_a_page_offers_only_what_its_reader_may(client, make_user):
    entry = make_entry(message=make_message(files=[("canary.txt", "x", "text/plain")]))
    offers = {
        "resend": reverse("wagtail_smtp_log:resend", args=[entry.pk]),
        "content": reverse("wagtail_smtp_log:frame", args=[entry.pk]),
        "export": reverse("wagtail_smtp_log:export"),
        "bulk": "data-bulk-action-checkbox",
    }

    def offered(*role):
        client.force_login(make_user(VIEW, *role, name="+".join(role) or "viewer"))
        paths = [
            reverse("wagtail_smtp_log:index"),
            reverse("wagtail_smtp_log:entry", args=[entry.pk]),
        ]
        text = "".join(client.get(path).content.decode() for path in paths)
        assert ("canary.txt" in text) is (CONTENT in role)
        return {name for name, mark in offers.items() if mark in text}

    assert offered() == set()
    assert offered(CONTENT) == {"content"}
    assert offered(RESEND) == {"resend", "bulk"}
    assert offered(EXPORT) == {"export"}


@pytest.mark.parametrize("permission", [CONTENT, RESEND, EXPORT])
def test_the_site_history_names_entries_by_number(client, admin_client, make_user, permission):
    """It shows the actions to everyone with any permission for entries, not only to readers."""
    message = make_message(subject="Canary", files=[("a.txt", "x", "text/plain")])
    entry = make_entry(subject="Canary", message=message)
    for name in ("frame", "source", "download"):
        assert (
            admin_client.get(reverse(f"wagtail_smtp_log:{name}", args=[entry.pk])).status_code
            == 200
        )
    admin_client.post(reverse("wagtail_smtp_log:resend", args=[entry.pk]))
    client.force_login(make_user(permission))
    page = client.get(reverse("wagtailadmin_reports:site_history")).content.decode()
    assert page.count(f"Log entry {entry.pk}") >= 4
    assert "Canary" not in page
    assert "real@example.org" not in page


def test_the_menu_shows_the_log_to_those_who_may_see_it(client, make_user):
    path = reverse("wagtail_smtp_log:index")
    home = reverse("wagtailadmin_home")
    client.force_login(make_user(name="editor"))
    assert path not in client.get(home).content.decode()
    client.force_login(make_user(VIEW, name="viewer"))
    assert path in client.get(home).content.decode()


def test_the_group_editor_offers_the_permissions(admin_client):
    page = admin_client.get(reverse("wagtailusers_groups:add")).content.decode()
    permissions = Permission.objects.filter(content_type__app_label="wagtail_smtp")
    shown = [each for each in permissions if f'value="{each.pk}"' in page]
    assert len(shown) >= 12
    for each in shown:
        label = f"{each.content_type.name}: {each.name}"
        assert re.search("email|SMTP", label), label
    assert "Can redirect email (as powerful as superuser)" in page
