"""Signed bounce addresses (VERP): ``bounces+<key and signature>@example.com``.

The envelope sender names the log entry, so that a bounce proves which message it is about. Without
the signature, anyone could report that an address doesn't work.
"""

import base64
import hmac
import uuid

from django.utils.crypto import constant_time_compare

from wagtail_smtp.config import crypto

#: Characters that can separate the signed key from the address, as servers use them for
#: subaddresses (RFC 5233).
SEPARATORS = ("+", "-", "=")
#: Maximum bytes of a local part (RFC 5321 4.5.3.1.1).
_LONGEST = 64
#: Bytes of the signature; RFC 2104 recommends at least 80 bits.
_SIGNATURE = 10
#: Characters of the key (16 bytes) and the signature in base32, which is the same in any case.
_TOKEN = 42
#: Maximum characters of the local part of an address that is to be signed.
LONGEST_LOCAL_PART = _LONGEST - _TOKEN - 1


def signed(address: str, separator: str, key: uuid.UUID) -> str:
    """Return the bounce address for the log entry ``key``.

    Args:
        address: the set's bounce address, bare and ASCII.
        separator: one of :data:`SEPARATORS`.
    """
    local, _at, domain = address.rpartition("@")
    token = _token(crypto.bounce_keys()[0], f"{local}@{domain}", key)
    return f"{local}{separator}{token}@{domain}"


def verified(address: str) -> uuid.UUID | None:
    """The key of the log entry that a signed bounce address names; None if it isn't authentic.

    Case doesn't matter: some servers change it.
    """
    local, at, domain = address.lower().rpartition("@")
    base, token = local[: -_TOKEN - 1], local[-_TOKEN:]
    if not at or not base or not local.isascii() or local[-_TOKEN - 1] not in SEPARATORS:
        return None
    try:
        key = uuid.UUID(bytes=base64.b32decode(token.upper() + "======")[:16])
    except ValueError:
        return None
    tokens = (_token(secret, f"{base}@{domain}", key) for secret in crypto.bounce_keys())
    matches = [constant_time_compare(token, each) for each in tokens]
    return key if any(matches) else None


def _token(secret: bytes, address: str, key: uuid.UUID) -> str:
    """The key and its signature, which is only valid for this address."""
    content = key.bytes + address.lower().encode()
    signature = hmac.digest(secret, content, "sha256")[:_SIGNATURE]
    return base64.b32encode(key.bytes + signature).decode().rstrip("=").lower()
