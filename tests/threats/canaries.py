"""Secrets of every kind that a site has, and where one of them turns up.

Each is a random word with characters around it that URLs, HTML, JSON and quoted-printable write
differently. The word itself stays the same in all of these; base64 and hex are searched for too.
"""

import base64
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.fernet import Fernet

#: Kinds of secrets that a test chooses. Others, such as tokens, are made elsewhere.
KINDS = (
    "SMTP password",
    "typed password",
    "password from a variable",
    "password from a file",
    "password of the default credentials",
    "API key",
    "OAuth 2 client secret",
    "webhook key",
    "alert channel",
    "one-time code",
    "queued one-time code",
)
#: Kinds for which their protocols, or Django's own backend, take ASCII only.
_PLAIN = (
    "API key",
    "webhook key",
    "alert channel",
    "OAuth 2 client secret",
    "password of the default credentials",
)


@dataclass
class Canaries:
    """The secrets by kind; ``add`` those that are made elsewhere, such as tokens."""

    # Without repr: error reports show the variables of the tests' own frames.
    values: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for kind in KINDS:
            self.values[kind] = f"é\"=&<+ {secrets.token_hex(8)} /%'"
        for kind in _PLAIN:
            self.values[kind] = f"k+{secrets.token_hex(8)}/="
        self.values["encryption key"] = Fernet.generate_key().decode()

    def __getitem__(self, kind: str) -> str:
        return self.values[kind]

    def add(self, kind: str, value: str) -> None:
        """Search for a secret that was made elsewhere."""
        self.values[kind] = value

    def found_in(self, *texts: Any) -> set[str]:
        """The kinds of the secrets that are in one of these, in whatever encoding."""
        everything = "\n".join(map(_text, texts))
        # Lines of base64 and quoted-printable are broken anywhere.
        joined = re.sub(r"=?\\r\\n|=?\r?\n|\s", "", everything)
        return {
            kind
            for kind, value in self.values.items()
            if any(form in everything or form in joined for form in _forms(_word(value)))
        }


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("latin-1")
    return value if isinstance(value, str) else repr(value)


def _word(value: str) -> str:
    """The longest part that every encoding of text leaves as it is."""
    return max(re.findall(r"[A-Za-z0-9_-]+", value), key=len)


def _forms(word: str) -> list[str]:
    assert len(word) >= 8, "too short to be found by nothing but chance"
    forms = [word, word[::-1], word.encode().hex(), word.encode().hex().upper()]
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + word.encode()).decode()
        # Without the characters that depend on what is around the word.
        forms.append(encoded[-(-before * 8 // 6) : len(encoded) - 4 + (before + len(word)) % 3])
    return forms
