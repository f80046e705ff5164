"""OAuth 2 consents: their state in the admin, and storing, applying and removing them."""

import json
import logging
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp import alerts
from wagtail_smtp.config import crypto, values
from wagtail_smtp.config.oauth import OAuth
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.exceptions import EmailDeliveryError, EnvironmentMismatch, TokenRefused
from wagtail_smtp.live.lookup import current
from wagtail_smtp.live.resolve import live_version
from wagtail_smtp.live.token_store import RENEWED, binding_of, fingerprint, refusal_of
from wagtail_smtp.models import ConfigurationVersion, OAuthToken, SettingsSet
from wagtail_smtp.runtime.project import from_seconds
from wagtail_smtp.transports.oauth.client import Token

logger = logging.getLogger(__name__)

#: Seconds between two checks of a process for live tokens to renew, while the outbox is idle.
_EVERY = 60


@dataclass(frozen=True, slots=True)
class TokenState:
    """The state of a set's token.

    Attributes:
        kind: ``missing``: a person has to consent first; ``none``: requested with the first
            message; ``refused``: the last renewal failed; ``valid``.
        expires_at: when the stored token expires. A refused token works until then.
        refusal: why the last renewal failed.
        is_waiting: whether the next reload replaces it with a new consent.
    """

    kind: Literal["missing", "none", "refused", "valid"]
    expires_at: datetime | None = None
    refusal: TokenRefused | None = None
    is_waiting: bool = False


def states(items: Iterable[SettingsSetConfig]) -> dict[str, TokenState]:
    """The token states of the sets that use OAuth 2, by set key; one query."""
    wanted = {item.key: item for item in items if item.authentication == "oauth2"}
    found = {
        (str(row.owner), row.fingerprint): row
        for row in OAuthToken.objects.filter(owner__in=wanted, revoked_at=None)
    }
    return {
        key: replace(
            _state(item, found.get((key, fingerprint(item)))),
            is_waiting=(key, fingerprint(item, waiting=True)) in found,
        )
        for key, item in wanted.items()
    }


def _state(item: SettingsSetConfig, row: OAuthToken | None) -> TokenState:
    if row is not None and row.refused_at is not None:
        return TokenState("refused", row.expires_at, refusal_of(row))
    if row is None or not row.ciphertext:
        return TokenState("missing" if OAuth.of(item.oauth).needs_consent else "none")
    return TokenState("valid", row.expires_at)


def is_consent_missing(item: SettingsSetConfig) -> bool:
    """Whether the set needs consent and has none, not even one that waits for a reload."""
    if item.authentication != "oauth2" or not OAuth.of(item.oauth).needs_consent:
        return False
    marks = [fingerprint(item), fingerprint(item, waiting=True)]
    rows = OAuthToken.objects.filter(owner=item.key, fingerprint__in=marks, revoked_at=None)
    return not rows.exclude(ciphertext="").exists()


def require_own(item: SettingsSetConfig) -> None:
    """Check that a test may renew the set's token.

    Raises:
        EnvironmentMismatch: the consent is that of another environment's live version. The identity
            provider may refuse that site's token once this one is renewed.
    """
    if item.authentication != "oauth2" or not OAuth.of(item.oauth).needs_consent:
        return
    held_from = current().held_from
    version = live_version() if held_from else None
    if version is None or (item.key, fingerprint(item)) not in _used_by([version]):
        return
    if not _waiting_rows([item]):
        text = _(
            "A test from here could end the consent that “%s” uses. Connect the set with a test "
            "account first."
        )
        raise EnvironmentMismatch(text % held_from)


def has_any(owner: Any) -> bool:
    """Whether the set with key ``owner`` has a token that can be removed."""
    return bool(OAuthToken.objects.filter(owner=owner, revoked_at=None).exists())


@sensitive_variables()
def keep(item: SettingsSetConfig, token: Token, *, may_reload: bool = False) -> bool:
    """Store the token of a new consent for the saved set.

    If the live version uses the same row, the token waits for the next reload, because a consent
    must not change what is live. A live token that doesn't work is replaced immediately if the
    user may reload.

    Args:
        may_reload: whether the user may reload.

    Returns:
        Whether the token waits for a reload.
    """
    live = OAuthToken.objects.filter(owner=item.key, fingerprint=fingerprint(item))
    version = live_version()
    is_live = (item.key, fingerprint(item)) in _used_by([version] if version else [])
    works = live.filter(refused_at=None).exclude(ciphertext="").exists()
    waits = is_live and (works or not may_reload)
    # A new row each time: a reload must apply only the consent that its preview showed.
    for row in _waiting_rows([item]):
        row.delete()
    mark = fingerprint(item, waiting=waits)
    OAuthToken.objects.get_or_create(owner=uuid.UUID(item.key), fingerprint=mark)
    ciphertext = crypto.encrypt(json.dumps(asdict(token)), binding_of(item))
    _put(item, mark, ciphertext, from_seconds(token.expires_at))
    return waits


def _put(item: SettingsSetConfig, mark: str, ciphertext: str, expires_at: datetime | None) -> None:
    OAuthToken.objects.filter(owner=item.key, fingerprint=mark).update(
        ciphertext=ciphertext,
        expires_at=expires_at,
        number=F("number") + 1,
        revoked_at=None,
        **RENEWED,
    )


def _waiting_rows(items: Iterable[SettingsSetConfig]) -> list[OAuthToken]:
    # Compare both: a copy of a set has the same fingerprint but another key.
    wanted = {
        (item.key, fingerprint(item, waiting=True))
        for item in items
        if item.authentication == "oauth2"
    }
    rows = OAuthToken.objects.filter(owner__in=[key for key, _mark in wanted], revoked_at=None)
    return [row for row in rows if (str(row.owner), row.fingerprint) in wanted]


def waiting(items: Iterable[SettingsSetConfig]) -> dict[str, int]:
    """The consents that a reload of these sets would make live: row ID by set key."""
    return {str(row.owner): row.pk for row in _waiting_rows(items)}


def apply_waiting(items: Iterable[SettingsSetConfig]) -> None:
    """Replace these sets' tokens with the waiting ones, in the reload's transaction.

    This includes saved sets that won't be live: their consents have nothing to wait for.
    """
    stored = SettingsSet.objects.filter(authentication="oauth2")
    by_key = {str(item.key): item.frozen(()) for item in stored} | {i.key: i for i in items}
    for row in _waiting_rows(by_key.values()):
        item = by_key[str(row.owner)]
        mark = fingerprint(item)
        OAuthToken.objects.get_or_create(owner=row.owner, fingerprint=mark)
        _put(item, mark, row.ciphertext, row.expires_at)
        row.delete()


def try_again(owner: Any) -> None:
    """Clear refusals because a new secret was entered, so that it is tried immediately."""
    OAuthToken.objects.filter(owner=owner).update(refused_at=None, refusal={})


def revoke(owner: Any) -> None:
    """Remove all consents for the set with key ``owner``.

    The live version keeps its consent until the next reload.
    """
    OAuthToken.objects.filter(owner=owner, revoked_at=None).update(revoked_at=timezone.now())
    forget_revoked()


def forget_revoked() -> None:
    """Delete removed tokens that the live version doesn't need."""
    version = live_version()
    needed = _used_by([version] if version else [])
    for row in OAuthToken.objects.filter(revoked_at__isnull=False):
        if (str(row.owner), row.fingerprint) not in needed:
            row.delete()


def discard_unused(kept: Iterable[ConfigurationVersion]) -> None:
    """Delete tokens that neither a saved set nor one of the ``kept`` versions can use."""
    needed = _used_by(kept)
    for item in SettingsSet.objects.filter(authentication="oauth2"):
        needed.add((str(item.key), fingerprint(item.frozen(()))))
    for row in OAuthToken.objects.all():
        if (str(row.owner), row.fingerprint) not in needed:
            row.delete()
    forget_revoked()


def _used_by(versions: Iterable[ConfigurationVersion]) -> set[tuple[str, str]]:
    used = set()
    for version in versions:
        try:
            content = values.from_json(version.content)
        except ValueError:  # written by a newer release in an unknown format
            continue
        used |= {
            (item.key, fingerprint(item))
            for item in content.sets
            if item.authentication == "oauth2"
        }
    return used


#: When this process checks again (monotonic time).
_next_check = 0.0


def renew_when_idle(**kwargs: Any) -> None:
    """Receiver of ``outbox_idle``: renew live tokens that are due.

    This way a refusal is noticed before email fails. Two threads may check at the same time, but
    only one of them renews a token.
    """
    global _next_check
    if time.monotonic() < _next_check:
        return
    _next_check = time.monotonic() + _EVERY
    try:
        live = current()
        if live.held_from:
            return  # a renewal could invalidate the token of the site this was copied from
        sets = [item for item in live.configuration.sets if item.authentication == "oauth2"]
        for item in sets:
            try:
                config = live.transport(item).config
                if config.tokens is not None:
                    config.tokens.current()
            except TokenRefused as error:
                alerts.note_token_refused(str(item.key), item.name, str(error))
    except EmailDeliveryError as error:
        logger.warning("Access tokens could not be renewed: %s", error)
    alerts.send_pending()
