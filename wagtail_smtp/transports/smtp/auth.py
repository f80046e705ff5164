"""SASL mechanisms for AUTH, as pure encoders (RFC 4954, 4616, 2195).

An encoder takes the server's decoded challenge and returns the answer, before base64 encoding.
The challenge ``None`` asks for an initial response; the answer ``None`` means that there is none.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping

from django.views.decorators.debug import sensitive_variables

Encoder = Callable[[bytes | None], bytes | None]
#: Returns an encoder for a username and a password or token.
Mechanism = Callable[[str, str], Encoder]


@sensitive_variables()
def plain(username: str, password: str) -> Encoder:
    """RFC 4616, without an authorization identity."""
    message = b"\0".join((b"", username.encode(), password.encode()))
    return lambda challenge: message


@sensitive_variables()
def login(username: str, password: str) -> Encoder:
    """draft-murchison-sasl-login: send the name, then the password, when asked."""
    answers = iter((username.encode(), password.encode()))
    return lambda challenge: None if challenge is None else next(answers, b"")


@sensitive_variables()
def login_with_initial_response(username: str, password: str) -> Encoder:
    """The same with the name as the initial response, for servers that expect it there."""
    answers = iter((username.encode(), password.encode()))
    return lambda challenge: next(answers, b"")


@sensitive_variables()
def cram_md5(username: str, password: str) -> Encoder:
    """RFC 2195."""

    @sensitive_variables()
    def answer(challenge: bytes | None) -> bytes | None:
        if challenge is None:
            return None
        digest = hmac.new(password.encode(), challenge, hashlib.md5).hexdigest()
        return f"{username} {digest}".encode()

    return answer


@sensitive_variables()
def xoauth2(username: str, token: str) -> Encoder:
    """Google's and Microsoft's mechanism; an error as the challenge gets an empty answer."""
    message = f"user={username}\1auth=Bearer {token}\1\1".encode()
    return lambda challenge: message if not challenge else b""


@sensitive_variables()
def oauthbearer(username: str, token: str) -> Encoder:
    """RFC 7628; an error as the challenge gets a single control-A (3.2.3)."""
    name = username.replace("=", "=3D").replace(",", "=2C")
    message = f"n,a={name},\1auth=Bearer {token}\1\1".encode()
    return lambda challenge: message if not challenge else b"\1"


#: Mechanisms for a password, in order of preference. CRAM-MD5 is last: TLS protects the password
#: already, and CRAM-MD5 makes servers store it in plain text.
FOR_PASSWORDS: dict[str, tuple[Mechanism, ...]] = {
    "PLAIN": (plain,),
    "LOGIN": (login, login_with_initial_response),
    "CRAM-MD5": (cram_md5,),
}
#: Mechanisms for an OAuth 2 access token.
FOR_TOKENS: dict[str, tuple[Mechanism, ...]] = {
    "XOAUTH2": (xoauth2,),
    "OAUTHBEARER": (oauthbearer,),
}


def mechanisms(known: Mapping[str, object], offered: Collection[str]) -> list[str]:
    """Return the ``known`` mechanisms that the server offers, in order of preference."""
    upper = {name.upper() for name in offered}
    return [name for name in known if name in upper]
