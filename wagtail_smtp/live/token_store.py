"""Store OAuth 2 tokens encrypted, bound to their destination like passwords.

Tokens are written in autonomous transactions. If a rollback of the caller's transaction removed a
new token, the site could be locked out, because the provider may already have revoked the old one.
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
from wagtail_smtp.config.oauth import OAuth, service_account
from wagtail_smtp.config.references import source_of
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.exceptions import ReferenceUnreadable, SecretError, TokenRefused
from wagtail_smtp.live import set_secrets
from wagtail_smtp.live.db import autonomous, connections
from wagtail_smtp.models import OAuthToken, Secret
from wagtail_smtp.runtime.project import from_seconds, to_seconds
from wagtail_smtp.transports.oauth.client import Client, Token
from wagtail_smtp.transports.oauth.token_manager import StoredToken, TokenManager

logger = logging.getLogger(__name__)

T = TypeVar("T")


def binding_of(item: SettingsSetConfig) -> dict[str, str]:
    """What a token of this set is bound to.

    A consent remains valid with a new client secret. Without consent, a new secret needs a new
    token, so that a test shows whether the secret works.
    """
    binding = item.binding()
    if not OAuth.of(item.oauth).needs_consent:
        binding["secret"] = str(item.secret)
    return binding


def fingerprint(item: SettingsSetConfig, *, waiting: bool = False) -> str:
    """Identify the row of this set's token: a SHA-256 digest of 64 hexadecimal digits.

    Args:
        waiting: identify the row of a consent that waits for the next reload.
    """
    identity = binding_of(item) | ({"waits": "for a reload"} if waiting else {})
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


@sensitive_variables()
def reveal(item: SettingsSetConfig, secret: Secret | None) -> str:
    """Return the client secret or service account key; empty if none is needed.

    Raises:
        SecretError: it can't be used; the message names the set and the fix.
    """
    settings = OAuth.of(item.oauth)
    if secret is None and not settings.needs_secret:
        return ""
    value = set_secrets.reveal(
        item,
        secret,
        _("No client secret or key is stored."),
        _("Open the set, enter the client secret or key again, save and reload."),
    )
    if settings.flow == "service_account" and secret is not None and secret.references:
        try:
            return service_account(value)  # a stored key was checked when it was entered
        except ValueError as error:
            kind = source_of(secret.references)
            raise set_secrets.unusable(ReferenceUnreadable, item, str(error), kind) from None
    return value


@sensitive_variables()
def client_of(item: SettingsSetConfig, secret: str) -> Client:
    """The client that requests this set's tokens, with its decrypted ``secret``."""
    settings = OAuth.of(item.oauth)
    # A private CA belongs to the mail server; only a self-hosted identity provider may share it.
    own = item.ca_certificates if settings.provider == "other" else ""
    reads = bool(item.mailbox_host)
    return Client(item.name, settings, item.username, secret, own, reads)


@sensitive_variables()
def source(
    item: SettingsSetConfig, secret: str, *, is_stored: bool = True, is_test: bool = False
) -> TokenManager:
    """Return the token manager for a transport of this set.

    Args:
        is_stored: False if the secret was only entered in a form. Its tokens are then not stored,
            except renewals after a consent; refusals are never stored.
        is_test: use a consent that waits for a reload, if there is one.
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
    """Keeps a token in memory, to test a secret that isn't saved."""

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
        """Ignore it: it concerns only this test."""


#: Tokens that this process knows, by owner and fingerprint. They are used if the database is
#: unavailable, and on SQLite, where a rollback of the caller's transaction also undoes a renewal.
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
        """Load the stored state, or the last known one if the database is unavailable."""
        try:
            row = _write(lambda: self._rows().first())
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
        # Each waiting consent has a new row, whose numbers start again.
        before = None if self._is_waiting else _known.get(self._key)
        if before is not None and before.token is not None and before.number > row.number:
            # The renewal was rolled back with the caller's transaction. Store it again: the
            # provider may have revoked the older token.
            with suppress(Error, TimeoutError):
                self._put(before.token, Q(number=row.number))
            return before
        kept = _known[self._key] = _kept(row, self._binding)
        return kept

    def claim(self, number: int, until: float) -> str:
        """See :class:`wagtail_smtp.transports.oauth.token_manager.TokenStore`."""
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
            return lease if _write(work) else ""
        except (Error, TimeoutError):
            return ""

    @sensitive_variables()
    def keep(self, lease: str, token: Token) -> bool:
        """See :class:`wagtail_smtp.transports.oauth.token_manager.TokenStore`."""
        try:
            return self._put(token, Q(lease=lease))
        except (Error, TimeoutError):
            # Use it anyway: the previous token may have been revoked. The next load() stores it.
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

        number = _write(work)
        if number:
            _known[self._key] = StoredToken(number, token)
        return bool(number)

    def refuse(self, lease: str, refusal: TokenRefused) -> None:
        """See :class:`wagtail_smtp.transports.oauth.token_manager.TokenStore`."""
        values = {
            "lease": "",
            "leased_until": None,
            "refused_at": timezone.now(),
            "refusal": {
                "message": str(refusal),
                "reason": refusal.reason,
                "reply": refusal.reply,
            },
        }
        try:
            _write(lambda: self._rows().filter(lease=lease).update(**values))
        except (Error, TimeoutError):
            logger.warning("A refused access token could not be noted.", exc_info=True)


class _TypedSecretTokenStore(DatabaseTokenStore):
    """For a secret that was only entered in a form.

    A renewal with it is stored. A refusal isn't, because it says nothing about the stored secret.
    """

    def refuse(self, lease: str, refusal: TokenRefused) -> None:
        """Release the lease."""
        with suppress(Error, TimeoutError):
            free = {"lease": "", "leased_until": None}
            _write(lambda: self._rows().filter(lease=lease).update(**free))


#: Fields that are reset when a token is renewed.
RENEWED: Mapping[str, object] = {
    "lease": "",
    "leased_until": None,
    "refused_at": None,
    "refusal": {},
}


def _write(work: Callable[[], T]) -> T:
    return autonomous.write(work, connections.write_alias())


@sensitive_variables()
def _kept(row: OAuthToken, binding: Mapping[str, str]) -> StoredToken:
    token: Token | None = None
    if row.ciphertext:
        # An unreadable token counts as missing: request a new one, or ask for consent again.
        with suppress(SecretError):
            token = Token(**json.loads(crypto.decrypt(row.ciphertext, binding)))
    return StoredToken(
        row.number, token, _seconds(row.leased_until), _seconds(row.refused_at), refusal_of(row)
    )


def refusal_of(row: OAuthToken) -> TokenRefused | None:
    """Why the last renewal failed; None if it didn't."""
    if row.refused_at is None:
        return None
    return TokenRefused(
        str(row.refusal.get("message", "")),
        reason=str(row.refusal.get("reason", "refused")),
        reply=str(row.refusal.get("reply", "")),
    )


def _seconds(at: datetime | None) -> float:
    return to_seconds(at) if at else 0.0
