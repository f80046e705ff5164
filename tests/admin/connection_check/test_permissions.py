"""Every URL of the tests, and every role: who gets in, and who doesn't."""

import itertools

import pytest
from django.test import Client
from django.urls import reverse
from wagtail.models import ModelLogEntry

from tests.admin.connection_check.test_views import SETS, lines, stored_data, typed
from tests.support.servers.hostile import HostileServer
from wagtail_smtp.admin.sets.viewset import SettingsSetViewSet

ADD, CHANGE = "add_settingsset", "change_settingsset"
VIEW, SEND = "view_settingsset", "send_test_email"
ALL = (ADD, CHANGE, VIEW, SEND)

#: Whether somebody with these permissions may, by URL and what is asked for.
ALLOWED = {
    ("test_new", "connection"): lambda has: ADD in has,
    ("test_new", "email"): lambda has: {ADD, SEND} <= has,
    ("test_typed", "connection"): lambda has: CHANGE in has,
    ("test_typed", "email"): lambda has: {CHANGE, SEND} <= has,
    ("test_connection", "connection"): lambda has: CHANGE in has or {VIEW, SEND} <= has,
    ("send_test_email", "email"): lambda has: SEND in has and has & {VIEW, CHANGE},
}
ROLES = [
    *itertools.chain.from_iterable(itertools.combinations(ALL, size) for size in range(5)),
    ("reload_application", "redirect_mail", "view_logentry", "delete_settingsset"),
]


def call(client, server, item, name, kind):
    data = {"test": kind, "test_address": "me@example.org"}
    if name == "test_new":
        data = typed(server, name="Fresh") | data
    if name == "test_typed":
        data = stored_data(item) | data
    return client.post(url_of(name, item), data)


def url_of(name, item):
    return reverse(f"{SETS}:{name}", args=[] if name == "test_new" else [item.pk])


def test_every_url_is_in_the_table():
    names = {pattern.name for pattern in SettingsSetViewSet().get_urlpatterns()}
    assert {name for name in names if "test" in name} == {name for name, _kind in ALLOWED}


@pytest.mark.parametrize(("name", "kind"), ALLOWED)
def test_every_role(client, make_user, make_set, name, kind):
    for number, role in enumerate(ROLES):
        client.force_login(make_user(*role, name=f"someone{number}"))
        with HostileServer() as server:
            item = make_set(server, name=f"Set {number}")
            response = call(client, server, item, name, kind)
            if ALLOWED[name, kind](set(role)):
                assert lines(response)[-1]["ok"], role
            else:
                assert response.status_code == 302, role
                assert server.connections == 0, role
        entries = ModelLogEntry.objects.filter(user__username=f"someone{number}")
        assert bool(entries) == bool(ALLOWED[name, kind](set(role))), role


@pytest.mark.parametrize("name", ["test_connection", "send_test_email"])
def test_the_pages_of_stored_sets(client, make_user, make_set, name):
    item = make_set()
    for number, role in enumerate(ROLES):
        client.force_login(make_user(*role, name=f"someone{number}"))
        kind = "email" if name == "send_test_email" else "connection"
        expected = 200 if ALLOWED[name, kind](set(role)) else 302
        assert client.get(url_of(name, item)).status_code == expected, role


@pytest.mark.parametrize(("name", "kind"), ALLOWED)
def test_anonymous_people_and_forged_posts(client, admin_client, make_set, name, kind):
    with HostileServer() as server:
        item = make_set(server)
        response = call(Client(), server, item, name, kind)
        assert response.status_code == 302
        assert response.url.startswith(reverse("wagtailadmin_login"))
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(admin_client.user)
        assert call(strict, server, item, name, kind).status_code == 403
        assert server.connections == 0


@pytest.mark.parametrize("name", ["test_new", "test_typed"])
def test_looking_tests_nothing(admin_client, make_set, name):
    assert admin_client.get(url_of(name, make_set())).status_code == 405


def test_the_buttons_are_for_those_who_may(client, make_user, make_set):
    item = make_set()
    client.force_login(make_user(VIEW, CHANGE))
    form = client.get(reverse(f"{SETS}:edit", args=[item.pk])).content.decode()
    assert "wsmtp-test#testOnly" in form
    assert "askForAddress" not in form
    listing = client.get(reverse(f"{SETS}:list")).content.decode()
    assert url_of("test_connection", item) in listing
    assert url_of("send_test_email", item) not in listing
