"""A user's tests: not too many, and one at a time."""

import json
import time

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.connection_check.test_views import CONNECTION, lines
from tests.support import down_cache
from tests.support.servers.hostile import HostileServer
from wagtail_smtp.admin.connection_check import views
from wagtail_smtp.runtime import once


@pytest.fixture
def ask(make_set):
    """Begin a test of a stored set: ``ask(client)``; the response may still be unread."""
    with HostileServer() as server:
        item = make_set(server)

        def begin(client):
            return client.post(reverse(CONNECTION, args=[item.pk]))

        begin.server = server
        yield begin


@pytest.fixture
def _clock_stands(monkeypatch):
    """No minute ends during the test."""
    now = time.time() // 3600 * 3600 + 10
    monkeypatch.setattr(views.time, "time", lambda: now)


@pytest.mark.threat(10)
@pytest.mark.usefixtures("_clock_stands")
@pytest.mark.parametrize(
    ("at_most", "wait", "words"),
    [
        (((60, 2),), 50, "50 seconds"),
        (((3600, 2),), 3590, "60 minutes"),
    ],
)
def test_too_many(admin_client, make_user, ask, monkeypatch, at_most, wait, words):
    monkeypatch.setattr(views, "LIMITS", at_most)
    for _again in range(2):
        assert lines(ask(admin_client))[-1]["ok"]
    connections = ask.server.connections
    response = ask(admin_client)
    assert response.status_code == 429
    assert response["Retry-After"] == str(wait)
    [line] = lines(response)
    assert line["text"] == f"You have run 2 tests in a short time. Try again in {words}."
    assert ask.server.connections == connections
    # It is not tested, so nothing says that it was; and others may go on.
    assert ModelLogEntry.objects.count() == 2
    other = Client()
    other.force_login(make_user("change_settingsset"))
    assert lines(ask(other))[-1]["ok"]


def test_the_limits_are_those_that_are_documented():
    assert views.LIMITS == ((60, 10), (3600, 60))
    assert views.EMAIL_LIMITS == ((60, 5),)


def test_one_at_a_time(admin_client, ask):
    first = ask(admin_client)
    second = ask(admin_client)
    assert second.status_code == 429
    assert "already running" in lines(second)[0]["text"]
    assert lines(first)[-1]["ok"]
    assert lines(ask(admin_client))[-1]["ok"]


def test_the_next_one_can_begin_when_the_result_is_there(admin_client, ask):
    """Even if the response isn't closed yet: the user may click again at once."""
    first = iter(ask(admin_client).streaming_content)
    while json.loads(next(first))["kind"] != "end":
        pass
    assert lines(ask(admin_client))[-1]["ok"]
    assert list(first) == []


@pytest.mark.parametrize("read", [0, 1])
def test_a_test_that_is_given_up_ends(admin_client, ask, read, monkeypatch):
    response = ask(admin_client)
    stages = iter(response.streaming_content)
    for _each in range(read):
        next(stages)
    # The end of a request would close the connection with the test's transaction.
    monkeypatch.setattr(connection, "close_if_unusable_or_obsolete", lambda: None)
    response.close()
    again = ask(admin_client)
    assert again.status_code == 200
    assert lines(again)[-1]["ok"]


def test_a_form_with_errors_does_not_count(admin_client, ask, monkeypatch):
    monkeypatch.setattr(views, "LIMITS", ((3600, 1),))
    url = reverse("wagtailsnippets_wagtail_smtp_settingsset:test_new")
    for _again in range(3):
        assert admin_client.post(url, {}).status_code == 422
    assert lines(ask(admin_client))[-1]["ok"]


def test_a_cache_that_is_down_stops_nobody(admin_client, ask, settings):
    settings.CACHES = {"default": down_cache.SETTING}
    assert lines(ask(admin_client))[-1]["ok"]


def test_a_cache_that_keeps_nothing(admin_client, ask, monkeypatch):
    from django.core.cache.backends.dummy import DummyCache

    monkeypatch.setattr(once, "cache", DummyCache("", {}))
    for _again in range(2):
        assert lines(ask(admin_client))[-1]["ok"]
