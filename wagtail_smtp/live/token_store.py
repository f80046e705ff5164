"""The tokens of OAuth 2 as they are stored: bound like passwords, renewed beside the caller.

A token is never lost with the caller's rollback, since the provider may take back the one before.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import TypeVar

from django.db import Error, models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp import alerts
from wagtail_smtp.config import crypto
from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.exceptions import SecretError, SecretUnreadable, TokenRefused
from wagtail_smtp.live.db import autonomous, connections
from wagtail_smtp.models import OAuthToken, Secret
from wagtail_smtp.runtime.project import from_seconds, to_seconds
from wagtail_smtp.transports.oauth.client import Client, Token
from wagtail_smtp.transports.oauth.token_manager import StoredToken, TokenManager

logger = logging.getLogger(__name__)

T = TypeVar("T")


def binding_of(item: SettingsSetConfig) -> dict[str, str]:
    """What a token of this set is bound to.

    A consent outlives the client secret. Where the site logs in as itself, a new secret means a
    new token, so that a test says whether the new one works.
    """
    binding = item.binding()
    if not OAuth.of(item.oauth).needs_consent:
        binding["secret"] = str(item.secret)
    return binding


def fingerprint(item: SettingsSetConfig, *, waiting: bool = False) -> str:
    """Finds the row of this set's token: 64 hexadecimal digits.

    Args:
        waiting: the row of a consent that replaces it with the next reload.
    """
    told = binding_of(item) | ({"waits": "for a reload"} if waiting else {})
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@sensitive_variables()
def reveal(item: SettingsSetConfig, secret: Secret | None) -> str:
    """The client secret, or the key of a service account; empty where none is needed.

    Raises:
        SecretError: it can't be used; the message names the set and the remedy.
    """
    settings = OAuth.of(item.oauth)
    try:
        if secret is not None:
            return secret.reveal(item.binding())
        if settings.needs_secret:
            raise SecretUnreadable(_("No client secret or key is stored."))
    except SecretError as error:
        raise type(error)(
            _(
                "The settings set “%(name)s” can't be used. %(why)s Open it, enter the client "
                "secret or key again, save and reload."
            )
            % {"name": item.name, "why": error}
        ) from None
    return ""


@sensitive_variables()
def client_of(item: SettingsSetConfig, secret: str) -> Client:
    """What asks for this set's tokens; ``secret`` as it is stored."""
    settings = OAuth.of(item.oauth)
    # A private authority is the mail server's; only a provider of one's own can be under it.
    own = item.ca_certificates if settings.provider == "other" else ""
    return Client(item.name, settings, item.username, secret, own)


@sensitive_variables()
def source(
    item: SettingsSetConfig, secret: str, *, is_stored: bool = True, is_test: bool = False
) -> TokenManager:
    """Where a transport of this set gets its tokens.

    Args:
        is_stored: False: the secret was only typed, so what it brings is not kept.
        is_test: a consent that waits for a reload is used, if there is one.
    """
    client = client_of(item, secret)
    store: DatabaseTokenStore | _MemoryTokenStore = DatabaseTokenStore(item)
    if not is_stored and not client.settings.needs_consent:
        store = _MemoryTokenStore()
    elif is_test and (waiting := DatabaseTokenStore(item, waiting=True)).load().token is not None:
        store = waiting
    elif not is_stored:
        store = _TypedSecretTokenStore(item)
    return TokenManager(
        client, store, lambda error: alerts.note_token_refused(str(item.key), item.name, str(error))
    )


class _MemoryTokenStore:
    """For a test of what was typed."""

    def __init__(self) -> None:
        self._kept = StoredToken()

    def load(self) -> StoredToken:
        return self._kept

    def claim(self, number: int, until: float) -> str:
        return "typed"

    def keep(self, lease: str, token: Token) -> bool:
        self._kept = StoredToken(self._kept.number + 1, token)
        return True

    def refuse(self, lease: str, refusal: TokenRefused) -> None:
        """Nobody else is to know."""


#: What this process knows of tokens, by owner and fingerprint: for a database that is away, and
#: for SQLite, where a renewal rides in the caller's transaction and goes with its rollback.
_known: dict[tuple[uuid.UUID, str], StoredToken] = {}


class DatabaseTokenStore:
    """A set's token in the database.

    Implements :class:`wagtail_smtp.transports.oauth.token_manager.TokenStore`.
    """

    def __init__(self, item: SettingsSetConfig, *, waiting: bool = False) -> None:
        self._name = item.name
        self._binding = binding_of(item)
        self._key = (uuid.UUID(item.key), fingerprint(item, waiting=waiting))
        self._is_waiting = waiting

    def _rows(self) -> models.QuerySet[OAuthToken]:
        owner, mark = self._key
        return OAuthToken.objects.using(connections.write_alias()).filter(
            owner=owner, fingerprint=mark
        )

    @sensitive_variables()
    def load(self) -> StoredToken:
        """What is stored now; what was stored, if the database can't be asked."""
        try:
            row = _beside(lambda: self._rows().first())
        except (Error, TimeoutError) as error:
            if self._key in _known:
                return _known[self._key]
            raise TokenRefused(
                f"{self._name}: the access token can't be read from the database "
                f"({type(error).__name__})."
            ) from None
        if row is None:
            _known.pop(self._key, None)
            return StoredToken()
        # One that waits is replaced by a new row, whose numbers begin again.
        before = None if self._is_waiting else _known.get(self._key)
        if before is not None and before.token is not None and before.number > row.number:
            # Rolled back with the caller's transaction. The provider may not know the older one.
            with suppress(Error, TimeoutError):
                self._put(before.token, Q(number=row.number))
            return before
        kept = _known[self._key] = _kept(row, self._binding)
        return kept

    def claim(self, number: int, until: float) -> str:
        """See :class:`wagtail_smtp.transports.oauth.token_manager.Store`."""
        owner, mark = self._key
        lease = uuid.uuid4().hex

        def work() -> bool:
            OAuthToken.objects.using(connections.write_alias()).get_or_create(
                owner=owner, fingerprint=mark
            )
            is_free = Q(leased_until=None) | Q(leased_until__lte=timezone.now())
            return bool(
                self._rows()
                .filter(is_free, number=number)
                .update(lease=lease, leased_until=from_seconds(until))
            )

        try:
            return lease if _beside(work) else ""
        except (Error, TimeoutError):
            return ""

    @sensitive_variables()
    def keep(self, lease: str, token: Token) -> bool:
        """See :class:`wagtail_smtp.transports.oauth.token_manager.Store`."""
        try:
            return self._put(token, Q(lease=lease))
        except (Error, TimeoutError):
            # It is in hand, and the one before may be worth nothing any more. The next look at
            # the row stores it.
            logger.warning("A renewed access token could not be stored.", exc_info=True)
            before = _known.get(self._key, StoredToken())
            _known[self._key] = StoredToken(before.number + 1, token)
            return True

    @sensitive_variables()
    def _put(self, token: Token, where: Q) -> bool:
        ciphertext = crypto.encrypt(json.dumps(asdict(token)), self._binding)

        def work() -> int:
            self._rows().filter(where).update(
                ciphertext=ciphertext,
                expires_at=from_seconds(token.expires_at),
                number=F("number") + 1,
                **RENEWED,
            )
            row = self._rows().filter(ciphertext=ciphertext).first()
            return row.number if row else 0

        number = _beside(work)
        if number:
            _known[self._key] = StoredToken(number, token)
        return bool(number)

    def refuse(self, lease: str, refusal: TokenRefused) -> None:
        """See :class:`wagtail_smtp.transports.oauth.token_manager.Store`."""
        told = {"message": str(refusal), "reason": refusal.reason, "reply": refusal.reply}
        refused = {"refused_at": timezone.now(), "refusal": told}
        try:
            _beside(
                lambda: (
                    self._rows().filter(lease=lease).update(lease="", leased_until=None, **refused)
                )
            )
        except (Error, TimeoutError):
            logger.warning("A refused access token could not be noted.", exc_info=True)


class _TypedSecretTokenStore(DatabaseTokenStore):
    """A live token may be renewed with a secret that was only typed, but that it was refused says
    nothing about the live one."""

    def refuse(self, lease: str, refusal: TokenRefused) -> None:
        """Give the lease back."""
        with suppress(Error, TimeoutError):
            free = {"lease": "", "leased_until": None}
            _beside(lambda: self._rows().filter(lease=lease).update(**free))


#: What a new token puts an end to.
RENEWED: Mapping[str, object] = {
    "lease": "",
    "leased_until": None,
    "refused_at": None,
    "refusal": {},
}


def _beside(work: Callable[[], T]) -> T:
    return autonomous.write(work, connections.write_alias())


@sensitive_variables()
def _kept(row: OAuthToken, binding: Mapping[str, str]) -> StoredToken:
    token: Token | None = None
    if row.ciphertext:
        # One that can't be read is as good as none: it is got anew, or consented to anew.
        with suppress(SecretError):
            token = Token(**json.loads(crypto.decrypt(row.ciphertext, binding)))
    return StoredToken(
        row.number, token, _seconds(row.leased_until), _seconds(row.refused_at), refusal_of(row)
    )


def refusal_of(row: OAuthToken) -> TokenRefused | None:
    """Why the token was not renewed last; None: it was."""
    if row.refused_at is None:
        return None
    told = row.refusal
    return TokenRefused(
        str(told.get("message", "")),
        reason=str(told.get("reason", "refused")),
        reply=str(told.get("reply", "")),
    )


def _seconds(at: datetime | None) -> float:
    return to_seconds(at) if at else 0.0
