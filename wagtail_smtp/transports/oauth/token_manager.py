"""Keep access tokens and renew them early, once for all processes and threads.

While one thread renews a token, the others continue with the valid one. No database lock is held
while waiting for the identity provider.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.exceptions import EmailDeliveryError, TokenRefused
from wagtail_smtp.transports.oauth.client import (
    LONGEST,
    Client,
    Token,
    request_token,
    with_consent_dates,
)

logger = logging.getLogger(__name__)

#: Renew a token this many seconds before it expires, or after half its lifetime.
EARLY = 600.0
#: Minimum remaining lifetime in seconds to log in with a token.
MARGIN = 3.0
#: Seconds for which only one thread may renew; longer than a renewal can take.
LEASE = 2 * LONGEST
#: Seconds to wait after a failed renewal while there is a valid token.
PAUSE = 60.0
#: Seconds between checks for a token that another process is renewing.
_POLL_INTERVAL = 0.1
#: A token younger than this (seconds) isn't renewed when a server rejects it.
NEW = 30.0


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A set's stored token and the state of its renewal.

    Attributes:
        number: increases with each token.
        token: None if there is none.
        leased_until: end of the current renewal's lease (seconds since the epoch); 0: none.
        refused_at: when the last renewal failed; 0: it didn't.
        refusal: why it failed.
    """

    number: int = 0
    token: Token | None = None
    leased_until: float = 0.0
    refused_at: float = 0.0
    refusal: TokenRefused | None = field(default=None)


class TokenStore(Protocol):
    """Stores a set's token."""

    def load(self) -> StoredToken:
        """Return the current state."""

    def claim(self, number: int, until: float) -> str:
        """Claim the renewal of the token with that number; return a lease, or empty if taken."""

    def keep(self, lease: str, token: Token) -> bool:
        """Store a renewed token; False if the lease is outdated or the consent was removed."""

    def refuse(self, lease: str, refusal: TokenRefused) -> None:
        """Store why the renewal failed."""


class TokenManager:
    """Provides one set's access tokens to its transport."""

    def __init__(
        self,
        client: Client,
        store: TokenStore,
        on_refusal: Callable[[TokenRefused], None] | None = None,
    ) -> None:
        self._client = client
        self._store = store
        #: Called if renewal fails while the current token is still valid.
        self._on_refusal = on_refusal

    @sensitive_variables()
    def current(self) -> str:
        """See :class:`wagtail_smtp.config.values.TokenSource`."""
        stored = self._store.load()
        now = time.time()
        if stored.token is not None and now < stored.token.expires_at - MARGIN:
            paused = now < max(stored.leased_until, stored.refused_at + PAUSE)
            if paused or now < _due(stored.token):
                return stored.token.access
            return self._renew_early(stored, stored.token)
        return self._renew(stored)

    @sensitive_variables()
    def renewed(self, rejected: str) -> str | None:
        """See :class:`wagtail_smtp.config.values.TokenSource`."""
        stored = self._store.load()
        if stored.token is not None and stored.token.access != rejected:
            return self.current()
        if stored.token is not None and time.time() < stored.token.obtained_at + NEW:
            return None
        return self._renew(stored)

    @sensitive_variables()
    def _renew_early(self, stored: StoredToken, valid: Token) -> str:
        lease = self._store.claim(stored.number, time.time() + LEASE)
        if not lease:
            return valid.access
        try:
            return self._request(lease, stored)
        except EmailDeliveryError as error:
            logger.warning("The access token could not be renewed early: %s", error)
            if self._on_refusal is not None and isinstance(error, TokenRefused):
                self._on_refusal(error)
            return valid.access

    @sensitive_variables()
    def _renew(self, stored: StoredToken) -> str:
        """Renew the token, or wait for the thread that is renewing it."""
        end = time.monotonic() + LONGEST + 2
        while True:
            lease = ""
            if time.time() >= stored.leased_until:
                lease = self._store.claim(stored.number, time.time() + LEASE)
            if lease:
                return self._request(lease, stored)
            if time.monotonic() >= end:
                raise TokenRefused(
                    f"{self._client.name}: another process is renewing the access token but did "
                    "not finish in time.",
                    reason="unreachable",
                )
            time.sleep(_POLL_INTERVAL)
            before, stored = stored, self._store.load()
            if stored.number != before.number and stored.token is not None:
                return stored.token.access
            if stored.refusal is not None and stored.refused_at > before.refused_at:
                raise stored.refusal

    @sensitive_variables()
    def _request(self, lease: str, stored: StoredToken) -> str:
        try:
            token = request_token(self._client, stored.token.refresh if stored.token else "")
        except TokenRefused as refusal:
            self._store.refuse(lease, refusal)
            raise
        except EmailDeliveryError as error:
            self._store.refuse(lease, TokenRefused(str(error)))
            raise
        if stored.token is not None:
            token = with_consent_dates(token, stored.token)
        if not self._store.keep(lease, token):
            raise TokenRefused(
                f"{self._client.name}: the consent was removed or given again in the meantime.",
                reason="consent-needed",
            )
        return token.access


def _due(token: Token) -> float:
    """When to renew a token."""
    return token.expires_at - min(EARLY, (token.expires_at - token.obtained_at) / 2)
