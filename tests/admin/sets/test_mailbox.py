"""The mailbox for bounces in a set's form."""

import pytest
from django.urls import reverse

from tests.admin.conftest import form_data
from wagtail_smtp.models import SettingsSet

ADD = "wagtailsnippets_wagtail_smtp_settingsset:add"
EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"
MAILBOX = {
    "bounce_address": "bounces@example.com",
    "bounce_separator": "+",
    "mailbox_host": "imap.example.com",
    "mailbox_port": "993",
    "mailbox_encryption": "ssl",
    "mailbox_folder": "INBOX",
}


def _errors(response):
    return set(response.context["form"].errors)


def test_a_mailbox_is_saved_and_empty_fields_have_defaults(admin_client):
    empty = {name: "" for name in MAILBOX if name.startswith("mailbox_") and name != "mailbox_host"}
    admin_client.post(reverse(ADD), form_data() | MAILBOX | empty)
    item = SettingsSet.objects.get()
    assert (item.mailbox_host, item.mailbox_port) == ("imap.example.com", 993)
    assert (item.mailbox_encryption, item.mailbox_folder) == ("ssl", "INBOX")


@pytest.mark.parametrize(
    ("field", "value"),
    [("mailbox_host", "imap example"), ("mailbox_port", "0"), ("bounce_separator", "")],
)
def test_errors_are_shown_at_the_field(admin_client, field, value):
    response = admin_client.post(reverse(ADD), form_data() | MAILBOX | {field: value})
    assert _errors(response) == {field}
    assert not SettingsSet.objects.exists()


def test_another_mailbox_server_needs_the_password_again(admin_client):
    admin_client.post(reverse(ADD), form_data() | MAILBOX)
    item = SettingsSet.objects.get()
    url = reverse(EDIT, args=[item.pk])
    changed = {"mailbox_host": "evil.example.net", "password": "", "loaded_revision": item.revision}
    response = admin_client.post(url, form_data() | MAILBOX | changed)
    assert _errors(response) == {"password"}
    folder = {"mailbox_folder": "Bounces", "password": "", "loaded_revision": item.revision}
    admin_client.post(url, form_data() | MAILBOX | folder)
    assert SettingsSet.objects.get().mailbox_folder == "Bounces"


def test_a_set_without_a_login_has_no_mailbox(admin_client):
    hidden = {"authentication": "none", "mailbox_port": "nothing"}
    admin_client.post(reverse(ADD), form_data() | MAILBOX | hidden)
    item = SettingsSet.objects.get()
    assert (item.mailbox_host, item.mailbox_port) == ("", 993)
