"""Signed bounce addresses: what they look like, and which are believed."""

import uuid

import pytest
from cryptography.fernet import Fernet

from wagtail_smtp.config import bounce_address
from wagtail_smtp.config.bounce_address import LONGEST_LOCAL_PART, SEPARATORS, signed, verified

KEY = uuid.UUID("6f1c8e5a-1c1a-4f0e-9d6b-0b1f3c2d4e5f")


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize(
    "address", ["b@example.com", "no-reply@example.com", "Bounces@Example.COM", "x+y@b.example.com"]
)
def test_an_address_proves_its_entry(address, separator):
    found = signed(address, separator, KEY)
    local, _at, domain = found.partition("@")
    assert local.startswith(address.partition("@")[0] + separator)
    assert domain == address.partition("@")[2]
    for written in (found, found.lower(), found.upper()):
        assert verified(written) == KEY


def test_the_longest_address_has_64_bytes_before_the_at():
    address = f"{'b' * LONGEST_LOCAL_PART}@example.com"
    assert len(signed(address, "+", KEY).partition("@")[0]) == 64


def _with(position, character):
    local, _at, domain = signed("b@example.com", "+", KEY).partition("@")
    return f"{local[:position]}{character}{local[position + 1 :]}@{domain}"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@example.com",
        "bounces@example.com",
        "bounces+key@example.com",
        signed("b@example.com", "+", KEY).partition("@")[0],
        signed("b@example.com", "+", KEY).replace("example.com", "example.net"),
        signed("b@example.com", "+", KEY).replace("b+", "c+"),
        signed("b@example.com", "+", KEY).replace("b+", "+"),
        signed("b@example.com", "+", KEY).replace("+", "_"),
        _with(5, "8"),
        _with(5, "é"),
        *(_with(position, "q") for position in (3, 20, 34, 40)),
        *(_with(position, "r") for position in (3, 20, 34, 40)),
    ],
)
def test_anything_else_proves_nothing(address):
    assert verified(address) is None


def test_only_keys_of_the_project_are_believed(settings):
    settings.SECRET_KEY = "first"
    address = signed("b@example.com", "+", KEY)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second", ["first"]
    assert verified(address) == KEY
    assert signed("b@example.com", "+", KEY) != address
    settings.SECRET_KEY_FALLBACKS = []
    assert verified(address) is None


def test_encryption_keys_are_used_instead_of_the_secret_key(settings, configure):
    old, new = (Fernet.generate_key().decode() for _number in range(2))
    configure(ENCRYPTION_KEYS=[old])
    address = signed("b@example.com", "+", KEY)
    settings.SECRET_KEY = "another"
    configure(ENCRYPTION_KEYS=[new, old])
    assert verified(address) == KEY
    configure(ENCRYPTION_KEYS=[new])
    assert verified(address) is None


def test_signatures_are_compared_in_constant_time(monkeypatch):
    compared = []
    compare = bounce_address.constant_time_compare
    monkeypatch.setattr(
        bounce_address,
        "constant_time_compare",
        lambda one, other: compared.append(one) or compare(one, other),
    )
    assert verified(signed("b@example.com", "+", KEY)) == KEY
    assert compared
