"""Get tokens from identity providers with Authlib, which is imported when it is needed."""

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import requests
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.oauth import OAuth, is_loopback
from wagtail_smtp.exceptions import DestinationRefused, OAuthUnavailable, TokenRefused
from wagtail_smtp.transports.http import Adapter, guarded
from wagtail_smtp.transports.tls import ssl_context, trust_as_given

#: Maximum seconds for getting one token, with all the requests needed.
LONGEST = 10.0
#: Assumed lifetime of a token in seconds, if the provider doesn't say (RFC 6749 5.1).
_DEFAULT_LIFETIME = 3600
#: A longer lifetime counts as unknown.
_LONGEST_LIFETIME = 100 * 365 * 86400.0
#: How identity providers call the seconds until a consent ends: Google ("Using OAuth 2.0 to Access
#: Google APIs", and draft-ietf-oauth-refresh-token-expiration), Keycloak.
_CONSENT_LIFETIMES = ("refresh_token_expires_in", "refresh_expires_in")
#: By how many seconds the end of a consent may differ between two responses that mean the same.
_TOLERANCE = 3600.0
#: The grant type for a service account's assertion (RFC 7523 2.1).
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Client:
    """A client of an identity provider. ``name`` is the set's name, ``user`` its mailbox.

    ``reads_mailbox`` is whether the token is also for IMAP.

    ``secret`` is the client secret, or the JSON of a service account's key.
    """

    name: str
    settings: OAuth
    user: str
    secret: str = field(default="", repr=False)
    ca_certificates: str = ""
    reads_mailbox: bool = False

    @property
    def scopes(self) -> str:
        """The scopes to request, separated by spaces; may be empty."""
        return self.settings.scopes_with_mailbox if self.reads_mailbox else self.settings.scopes


@dataclass(frozen=True, slots=True)
class Token:
    """A token; times are seconds since the epoch.

    Attributes:
        consent_ends_at: when the consent ends, even if the token is renewed; 0: the identity
            provider doesn't say.
        consent_dated_at: since when it says so; 0: it doesn't.
    """

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    obtained_at: float = 0.0
    expires_at: float = 0.0
    consent_ends_at: float = 0.0
    consent_dated_at: float = 0.0


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request for consent: the URL for the browser, and the data to keep until it returns.

    ``pending`` can be stored as JSON and is secret.
    """

    url: str
    pending: Mapping[str, str] = field(repr=False)


@sensitive_variables()
def request_token(client: Client, refresh: str = "") -> Token:
    """Get a new token.

    Args:
        refresh: the refresh token, for clients that need consent.

    Raises:
        TokenRefused: with the reason.
    """
    if client.settings.needs_consent and not refresh:
        raise TokenRefused(f"{client.name}: no one has given consent yet.", reason="consent-needed")
    with _refusals(client.name, client.secret, refresh), _session(client) as session:
        if client.settings.flow == "service_account":
            return _token(_service_account_token(client, session))
        authlib = _authlib_client(client, session)
        url = client.settings.token_endpoint
        if refresh:
            return _token(authlib.refresh_token(url, refresh_token=refresh), refresh)
        return _token(authlib.fetch_token(url, grant_type="client_credentials"))


@sensitive_variables()
def start_consent(client: Client, redirect_uri: str, state: str) -> AuthorizationRequest:
    """Start a consent with PKCE (RFC 7636).

    Raises:
        TokenRefused: as :func:`request_token`.
    """
    verifier = secrets.token_urlsafe(48)
    parameters = {"login_hint": client.user}
    if client.settings.provider == "google":
        # Without these, a second consent returns no refresh token.
        parameters |= {"access_type": "offline", "prompt": "consent"}
    with _refusals(client.name, client.secret):
        url, _state = _authlib_client(client, None).create_authorization_url(
            client.settings.authorization_endpoint,
            redirect_uri=redirect_uri,
            state=state,
            code_verifier=verifier,
            **parameters,
        )
    return AuthorizationRequest(url, {"code_verifier": verifier, "redirect_uri": redirect_uri})


@sensitive_variables()
def finish_consent(client: Client, pending: Mapping[str, str], answer: Mapping[str, str]) -> Token:
    """Exchange the response to a consent for a token.

    Args:
        pending: from :class:`AuthorizationRequest`.
        answer: the query that the browser returned with; the caller has checked its state.

    Raises:
        TokenRefused: as :func:`request_token`.
    """
    code = answer.get("code", "")
    with _refusals(client.name, client.secret, code), _session(client) as session:
        token = _token(
            _authlib_client(client, session).fetch_token(
                client.settings.token_endpoint,
                grant_type="authorization_code",
                code=code,
                **pending,
            )
        )
    if not token.refresh:
        raise TokenRefused(
            f"{client.name}: the identity provider gave no permanent consent (no refresh token). "
            "Add the scope for it, often offline_access.",
            reason="consent-needed",
        )
    return token


@sensitive_variables()
def _authlib_client(client: Client, session: "Session | None") -> Any:
    from authlib.integrations.requests_client.oauth2_session import OAuth2ClientAuth
    from authlib.oauth2.client import OAuth2Client

    class OnSession(OAuth2Client):  # type: ignore[misc]
        client_auth_class = OAuth2ClientAuth

        def parse_response_token(self, response: requests.Response) -> Mapping[str, Any]:
            # Authlib's own refuses descriptions with line breaks, which Microsoft's have.
            self.token = _tokens_in(response)
            return self.token

    method = "client_secret_basic"
    if client.settings.provider == "microsoft":
        method = "client_secret_post"  # the only one in Microsoft's documentation
    return OnSession(
        session,
        client_id=client.settings.client_id,
        client_secret=client.secret,
        token_endpoint_auth_method=method if client.secret else "none",
        scope=client.scopes or None,
        code_challenge_method="S256",
    )


@sensitive_variables()
def _service_account_token(client: Client, session: "Session") -> Mapping[str, Any]:
    """Use the key of a Google service account to act for a mailbox (RFC 7523)."""
    from joserfc import jwt
    from joserfc.jwk import RSAKey

    key = json.loads(client.secret)
    url = client.settings.token_endpoint  # the key file's own URL is ignored
    now = int(time.time())
    claims = {
        "iss": key["client_email"],
        "sub": client.user,
        "scope": client.scopes,
        "aud": url,
        "iat": now,
        "exp": now + _DEFAULT_LIFETIME,
    }
    header = {"alg": "RS256", "typ": "JWT", "kid": key.get("private_key_id", "")}
    assertion = jwt.encode(header, claims, RSAKey.import_key(key["private_key"]))
    return _tokens_in(session.post(url, data={"grant_type": _JWT_BEARER, "assertion": assertion}))


@sensitive_variables()
def _tokens_in(response: requests.Response) -> dict[str, Any]:
    """Read a response of the token endpoint (RFC 6749 5).

    Raises:
        requests.RequestException: the server failed, or its response isn't JSON.
        _NoToken: it refused.
    """
    if response.status_code >= 500:
        response.raise_for_status()
    found = response.json()
    if not isinstance(found, dict):
        found = {}
    if "error" in found or not found.get("access_token"):
        raise _NoToken(
            str(found.get("error") or "no access token"), str(found.get("error_description") or "")
        )
    return found


@sensitive_variables()
def _token(found: Mapping[str, Any], refresh: str = "") -> Token:
    now = time.time()
    lifetime = _seconds(found.get("expires_in")) or _DEFAULT_LIFETIME
    # A response may contain a new refresh token; otherwise the old one stays (RFC 6749 6).
    refresh = str(found.get("refresh_token") or refresh)
    token = Token(str(found["access_token"]), refresh, now, now + lifetime)
    consent = next(filter(None, (_seconds(found.get(name)) for name in _CONSENT_LIFETIMES)), 0.0)
    if refresh and consent:
        token = replace(token, consent_ends_at=now + consent, consent_dated_at=now)
    return token


def _seconds(value: object) -> float:
    """A lifetime in a response; 0 if it is missing or can't be used."""
    try:
        seconds = float(str(value))
    except ValueError:
        return 0.0
    return seconds if 0 < seconds < _LONGEST_LIFETIME else 0.0


@sensitive_variables()
def with_consent_dates(token: Token, before: Token) -> Token:
    """Return the renewed ``token`` with what ``before`` tells about the end of the consent.

    A renewal may extend the consent. If it doesn't, the date is as old as when it was first told.
    """
    is_same = abs(token.consent_ends_at - before.consent_ends_at) < _TOLERANCE
    is_untold = not token.consent_ends_at and token.refresh == before.refresh
    if not before.consent_ends_at or not (is_same or is_untold):
        return token
    return replace(
        token,
        consent_ends_at=before.consent_ends_at,
        consent_dated_at=before.consent_dated_at,
    )


# Refusals

#: Maximum characters of an identity provider's response to keep.
_MAX_RESPONSE = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: Text that may be a token or a secret.
_LONG = re.compile(r"[A-Za-z0-9+/_.~=-]{40,}")

#: Microsoft's numbers (learn.microsoft.com/entra/identity-platform/reference-error-codes).
_AADSTS: Mapping[str, str] = {
    "7000222": "secret-expired",
    "7000215": "client-refused",
    "7000216": "client-refused",
    "700016": "client-refused",
    "90002": "client-refused",
    "900023": "client-refused",
    "65001": "consent-needed",
    "90094": "admin-consent-needed",
    "90095": "admin-consent-needed",
    "65004": "consent-denied",
}
#: By error code. Google lists its own in "OAuth 2.0 for Web Server Applications".
_CODES: Mapping[str, str] = {
    "invalid_client": "client-refused",
    "deleted_client": "client-refused",
    "invalid_grant": "consent-ended",
    "interaction_required": "consent-ended",
    "consent_required": "consent-needed",
    "access_denied": "consent-denied",
    "unauthorized_client": "not-delegated",
    "admin_policy_enforced": "admin-consent-needed",
    "temporarily_unavailable": "unreachable",
    "server_error": "unreachable",
}


class _NoToken(Exception):
    """A response without a token (RFC 6749 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


def classify_refusal(error: str, description: str = "") -> str:
    """Return one of :data:`wagtail_smtp.config.oauth.REASONS`.

    Args:
        error, description: ``error`` and ``error_description`` of the response (RFC 6749 5.2).
    """
    for number in re.findall(r"AADSTS(\d+)", description):
        if number in _AADSTS:
            return _AADSTS[number]
    if error == "invalid_grant" and re.search("invalid (email|user)", description, re.IGNORECASE):
        return "mailbox-unknown"
    return _CODES.get(error, "refused")


@contextmanager
@sensitive_variables()
def _refusals(name: str, *private: str) -> Iterator[None]:
    """Turn any exception into TokenRefused, without the stack frames, which contain secrets.

    Args:
        private: secrets to remove from the response, in case the provider echoes them.
    """
    refused: TokenRefused
    try:
        yield
        return
    except TokenRefused as error:
        refused = error
    except DestinationRefused as error:
        refused = TokenRefused(f"{name}: {error}", reason="not-allowed")
    except ImportError as error:
        refused = OAuthUnavailable(
            f"{name}: OAuth 2 needs {error.name}: pip install 'wagtail-smtp[oauth]'"
        )
    except requests.RequestException as error:
        refused = TokenRefused(
            f"{name}: the identity provider can't be reached ({type(error).__name__}).",
            reason="unreachable",
        )
    except Exception as error:  # Authlib's, or an invalid key
        code = str(getattr(error, "error", "") or type(error).__name__)
        description = str(getattr(error, "description", "") or "")
        reply = _scrubbed(f"{code}: {description}" if description else code, private)
        refused = TokenRefused(
            f"{name}: the identity provider gave no access token: {reply}",
            reason=classify_refusal(code, description),
            reply=reply,
        )
    raise refused.with_traceback(None) from None


def _scrubbed(text: str, private: tuple[str, ...]) -> str:
    for secret in sorted(filter(None, private), key=len, reverse=True):
        text = text.replace(secret, "…")
    return _LONG.sub("…", _CONTROL.sub(" ", text))[:_MAX_RESPONSE]


# The HTTP session


@sensitive_variables()
def _session(client: Client) -> "Session":
    return Session(client.settings.token_endpoint, client.ca_certificates)


class Session(requests.Session):
    """The session that Authlib uses; close it afterwards.

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
        """Always use ours, even if another is mounted."""
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
