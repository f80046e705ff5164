"""The secrets of webhooks, stored encrypted and bound to the set and its email provider."""

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
from wagtail_smtp.tracking.esps import webhook_of

#: The user name in the webhook's address.
USER = "webhook"


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """The secrets of one set's webhook.

    Attributes:
        password: the random password in the address that is entered at the provider.
        url: that address with the password; one provider signs it.
        key: the provider's signing key; empty: none was entered.
    """

    password: str = field(repr=False)
    url: str = field(repr=False)
    key: str = field(default="", repr=False)

    @property
    def basic_auth(self) -> str:
        """User name and password, as ``user:password``."""
        return f"{USER}:{self.password}"


def binding(transport: str, key: object) -> Mapping[str, str]:
    """The binding of the secrets: they are only valid for this set and this provider."""
    return {"transport": transport, "use": "webhook", "set": str(key)}


@sensitive_variables()
def renew(item: SettingsSet, url: str) -> WebhookSecret:
    """Create a new password for a set's webhook; the old one stops working immediately.

    The signing key stays. Call this with the settings locked.

    Args:
        url: the webhook's address, without a password.
    """
    password = secrets.token_urlsafe(32)
    parts = urlsplit(url)
    whole = urlunsplit(parts._replace(netloc=f"{USER}:{password}@{parts.netloc}"))
    known = of_set(item)
    secret = WebhookSecret(password, whole, known.key if known else "")
    _store(item, secret)
    return secret


@sensitive_variables()
def change_key(item: SettingsSet, key: str) -> None:
    """Store another signing key, or none. Call this with the settings locked."""
    known = of_set(item)
    if known is not None:
        _store(item, replace(known, key=key))


@sensitive_variables()
def of_set(item: SettingsSet) -> WebhookSecret | None:
    """The secrets of a set as it is saved; None if there are none or they can't be read."""
    return _reveal(item.webhook_secret_id, item.transport, item.key)


def accepted(key: uuid.UUID, transport: str) -> WebhookSecret | None:
    """The secrets that events about mail of the set ``key``, sent by this provider, must prove.

    Events are about mail that was already sent, so changes need no reload: the saved set counts.
    The live version only counts if the set was deleted, or for the provider that it used before.

    Returns:
        None if no events are accepted.

    Raises:
        ConfigurationUnavailable: the live version can't be read.
    """
    if webhook_of(transport) is None:
        return None
    rows = SettingsSet.objects.filter(key=key, transport=transport)
    found = rows.values_list("webhook_secret_id", flat=True)[:1]
    if found:
        return _reveal(found[0], transport, key)
    item = live.current().configuration.by_key().get(str(key))
    if item is None or item.transport != transport:
        return None
    return _reveal(item.webhook_secret, transport, key)


@sensitive_variables()
def _store(item: SettingsSet, secret: WebhookSecret) -> None:
    before = item.webhook_secret_id if of_set(item) else None
    content = json.dumps(asdict(secret))
    item.webhook_secret = Secret.store(content, binding(item.transport, item.key), item.key)
    # Not the whole row: someone may be editing it.
    SettingsSet.objects.filter(pk=item.pk).update(webhook_secret=item.webhook_secret)
    # In the live version too, because nothing is sent with it. The secret of another provider
    # stays: there may still be events about mail that it sent.
    Secret.objects.filter(pk=before).update(ciphertext="", revoked_at=timezone.now())


@sensitive_variables()
def _reveal(secret: int | None, transport: str, key: object) -> WebhookSecret | None:
    row = Secret.objects.filter(pk=secret).first() if secret else None
    if row is None:
        return None
    try:
        return WebhookSecret(**json.loads(row.reveal(binding(transport, key))))
    except (SecretError, ValueError, TypeError):
        return None
