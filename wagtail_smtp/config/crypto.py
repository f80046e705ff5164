"""Encrypt stored secrets as Fernet tokens that also contain where the value may be used."""

import base64
import functools
import json
from collections.abc import Mapping
from typing import cast

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.conf import conf
from wagtail_smtp.exceptions import SecretBoundElsewhere, SecretUnreadable


@sensitive_variables()
def encrypt(value: str, binding: Mapping[str, str]) -> str:
    """Encrypt ``value``; :func:`decrypt` only returns it for the same binding."""
    body = json.dumps({"value": value, "binding": dict(binding)})
    return _fernet().encrypt(body.encode()).decode("ascii")


@sensitive_variables()
def decrypt(token: str, binding: Mapping[str, str]) -> str:
    """Return the value in ``token``.

    Raises:
        SecretUnreadable: no configured key can decrypt it.
        SecretBoundElsewhere: it is bound to another destination.
    """
    try:
        content = json.loads(_fernet().decrypt(token.encode()))
    except (InvalidToken, ValueError):
        raise SecretUnreadable(
            _("The stored password can't be decrypted: its encryption key is missing.")
        ) from None
    if content["binding"] != dict(binding):
        raise SecretBoundElsewhere(
            _("The stored password belongs to another server or user. Enter it again.")
        )
    return cast(str, content["value"])


def seal(content: bytes) -> bytes:
    """Encrypt ``content`` without a binding."""
    return _fernet().encrypt(content)


def unseal(token: bytes) -> bytes:
    """Decrypt a token from :func:`seal`.

    Raises:
        SecretUnreadable: no configured key can decrypt it.
    """
    try:
        return _fernet().decrypt(token)
    except InvalidToken:
        raise SecretUnreadable(_("It can't be decrypted: its encryption key is missing.")) from None


def rotate(token: str) -> str:
    """Encrypt ``token`` again with the newest key.

    Raises:
        SecretUnreadable: no configured key can decrypt it.
    """
    return reseal(token.encode()).decode("ascii")


def reseal(token: bytes) -> bytes:
    """Encrypt a token from :func:`seal` again with the newest key; its length stays the same.

    Raises:
        SecretUnreadable: no configured key can decrypt it.
    """
    try:
        return _fernet().rotate(token)
    except (InvalidToken, ValueError):
        raise SecretUnreadable(_("It can't be decrypted: its encryption key is missing.")) from None


def bounce_keys() -> tuple[bytes, ...]:
    """The keys that sign bounce addresses, the newest first; the others only verify."""
    keys = conf.ENCRYPTION_KEYS
    return tuple(_derive(secret, b"bounces 1") for secret in keys or _project_secrets())


def _project_secrets() -> tuple[str, ...]:
    return tuple(map(str, (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)))


def _fernet() -> MultiFernet:
    keys = conf.ENCRYPTION_KEYS
    return _fernet_of(keys, () if keys else _project_secrets())


@functools.lru_cache(maxsize=4)
def _fernet_of(keys: tuple[str, ...], secrets: tuple[str, ...]) -> MultiFernet:
    try:
        given = [*map(Fernet, keys)]
    except (ValueError, TypeError) as error:
        # Not a ValueError, because that would blame the message or the form.
        raise ImproperlyConfigured(
            f"WAGTAIL_SMTP['ENCRYPTION_KEYS'] contains an invalid Fernet key: {error}"
        ) from None
    derived = (base64.urlsafe_b64encode(_derive(secret, b"secrets 1")) for secret in secrets)
    return MultiFernet([*given, *map(Fernet, derived)])


@functools.lru_cache(maxsize=16)
def _derive(secret: str, use: bytes) -> bytes:
    """Derive a key of 32 bytes (RFC 5869); ``use`` separates it from those for everything else."""
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=b"wagtail_smtp", info=use)
    return hkdf.derive(secret.encode())


def destination_binding(
    host: str, port: int, encryption: str, ca_certificates: str, username: str
) -> dict[str, str]:
    """The destination that a password is bound to."""
    return {
        "transport": "smtp",
        "host": host.strip().rstrip(".").lower(),
        "port": str(port),
        "encryption": encryption,
        "ca": _lines(ca_certificates),
        "username": username,
    }


#: Options that change neither the destination of a key nor its account.
_UNBOUND = frozenset(
    {"configuration_set_name", "message_stream", "sender_domain", "sandbox_id", "subaccount"}
)


def provider_binding(
    transport: str, options: Mapping[str, str], ca_certificates: str
) -> dict[str, str]:
    """The account and destination that an email provider's keys are bound to."""
    bound = {name: str(value) for name, value in options.items() if value and name not in _UNBOUND}
    return {**bound, "transport": transport, "ca": _lines(ca_certificates)}


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())
