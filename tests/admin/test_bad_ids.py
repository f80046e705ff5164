"""No page of the plugin fails on an invalid id in its URL."""

import re

import pytest
from django.urls import get_resolver

from wagtail_smtp.models import SettingsSet

#: No number, a number no database has, an escaped byte, and one that isn't there.
BAD = ["x", "9" * 30, "-1", "_00", "é", "12345"]
PREFIXES = ("email/", "snippets/wagtail_smtp/")


def _paths(resolver, before=""):
    for pattern in resolver.url_patterns:
        here = before + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from _paths(pattern, here)
        elif "<" in here and any(prefix in here for prefix in PREFIXES):
            yield here


def _urls(bad):
    """Return every URL of the plugin that has arguments, with ``bad`` in their place."""
    found = set()
    for path in _paths(get_resolver()):
        path = re.sub(r"\(\?P<\w+>.*?\)|<\w+:?\w+>", bad, path)
        found.add("/" + re.sub(r"[\^$]|\\Z", "", path).replace("//", "/").lstrip("/"))
    return sorted(found)


@pytest.mark.parametrize("bad", BAD)
def test_no_page_fails(admin_client, db, bad):
    urls = _urls(bad)
    assert len(urls) > 15
    admin_client.raise_request_exception = False
    wrong = []
    for url in urls:
        for method in (admin_client.get, admin_client.post):
            status = method(url).status_code
            if status >= 500:
                wrong.append((method.__name__, url, status))
    assert not wrong


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    "path",
    [
        "/admin/email/notify-user/chosen-multiple/?id={}",
        "/admin/email/notify-user/chosen-multiple/?id={}&id=1",
        "/admin/email/notify-user/?p={}",
        "/admin/email/versions/?p={}&ordering={}",
        "/admin/snippets/wagtail_smtp/settingsset/?p={}&ordering={}",
        "/admin/bulk/wagtail_smtp/settingsset/delete/?id={}",
        "/admin/bulk/wagtail_smtp/logentry/resend/?id={}",
        "/admin/email/delivery/?tested={}",
        "/admin/email/consent/back/?state={}&code={}",
    ],
)
def test_no_page_fails_on_its_query(admin_client, db, path, bad):
    admin_client.raise_request_exception = False
    for method in (admin_client.get, admin_client.post):
        assert method(path.format(bad, bad)).status_code < 500


def test_those_that_are_users_are_still_chosen(admin_client):
    url = f"/admin/email/notify-user/chosen-multiple/?id=x&id={admin_client.user.pk}"
    [chosen] = admin_client.get(url).json()["result"]
    assert chosen["id"] == str(admin_client.user.pk)


def test_a_notify_user_that_is_none(admin_client, make_set):
    from tests.admin.conftest import form_data

    item = make_set(name="Office", host="smtp.example.com", ca_certificates="")
    for bad in BAD:
        data = form_data(password="", loaded_revision=bad, notify_user=bad)
        url = f"/admin/snippets/wagtail_smtp/settingsset/edit/{item.pk}/"
        assert admin_client.post(url, data).status_code == 200
    assert SettingsSet.objects.get().notify_user_id is None
