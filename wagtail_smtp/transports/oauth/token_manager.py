"""Access tokens: kept, renewed ahead of their end, once for all processes and threads.

Loading and storing are passed in. While one renews, the others go on with the token that is
still valid; no lock of the database is held while the provider is asked.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.exceptions import EmailDeliveryError, TokenRefused
from wagtail_smtp.transports.oauth.client import LONGEST, Client, Token, obtain

logger = logging.getLogger(__name__)

#: Seconds before its end from which a token is renewed, or half its time if that is less.
EARLY = 600.0
#: Seconds that a token must still be valid for to log in with it.
MARGIN = 3.0
#: Seconds for which nobody else renews; longer than asking can take.
LEASE = 2 * LONGEST
#: Seconds after a refusal until the provider is asked again, while there is a valid token.
PAUSE = 60.0
#: Seconds between two looks at what another process is renewing.
_LOOK = 0.1
#: Seconds for which a token is too new to be the reason that a server rejects it.
NEW = 30.0


@dataclass(frozen=True, slots=True)
class StoredToken:
    """What is stored of a set's token.

    Attributes:
        number: counts up with each token.
        token: None: there is none.
        leased_until: who renews it has until then (seconds since the epoch); 0: nobody does.
        refused_at: when renewing it was last refused; 0: it was not.
        refusal: why.
    """

    number: int = 0
    token: Token | None = None
    leased_until: float = 0.0
    refused_at: float = 0.0
    refusal: TokenRefused | None = field(default=None)


class TokenStore(Protocol):
    """Where a set's token is kept."""

    def load(self) -> StoredToken:
        """What is stored now."""

    def claim(self, number: int, until: float) -> str:
        """Who may renew the token with that number: a lease, or empty if somebody else may."""

    def keep(self, lease: str, token: Token) -> bool:
        """Store a renewed token; False: the lease is not the newest, or the consent was removed."""

    def refuse(self, lease: str, refusal: TokenRefused) -> None:
        """Store why it was not renewed."""


class TokenManager:
    """The access tokens of one set, for its transport."""

    def __init__(
        self, client: Client, store: TokenStore, tell: Callable[[TokenRefused], None] | None = None
    ) -> None:
        self._client = client
        self._store = store
        #: Called with a refusal that came while the token in use was still valid.
        self._tell = tell

    @sensitive_variables()
    def current(self) -> str:
        """See :class:`wagtail_smtp.config.values.TokenSource`."""
        kept = self._store.load()
        now = time.time()
        if kept.token is not None and now < kept.token.expires_at - MARGIN:
            paused = now < max(kept.leased_until, kept.refused_at + PAUSE)
            if paused or now < _due(kept.token):
                return kept.token.access
            return self._renew_early(kept, kept.token)
        return self._renew(kept)

    @sensitive_variables()
    def renewed(self, rejected: str) -> str | None:
        """See :class:`wagtail_smtp.config.values.TokenSource`."""
        kept = self._store.load()
        if kept.token is not None and kept.token.access != rejected:
            return self.current()
        if kept.token is not None and time.time() < kept.token.obtained_at + NEW:
            return None
        return self._renew(kept)

    @sensitive_variables()
    def _renew_early(self, kept: StoredToken, valid: Token) -> str:
        lease = self._store.claim(kept.number, time.time() + LEASE)
        if not lease:
            return valid.access
        try:
            return self._ask(lease, kept)
        except EmailDeliveryError as error:
            logger.warning("The access token could not be renewed ahead of its end: %s", error)
            if self._tell is not None and isinstance(error, TokenRefused):
                self._tell(error)
            return valid.access

    @sensitive_variables()
    def _renew(self, kept: StoredToken) -> str:
        """By this thread, or by whoever is at it already."""
        end = time.monotonic() + LONGEST + 2
        while True:
            lease = ""
            if time.time() >= kept.leased_until:
                lease = self._store.claim(kept.number, time.time() + LEASE)
            if lease:
                return self._ask(lease, kept)
            if time.monotonic() >= end:
                raise TokenRefused(
                    f"{self._client.name}: another process is renewing the access token, and "
                    "takes long.",
                    reason="unreachable",
                )
            time.sleep(_LOOK)
            before, kept = kept, self._store.load()
            if kept.number != before.number and kept.token is not None:
                return kept.token.access
            if kept.refusal is not None and kept.refused_at > before.refused_at:
                raise kept.refusal

    @sensitive_variables()
    def _ask(self, lease: str, kept: StoredToken) -> str:
        try:
            token = obtain(self._client, kept.token.refresh if kept.token else "")
        except TokenRefused as refusal:
            self._store.refuse(lease, refusal)
            raise
        except EmailDeliveryError as error:
            self._store.refuse(lease, TokenRefused(str(error)))
            raise
        if not self._store.keep(lease, token):
            raise TokenRefused(
                f"{self._client.name}: the consent was removed or given anew meanwhile.",
                reason="consent-needed",
            )
        return token.access


def _due(token: Token) -> float:
    """When a token is to be renewed."""
    return token.expires_at - min(EARLY, (token.expires_at - token.obtained_at) / 2)
