"""Tokens of OAuth 2 in several processes and in transactions, on each database."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.processes.programs.token_console import TokenConsole
from tests.support.servers.hostile import HostileServer
from tests.support.servers.identity_provider import IdentityProvider
from tests.support.servers.smtp_server import CA_PEM

pytestmark = pytest.mark.same_on_all_versions


@pytest.fixture
def provider():
    with IdentityProvider(delay=0.7) as running:
        yield running


@pytest.fixture
def server(provider):
    with HostileServer(mechanisms=("XOAUTH2",), takes_token=provider.takes) as running:
        yield running


def prepare(console, provider, server):
    refresh = secrets.token_urlsafe(16)
    provider.refresh.add(refresh)
    values = {
        "host": "127.0.0.1",
        "port": server.port,
        "ca_certificates": CA_PEM,
        "username": server.username,
        "oauth": provider.oauth("consent"),
    }
    console("migrate")
    console("make_live", values=values, secret=provider.client_secret, refresh=refresh)


def test_processes_renew_once(database, provider, server):
    with TokenConsole(database) as one, TokenConsole(database) as two:
        prepare(one, provider, server)
        two("migrate")  # warm
        with ThreadPoolExecutor() as pool:
            sent = list(pool.map(lambda each: each("send", subject="Hi"), (one, two)))
    assert sent == ["", ""]
    assert [form["grant_type"] for form in provider.asked] == ["refresh_token"]
    assert len({token for _user, token in server.tokens}) == 1
    assert len(server.received) == 2


def test_threads_renew_once(database, provider, server):
    with TokenConsole(database) as console:
        prepare(console, provider, server)
        assert len(set(console("tokens_of_threads", count=6))) == 1
    assert [form["grant_type"] for form in provider.asked] == ["refresh_token"]


def test_a_rollback_loses_no_token_that_was_renewed_inside(database, provider, server):
    with TokenConsole(database) as console:
        prepare(console, provider, server)
        assert console("send", subject="one", roll_back=True) == ""
        assert console("send", subject="two") == ""
        console("end_token")
        assert console("send", subject="three") == ""
    assert [form["grant_type"] for form in provider.asked] == ["refresh_token"] * 2
    assert len(server.received) == 3
