"""Every admin page of the plugin in a process whose environment has an invalid name.

A variable that is set but empty is an easy mistake, and no one knows then what is held.
"""

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from tests.admin.connection_check.test_views import EMAIL, TYPED, lines, stored_data
from tests.admin.test_roles import CALLS, TABLE, Site, site, url_of
from wagtail_smtp.live import lookup

__all__ = ["site"]


@pytest.fixture
def posted(site: Site, monkeypatch: pytest.MonkeyPatch):
    """What is posted to each page, as it was when the process had a valid name."""
    data = {name: page.data(site) for name, page in TABLE.items()}
    monkeypatch.setenv("WAGTAIL_SMTP_ENVIRONMENT", "")
    lookup.forget()
    return data


def test_no_page_fails(site: Site, posted) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    failed = []
    for name, method in CALLS:
        with transaction.atomic():
            data = posted[name] if method == "post" else {}
            response = getattr(client, method)(url_of(name, site), data)
            content = b"".join(response) if response.streaming else response.content
            transaction.set_rollback(True)
        if response.status_code >= 500 or b"Traceback" in content:
            failed.append((name, method, response.status_code))
    assert failed == []


@pytest.mark.parametrize(
    "name",
    [
        "wagtail_smtp_delivery:index",
        "wagtail_smtp_log:index",
        "wagtail_smtp_reload:index",
        "wagtailsnippets_wagtail_smtp_settingsset:list",
    ],
)
def test_pages_say_what_is_wrong(admin_client, site: Site, posted, name: str) -> None:
    page = admin_client.get(url_of(name, site)).content.decode()
    assert "WAGTAIL_SMTP_ENVIRONMENT must be a name" in page


@pytest.mark.parametrize("url", [EMAIL, TYPED])
def test_no_test_email_is_sent(admin_client, site: Site, posted, url: str) -> None:
    values = {"authentication": "none", "test": "email", "test_address": "real@example.org"}
    data = stored_data(site.settings_set, **values)
    response = admin_client.post(reverse(url, args=[site.settings_set.pk]), data)
    [line] = lines(response)
    assert (response.status_code, line["kind"]) == (409, "problem")
    assert "WAGTAIL_SMTP_ENVIRONMENT must be a name" in line["text"]
