"""Classify an identity provider's errors: why it gave no token."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.exceptions import DestinationRefused, OAuthUnavailable, TokenRefused

#: Maximum characters of an identity provider's response to keep.
_MAX_RESPONSE = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: Text that may be a token or a secret.
_LONG = re.compile(r"[A-Za-z0-9+/_.~=-]{40,}")


class IdentityProviderError(Exception):
    """An error response of an identity provider (RFC 6749 5.2)."""

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.description = description


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


def reason(error: str, description: str = "") -> str:
    """Return one of :data:`wagtail_smtp.config.oauth.REASONS`."""
    for number in re.findall(r"AADSTS(\d+)", description):
        if number in _AADSTS:
            return _AADSTS[number]
    if error == "invalid_grant" and re.search("invalid (email|user)", description, re.IGNORECASE):
        return "mailbox-unknown"
    return _CODES.get(error, "refused")


@contextmanager
@sensitive_variables()
def refusal_reason(name: str, *private: str) -> Iterator[None]:
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
    except Exception as error:
        # The four libraries have no common base class for errors.
        refused = _refusal(name, error, private)
    raise refused.with_traceback(None) from None


def _refusal(name: str, error: Exception, private: tuple[str, ...]) -> TokenRefused:
    import requests

    chain = (error, error.__cause__)
    if any(isinstance(each, requests.RequestException) for each in chain):
        kind = type(error.__cause__ or error).__name__
        return TokenRefused(
            f"{name}: the identity provider can't be reached ({kind}).", reason="unreachable"
        )
    code, description = _said(error)
    said = _scrubbed(f"{code}: {description}" if description else code, private)
    return TokenRefused(
        f"{name}: the identity provider gave no access token: {said}",
        reason=reason(code, description),
        reply=said,
    )


def _said(error: Exception) -> tuple[str, str]:
    """The error code and description, wherever the library stores them."""
    response: Any = next((each for each in error.args if isinstance(each, Mapping)), {})
    code = str(getattr(error, "error", "") or response.get("error", ""))
    description = str(getattr(error, "description", "") or response.get("error_description", ""))
    if code:
        return code, description
    if isinstance(error, ValueError) and "tenant" in str(error):
        return "invalid_client", "this tenant does not exist"
    return type(error).__name__, ""


def _scrubbed(text: str, private: tuple[str, ...]) -> str:
    for secret in sorted(filter(None, private), key=len, reverse=True):
        text = text.replace(secret, "…")
    return _LONG.sub("…", _CONTROL.sub(" ", text))[:_MAX_RESPONSE]
