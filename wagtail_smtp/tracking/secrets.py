"""What reports must prove that they know: kept encrypted, bound to the set and its provider."""

import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from urllib.parse import urlsplit, urlunsplit

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp import live
from wagtail_smtp.exceptions import SecretError
from wagtail_smtp.models import Secret, SettingsSet
from wagtail_smtp.tracking.esps import PROVIDERS

#: The user name that stands in the address before the password.
USER = "reports"


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """The secrets of one set's reports.

    Attributes:
        password: random; stands in the address that is entered at the provider.
        url: that address, whole, since one provider signs it.
        key: the provider's signing key; empty: none was entered.
    """

    password: str = field(repr=False)
    url: str = field(repr=False)
    key: str = field(default="", repr=False)

    @property
    def basic_auth(self) -> str:
        """User name and password as they stand in the address."""
        return f"{USER}:{self.password}"


def binding(transport: str, key: object) -> Mapping[str, str]:
    """What the secrets are bound to: a set's, and only while it has this provider."""
    return {"transport": transport, "use": "webhook", "set": str(key)}


@sensitive_variables()
def renew(item: SettingsSet, url: str) -> WebhookSecret:
    """Make a new password for the reports of a set; the one before is worth nothing from now on.

    The signing key stays. To be called with the lock on changes held.

    Args:
        url: the address that takes the reports, without a password.
    """
    password = secrets.token_urlsafe(32)
    parts = urlsplit(url)
    whole = urlunsplit(parts._replace(netloc=f"{USER}:{password}@{parts.netloc}"))
    known = of_set(item)
    proof = WebhookSecret(password, whole, known.key if known else "")
    _store(item, proof)
    return proof


@sensitive_variables()
def change_key(item: SettingsSet, key: str) -> None:
    """Keep another signing key, or none; with the lock on changes held."""
    known = of_set(item)
    if known is not None:
        _store(item, replace(known, key=key))


@sensitive_variables()
def of_set(item: SettingsSet) -> WebhookSecret | None:
    """The secrets of a set as it stands; None: there are none, or they can't be read."""
    return _revealed(item.webhook_secret_id, item.transport, item.key)


def wanted(key: uuid.UUID, transport: str) -> WebhookSecret | None:
    """What reports about mail of the set ``key``, sent by this provider, must prove.

    Reports belong to what was sent already, so they need no reload: the set as it stands
    counts, and the live version only for what is gone from it, a deleted set or the provider
    that the set had before. None: no reports are taken.

    Raises:
        ConfigurationUnavailable: the live version can't be read.
    """
    if transport not in PROVIDERS:
        return None
    rows = SettingsSet.objects.filter(key=key, transport=transport)
    found = rows.values_list("webhook_secret_id", flat=True)[:1]
    if found:
        return _revealed(found[0], transport, key)
    item = live.current().configuration.by_key().get(str(key))
    if item is None or item.transport != transport:
        return None
    return _revealed(item.webhook_secret, transport, key)


@sensitive_variables()
def _store(item: SettingsSet, proof: WebhookSecret) -> None:
    before = item.webhook_secret_id if of_set(item) else None
    content = json.dumps(asdict(proof))
    item.webhook_secret = Secret.store(content, binding(item.transport, item.key), item.key)
    # Not the whole row: somebody may be editing it.
    SettingsSet.objects.filter(pk=item.pk).update(webhook_secret=item.webhook_secret)
    # Also in the version in force: nothing is sent with it. That of another provider stays, as
    # long as a version has it: what left by that one is still reported about.
    Secret.objects.filter(pk=before).update(ciphertext="", revoked_at=timezone.now())


@sensitive_variables()
def _revealed(secret: int | None, transport: str, key: object) -> WebhookSecret | None:
    row = Secret.objects.filter(pk=secret).first() if secret else None
    if row is None:
        return None
    try:
        return WebhookSecret(**json.loads(row.reveal(binding(transport, key))))
    except (SecretError, ValueError, TypeError):
        return None
