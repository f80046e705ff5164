"""Get tokens from identity providers, with the libraries of the extra ``oauth``.

They are imported when needed, so that the plugin works without them.
"""

import json
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config import oauth
from wagtail_smtp.config.oauth import OAuth, is_loopback
from wagtail_smtp.exceptions import DestinationRefused, TokenRefused
from wagtail_smtp.transports.http import Adapter, guarded
from wagtail_smtp.transports.oauth import errors
from wagtail_smtp.transports.tls import ssl_context, trust_as_given

#: Maximum seconds for getting one token, with all the requests needed.
LONGEST = 10.0
#: Assumed lifetime of a token in seconds, if the provider doesn't say (RFC 6749 5.1).
_DEFAULT_LIFETIME = 3600


@dataclass(frozen=True, slots=True)
class Client:
    """A client of an identity provider. ``name`` is the set's name, ``user`` its mailbox.

    ``secret`` is the client secret, or the JSON of a service account's key.
    """

    name: str
    settings: OAuth
    user: str
    secret: str = field(default="", repr=False)
    ca_certificates: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token; ``obtained_at`` and ``expires_at`` are seconds since the epoch."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    obtained_at: float = 0.0
    expires_at: float = 0.0


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request for consent: the URL for the browser, and the data to keep until it returns.

    ``kept`` can be stored as JSON and is secret.
    """

    url: str
    state: str
    kept: Mapping[str, Any] = field(repr=False)


@sensitive_variables()
def obtain(client: Client, refresh: str = "") -> Token:
    """Get a new token.

    Args:
        refresh: the refresh token, for clients that need consent.

    Raises:
        TokenRefused: with the reason.
    """
    if client.settings.needs_consent and not refresh:
        raise TokenRefused(f"{client.name}: no one has given consent yet.", reason="consent-needed")
    grants = {"microsoft": _microsoft, "google": _google, "other": _other}
    with errors.refusal_reason(client.name, client.secret, refresh):
        return _token(grants[client.settings.provider](client, refresh), refresh)


@sensitive_variables()
def ask(client: Client, redirect_uri: str, state: str) -> AuthorizationRequest:
    """Start a consent with PKCE (RFC 7636).

    Raises:
        TokenRefused: as :func:`obtain`.
    """
    with errors.refusal_reason(client.name, client.secret):
        if client.settings.provider == "microsoft":
            with _microsoft_app(client) as app, warnings.catch_warnings():
                # msal recommends form_post, but then the browser would return without its session:
                # it doesn't send SameSite=Lax cookies (Django's default) with a POST.
                warnings.filterwarnings("ignore", message="response_mode=")
                flow = app.initiate_auth_code_flow(
                    [client.settings.microsoft.consent_scope],
                    redirect_uri=redirect_uri,
                    state=state,
                    login_hint=client.user,
                )
            return AuthorizationRequest(flow["auth_uri"], state, flow)
        return _ask_other(client, redirect_uri, state)


@sensitive_variables()
def redeem(client: Client, kept: Mapping[str, Any], answer: Mapping[str, str]) -> Token:
    """Exchange the response to a consent for a token.

    Args:
        kept: from :class:`AuthorizationRequest`.
        answer: the query that the browser returned with; the caller has checked its state.

    Raises:
        TokenRefused: as :func:`obtain`.
    """
    with errors.refusal_reason(client.name, client.secret, answer.get("code", "")):
        if client.settings.provider == "microsoft":
            with _microsoft_app(client) as app:
                found = app.acquire_token_by_auth_code_flow(dict(kept), dict(answer))
        else:
            with _session(client) as session:
                found = _authlib(client, session, kept["redirect_uri"]).fetch_token(
                    _token_url(client),
                    grant_type="authorization_code",
                    code=answer.get("code", ""),
                    code_verifier=kept["code_verifier"],
                )
        token = _token(found, "")
    if not token.refresh:
        raise TokenRefused(
            f"{client.name}: the identity provider gave no permanent consent (no refresh token). "
            "Add the scope for it, often offline_access.",
            reason="consent-needed",
        )
    return token


@sensitive_variables()
def _token(found: Mapping[str, Any], refresh: str) -> Token:
    if "error" in found or not found.get("access_token"):
        raise errors.IdentityProviderError(
            str(found.get("error") or "no access token"), str(found.get("error_description") or "")
        )
    now = time.time()
    try:
        lasts = float(found.get("expires_in") or _DEFAULT_LIFETIME)
    except (TypeError, ValueError):
        lasts = _DEFAULT_LIFETIME
    # A response may contain a new refresh token; otherwise the old one stays (RFC 6749 6).
    kept = str(found.get("refresh_token") or refresh)
    return Token(str(found["access_token"]), kept, now, now + lasts)


def _session(client: Client) -> Any:

    return Session(_token_url(client), client.ca_certificates)


def _token_url(client: Client) -> str:
    if client.settings.provider == "microsoft":
        return client.settings.microsoft.authority
    if client.settings.provider == "google":
        return oauth.GOOGLE_TOKEN_URL
    return client.settings.token_url


# Microsoft, with msal


@contextmanager
@sensitive_variables()
def _microsoft_app(client: Client) -> Iterator[Any]:
    import msal

    tenant = client.settings.tenant
    with _session(client) as session:
        # Our authorities are a fixed list, so there is no need to look them up.
        yield msal.ConfidentialClientApplication(
            client.settings.client_id,
            client_credential=client.secret,
            authority=f"{client.settings.microsoft.authority}/{tenant}",
            instance_discovery=False,
            http_client=session,
        )


@sensitive_variables()
def _microsoft(client: Client, refresh: str) -> Mapping[str, Any]:
    cloud = client.settings.microsoft
    with _microsoft_app(client) as app:
        if refresh:
            return app.acquire_token_by_refresh_token(refresh, [cloud.consent_scope])
        return app.acquire_token_for_client([cloud.client_scope])


# Google service accounts, with google-auth


@sensitive_variables()
def _google(client: Client, refresh: str) -> Mapping[str, Any]:
    if client.settings.flow != "service_account":
        return _other(client, refresh)
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    with _session(client) as session:
        credentials = service_account.Credentials.from_service_account_info(
            # Ignore the key file's URL.
            json.loads(client.secret) | {"token_uri": oauth.GOOGLE_TOKEN_URL},
            scopes=[oauth.GOOGLE_SCOPE],
            subject=client.user,
        )
        credentials.refresh(Request(session=session))
    lasts = (credentials.expiry - datetime.now(UTC).replace(tzinfo=None)).total_seconds()
    return {"access_token": credentials.token, "expires_in": lasts}


# Other providers, and consent at Google, with authlib


@sensitive_variables()
def _authlib(client: Client, session: Any, redirect_uri: str | None = None) -> Any:
    from authlib.integrations.requests_client.oauth2_session import OAuth2ClientAuth
    from authlib.oauth2.client import OAuth2Client

    class OnSession(OAuth2Client):  # type: ignore[misc]
        client_auth_class = OAuth2ClientAuth

    google = client.settings.provider == "google"
    return OnSession(
        session,
        client_id=client.settings.client_id,
        client_secret=client.secret,
        token_endpoint_auth_method="client_secret_basic" if client.secret else "none",
        scope=oauth.GOOGLE_SCOPE if google else client.settings.scope or None,
        redirect_uri=redirect_uri,
        code_challenge_method="S256",
    )


@sensitive_variables()
def _other(client: Client, refresh: str) -> Mapping[str, Any]:
    with _session(client) as session:
        oauth_client = _authlib(client, session)
        url = _token_url(client)
        if refresh:
            return oauth_client.refresh_token(url, refresh_token=refresh)
        return oauth_client.fetch_token(url, grant_type="client_credentials")


@sensitive_variables()
def _ask_other(client: Client, redirect_uri: str, state: str) -> AuthorizationRequest:
    verifier = secrets.token_urlsafe(48)
    more = {"login_hint": client.user}
    url = client.settings.authorize_url
    if client.settings.provider == "google":
        url = oauth.GOOGLE_AUTHORIZE_URL
        # Without these, a second consent returns no refresh token.
        more |= {"access_type": "offline", "prompt": "consent"}
    with _session(client) as session:
        where, _state = _authlib(client, session, redirect_uri).create_authorization_url(
            url, state=state, code_verifier=verifier, **more
        )
    return AuthorizationRequest(
        where, state, {"code_verifier": verifier, "redirect_uri": redirect_uri}
    )


class Session(requests.Session):
    """The session that the OAuth libraries use; close it afterwards.

    Args:
        url: the only host and port to connect to.
        ca_certificates: a private authority to trust in addition to the system's, in PEM format.
    """

    def __init__(self, url: str, ca_certificates: str = "") -> None:
        super().__init__()
        self._origin = _origin(url)
        context = ssl_context("")
        if ca_certificates:
            # It was entered for the mail server; the identity provider may be a public one.
            context.load_verify_locations(cadata=ca_certificates)
            trust_as_given(context)
        self._adapter = Adapter(context, LONGEST)
        self._adapter.until = time.monotonic() + LONGEST
        guarded(self, self._adapter)

    def get_adapter(self, url: str | bytes) -> Adapter:  # type: ignore[override]
        """Always use ours, even if a library mounts another."""
        return self._adapter

    def send(self, request: requests.PreparedRequest, **kwargs: object) -> requests.Response:
        """Send one request and read the response.

        Raises:
            DestinationRefused: another host, or unencrypted.
            requests.RequestException: no response in time.
        """
        scheme, host, _port = origin = _origin(request.url or "")
        if origin != self._origin or not (scheme == "https" or is_loopback(host)):
            raise DestinationRefused(f"OAuth 2 doesn't send requests to {scheme}://{host}.")
        if time.monotonic() >= self._adapter.until:
            raise requests.Timeout("The identity provider did not respond in time.")
        try:
            return super().send(request, **kwargs | {"allow_redirects": False})
        except requests.ConnectionError:
            refused = self._adapter.progress.error
            if isinstance(refused, DestinationRefused):
                raise refused from None
            raise


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    ports = {"https": 443, "http": 80}
    return parts.scheme, (parts.hostname or "").lower(), parts.port or ports.get(parts.scheme)
