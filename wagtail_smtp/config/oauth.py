"""The OAuth 2 options of a settings set, except secrets: values and validation.

:mod:`wagtail_smtp.transports.oauth` requests the tokens.
"""

import importlib.util
import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.values import Problem

Provider = Literal["microsoft", "google", "other"]
#: ``client``: the site logs in as itself (client credentials); ``consent``: a person gives consent
#: once in a browser; ``service_account``: a Google key with access to a mailbox.
Flow = Literal["client", "consent", "service_account"]

FLOWS: Mapping[str, tuple[Flow, ...]] = {
    "microsoft": ("client", "consent"),
    "google": ("service_account", "consent"),
    "other": ("client", "consent"),
}

#: Reasons why no token could be obtained: slugs of causes, without the prefix ``oauth-``.
REASONS = (
    "not-allowed",
    "unreachable",
    "client-refused",
    "secret-expired",
    "consent-needed",
    "consent-ended",
    "consent-denied",
    "admin-consent-needed",
    "not-delegated",
    "mailbox-unknown",
    "refused",
)


@dataclass(frozen=True, slots=True)
class Cloud:
    """The host and scopes of one of Microsoft's clouds."""

    authority: str
    client_scope: str
    consent_scope: str


CLOUDS: Mapping[str, Cloud] = {
    "global": Cloud(
        "https://login.microsoftonline.com",
        "https://outlook.office365.com/.default",
        "https://outlook.office.com/SMTP.Send offline_access",
    ),
    "us": Cloud(
        "https://login.microsoftonline.us",
        "https://outlook.office365.us/.default",
        "https://outlook.office365.us/SMTP.Send offline_access",
    ),
    "china": Cloud(
        "https://login.partner.microsoftonline.cn",
        "https://partner.outlook.cn/.default",
        "https://partner.outlook.cn/SMTP.Send offline_access",
    ),
}

#: Labels of the values in a set's ``oauth``, and of their choices.
LABELS: Mapping[str, Any] = {
    "provider": _("Identity provider"),
    "flow": _("Login method"),
    "cloud": _("Microsoft cloud"),
    "tenant": _("Directory (tenant) ID"),
    "client_id": _("Client ID"),
    "authorize_url": _("Authorization URL"),
    "token_url": _("Token URL"),
    "scope": _("Scope"),
    "secret_expires_on": _("Client secret expires on"),
}
CHOICES: Mapping[str, Mapping[str, Any]] = {
    "provider": {
        "microsoft": _("Microsoft 365"),
        "google": _("Google Workspace"),
        "other": _("Another identity provider"),
    },
    "flow": {
        "client": _("The site logs in as itself"),
        "service_account": _("A service account"),
        "consent": _("A person consents once"),
    },
    "cloud": {
        "global": _("Worldwide"),
        "us": _("US Government (GCC High, DoD)"),
        "china": _("China (21Vianet)"),
    },
}

GOOGLE_AUTHORIZE_URL = "https://accounts.google.com/o/oauth2/v2/auth"
GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105
GOOGLE_SCOPE = "https://mail.google.com/"

_TENANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")
_SHARED_TENANTS = ("common", "organizations", "consumers")
_WITHOUT_SPACES = re.compile(r"[\x21-\x7e]+\Z")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*\Z")


@dataclass(frozen=True, slots=True)
class OAuth:
    """The values in a set's ``oauth``; unused ones are empty."""

    provider: str = "microsoft"
    flow: str = "client"
    cloud: str = ""
    tenant: str = ""
    client_id: str = ""
    authorize_url: str = ""
    token_url: str = ""
    scope: str = ""
    secret_expires_on: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "OAuth":
        """Create from a set's ``oauth``, ignoring unknown names."""
        return cls(**{name: str(values[name]) for name in cls.__slots__ if name in values})

    def as_dict(self) -> dict[str, str]:
        """Return the values that this provider and flow use, for a set's ``oauth``."""
        used = {"provider", "flow", *self.used()}
        return {name: value for name, value in asdict(self).items() if name in used and value}

    def used(self) -> tuple[str, ...]:
        """The names of the values that this provider and flow use."""
        client = ("client_id", "secret_expires_on")
        if self.provider == "microsoft":
            return ("cloud", "tenant", *client)
        if self.provider == "google":
            return () if self.flow == "service_account" else client
        urls = ("token_url", "scope", *client)
        return urls if self.flow == "client" else ("authorize_url", *urls)

    @property
    def secret_expiry(self) -> date | None:
        """When the client secret expires; None if no one has entered it."""
        try:
            return date.fromisoformat(self.secret_expires_on)
        except ValueError:
            return None

    @property
    def needs_consent(self) -> bool:
        """Whether a person has to give consent in a browser."""
        return self.flow == "consent"

    @property
    def needs_secret(self) -> bool:
        """Whether it needs a client secret or a key."""
        return not (self.provider == "other" and self.flow == "consent")

    @property
    def token_endpoint(self) -> str:
        """The URL to request tokens from."""
        if self.provider == "microsoft":
            return f"{self._cloud.authority}/{self.tenant}/oauth2/v2.0/token"
        return GOOGLE_TOKEN_URL if self.provider == "google" else self.token_url

    @property
    def authorization_endpoint(self) -> str:
        """The URL where a person gives consent."""
        if self.provider == "microsoft":
            return f"{self._cloud.authority}/{self.tenant}/oauth2/v2.0/authorize"
        return GOOGLE_AUTHORIZE_URL if self.provider == "google" else self.authorize_url

    @property
    def scopes(self) -> str:
        """The scopes to request, separated by spaces; may be empty."""
        if self.provider == "microsoft":
            return self._cloud.consent_scope if self.needs_consent else self._cloud.client_scope
        return GOOGLE_SCOPE if self.provider == "google" else self.scope

    @property
    def scopes_with_mailbox(self) -> str:
        """The same if a mailbox is read too. Other providers' scopes are entered by a person."""
        # Google's covers both, and an application's permissions at Microsoft are in its own list.
        send, read = "/SMTP.Send", "/IMAP.AccessAsUser.All"
        given = self.scopes.split()
        added = [each.replace(send, read) for each in given if each.endswith(send)]
        return " ".join([*added, *given])

    @property
    def _cloud(self) -> Cloud:
        return CLOUDS[self.cloud or "global"]


def described(values: Mapping[str, str]) -> str:
    """Describe a set's ``oauth`` with the form's labels."""
    return ", ".join(
        f"{LABELS.get(name, name)}: {CHOICES.get(name, {}).get(value, value)}"
        for name, value in values.items()
    )


def problems(values: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the problems of a set's ``oauth``, each with its form field."""
    item = OAuth.of(values)
    if item.flow not in FLOWS.get(item.provider, ()):
        yield Problem(_("This identity provider doesn't support this login method."), "oauth_flow")
        return
    if not is_installed():
        yield Problem(
            _("OAuth 2 needs additional packages. Ask a developer to install wagtail-smtp[oauth]."),
            "authentication",
        )
    if item.provider == "microsoft":
        yield from _microsoft(item)
    if item.provider == "other":
        yield from _other(item)
    if item.flow != "service_account" and not _WITHOUT_SPACES.match(item.client_id):
        yield Problem(_("Enter the client ID from your identity provider."), "oauth_client_id")
    if item.secret_expires_on and item.secret_expiry is None:
        yield Problem(
            _("Enter a date as year, month and day, for example 2027-12-31."),
            "oauth_secret_expires_on",
        )


def is_installed() -> bool:
    """Whether the package that OAuth 2 needs is installed."""
    return importlib.util.find_spec("authlib") is not None


def _microsoft(item: OAuth) -> Iterator[Problem]:
    if (item.cloud or "global") not in CLOUDS:
        yield Problem(_("Choose a Microsoft cloud."), "oauth_cloud")
    if not _TENANT.match(item.tenant) or ".." in item.tenant:
        yield Problem(
            _("Enter the directory (tenant) ID or one of the directory's domains."), "oauth_tenant"
        )
    elif item.flow == "client" and item.tenant.lower() in _SHARED_TENANTS:
        yield Problem(
            _("Enter the ID of your own tenant: “%s” only works when a person consents.")
            % item.tenant,
            "oauth_tenant",
        )


def _other(item: OAuth) -> Iterator[Problem]:
    urls = {"oauth_token_url": item.token_url}
    if item.needs_consent:
        urls["oauth_authorize_url"] = item.authorize_url
    for field, url in urls.items():
        if not is_usable_url(url):
            yield Problem(
                _("Enter a complete URL that starts with https:// and has no “#” part."), field
            )
    if item.scope and not _SCOPE.match(item.scope):
        yield Problem(_("Separate scopes with single spaces."), "oauth_scope")


def is_usable_url(url: str) -> bool:
    """Whether secrets may be sent to the URL: it uses HTTPS or is on this machine."""
    if not _WITHOUT_SPACES.match(url) or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.username is not None or parts.fragment or "#" in url:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    )


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, without a DNS lookup."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


#: The only token addresses accepted in a Google key.
_GOOGLE_TOKEN_URLS = frozenset(
    {
        "https://oauth2.googleapis.com/token",
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v4/token",
    }
)
#: The parts of a Google key that are stored.
_KEPT = ("type", "project_id", "private_key_id", "private_key", "client_email", "client_id")


@sensitive_variables()
def service_account(text: str) -> str:
    """Return the parts of a service account key that are stored.

    Raises:
        ValueError: it is not such a key. The message is for people and never quotes the key.
    """
    try:
        key = json.loads(text)
        values = {name: str(key[name]) for name in _KEPT if name in key}
        load_pem_private_key(values["private_key"].encode(), password=None)
        is_whole = key["type"] == "service_account" and bool(values["client_email"])
        where, universe = key.get("token_uri"), key.get("universe_domain", "googleapis.com")
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm):
        is_whole, where, universe = False, None, ""
    if not is_whole:
        raise ValueError(
            _(
                "This is not a service account key. It must be the whole JSON file that you "
                "downloaded from Google."
            )
        ) from None
    if where not in _GOOGLE_TOKEN_URLS or universe != "googleapis.com":
        raise ValueError(
            _("The token address in this key is not Google's. Download the key from Google again.")
        )
    return json.dumps(values)
