"""Opening a session: resolve, connect, encrypt, greet, log in, one stage after the other.

smtplib serves for greeting, STARTTLS and AUTH, but each reply is read by our own
:class:`~wagtail_smtp.transports.wire.SMTPStream`.
"""

import base64
import binascii
import math
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from django.core.mail.utils import DNS_NAME
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.validation import ascii_host, may_log_in_without_tls
from wagtail_smtp.config.values import TransportConfig
from wagtail_smtp.exceptions import AttemptFailed, EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.smtp import auth
from wagtail_smtp.transports.smtp.replies import (
    connection_lost,
    error_for,
    is_no,
    is_yes,
    response_text,
)
from wagtail_smtp.transports.smtp.stream import Reply, SMTPStream, UnreadableReply

StageName = Literal[
    "resolve", "connect", "tls", "greeting", "auth", "fast", "sender", "recipient", "message"
]

#: The stages at one address of a host; the next one is tried where one of them fails.
_ORDER: Sequence[StageName] = ("connect", "tls", "greeting")
#: Replies that say no more than that the server doesn't know a mechanism.
_NOT_KNOWN = (500, 501, 502, 503, 504)
#: Replies that say a mechanism is not for us, not that the password is wrong.
_TRY_ANOTHER = (*_NOT_KNOWN, 530, 534, 538, 550, 553, 555)
#: The same in words. Each wrong password may count towards locking the account, so a refusal
#: that doesn't blame the mechanism ends the login.
_BLAMES_MECHANISM = re.compile(
    r"mechanism|auth(?:entication)?[ -](?:method|type)"
    r"|\b(?:PLAIN|LOGIN|CRAM-MD5|XOAUTH2|OAUTHBEARER)\b.*\b(?:unsupported|unavailable|disabled"
    r"|not (?:supported|available|allowed|enabled|permitted|implemented))\b",
    re.IGNORECASE | re.DOTALL,
)
#: Challenges of one login; smtplib allows as many.
_MAX_CHALLENGES = 5
#: What may be base64 of something secret.
_BASE64 = re.compile(r"[A-Za-z0-9+/]{12,}={0,2}")
#: What looks like it but reads as words, such as Authentication or SmtpClientAuthentication.
_WORDS = re.compile(r"[A-Za-z]?[a-z]{3,}(?:[A-Z][a-z]{3,})*|[A-Z]+")


class Connector(smtplib.SMTP):
    """smtplib's client on a guarded socket and with our reader, strict about TLS."""

    wire: SMTPStream
    at: StageName

    def __init__(
        self, config: TransportConfig, context: ssl.SSLContext | None, until: float = math.inf
    ) -> None:
        self._config = config
        self._context = context
        #: Monotonic time after which nothing is waited for.
        self._until = until
        super().__init__(
            local_hostname=ascii_host(config.ehlo_name or DNS_NAME.get_fqdn()),
            timeout=config.timeout,
        )

    def steps(self) -> Iterator[StageName]:
        """Open the session; each stage is yielded when it is done.

        ``at`` names the one in hand.

        Raises:
            MessageDeferred: the server couldn't be reached or didn't let us in.
            DestinationRefused: the address may not be connected to.
        """
        config = self._config
        self.at = "resolve"
        self._host = config.host
        with _phase("connect", config.name):
            self.addresses = guard.resolve(
                config.host,
                config.port,
                any_port=config.is_standard_server,
                within=None if self._until == math.inf else self._left(),
            )
        yield self.at
        yield from self._reach()
        self.at = "greeting"
        self._introduce()
        yield self.at
        if config.encryption == "starttls":
            self._upgrade()
            yield self.at
        if config.username:
            self.at = "auth"
            self.log_in()
            yield self.at

    def _reach(self) -> Iterator[StageName]:
        """Go through the host's addresses until one of them greets.

        Raises:
            MessageDeferred: none does; it is about the address that came furthest.
        """
        config = self._config
        done: set[StageName] = set()
        furthest: tuple[StageName, AttemptFailed] | None = None
        for address, until in guard.with_deadlines(
            self.addresses, min(config.timeout, self._left() / 2)
        ):
            try:
                for stage in self._approach(address, until):
                    if stage not in done:
                        done.add(stage)
                        yield stage
                return
            except AttemptFailed as error:
                self.close()
                if furthest is None or _ORDER.index(self.at) >= _ORDER.index(furthest[0]):
                    furthest = self.at, error
        assert furthest is not None
        self.at = furthest[0]
        try:
            raise furthest[1]
        finally:
            del furthest  # the error's traceback has this frame

    def _approach(self, address: guard.Address, until: float) -> Iterator[StageName]:
        """Connect to one address, encrypt where that comes first, and read the banner."""
        config = self._config
        self.at = "connect"
        with _phase("connect", config.name):
            self.sock = sock = guard.connect(address, until, config.timeout)
        yield self.at
        if config.encryption == "ssl":
            sock = self._encrypt(sock, until)
            yield self.at
        self.at = "greeting"
        self.wire = SMTPStream(sock, config.timeout, self._until)
        with _phase("banner", config.name):
            wait = min(config.timeout, max(until - time.monotonic(), 0.001))
            reply = self.wire.read_reply(wait)
            self._expect("banner", (reply.code, reply.text), 220)

    def _left(self) -> float:
        """Seconds until nothing is waited for; never 0, which would mean not to wait."""
        return max(self._until - time.monotonic(), 0.001)

    @property
    def has_tokens(self) -> bool:
        """Whether it logs in with OAuth 2."""
        return self._config.tokens is not None

    def getreply(self) -> tuple[int, bytes]:
        """The next reply, read by our own reader."""
        reply = self.wire.read_reply()
        return reply.code, reply.text

    def _introduce(self) -> None:
        """EHLO, or HELO where the server is so old."""
        with _phase("ehlo", self._config.name):
            reply = Reply(*self.ehlo())
            # After 421 the server closes the connection: its reason would be lost.
            if not is_yes(reply) and reply.code != 421:
                reply = Reply(*self.helo())
            if not is_yes(reply):
                raise error_for(self._config.name, "ehlo", reply)

    def _encrypt(self, sock: socket.socket, until: float = math.inf) -> ssl.SSLSocket:
        self.at = "tls"
        left = min(self._until, until) - time.monotonic()
        sock.settimeout(min(self._config.timeout, max(left, 0.001)))
        assert self._context is not None
        with _phase("tls", self._config.name):
            encrypted = self._context.wrap_socket(sock, server_hostname=self._host)
        self.sock = encrypted
        return encrypted

    def _expect(self, phase: str, reply: tuple[int, bytes], code: int) -> None:
        if reply[0] != code:
            raise error_for(self._config.name, phase, Reply(*reply))

    def _upgrade(self) -> None:
        """STARTTLS, required; anything the server sent ahead of the handshake ends it."""
        self.at = "tls"
        with _phase("starttls", self._config.name):
            if not self.has_extn("starttls"):
                raise smtplib.SMTPNotSupportedError(
                    "the server doesn't offer STARTTLS, and plain text is not fallen back to"
                )
            self._expect("starttls", self.docmd("STARTTLS"), 220)
            # Replies injected before TLS would be read as if encrypted (CVE-2011-0411).
            if not self.wire.is_silent():
                raise smtplib.SMTPServerDisconnected("the server sent data ahead of the handshake")
        self.wire = SMTPStream(self._encrypt(self.wire.sock), self._config.timeout, self._until)
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        self._introduce()

    @sensitive_variables()
    def log_in(self) -> None:
        """AUTH, never over plain text except where that is allowed."""
        config = self._config
        refusal: EmailDeliveryError | None = None
        try:
            refusal = self._log_in()
        except EmailDeliveryError as error:
            # Of the token request: that says itself what failed.
            refusal = error.with_traceback(None)
        except (UnreadableReply, ValueError):
            # A challenge that is no base64, or anything else that may echo the password.
            why = "the server's answer can't be read"
            refusal = MessageDeferred(f"{config.name}: failed at auth: {why}.", phase="auth")
        except OSError as error:
            refusal = MessageDeferred(f"{config.name}: failed at auth: {error}", phase="auth")
        if refusal is not None:
            # Raised out here, without its cause: the frames below hold the password, an error
            # page shows frames, and some servers echo what they got.
            raise refusal from None

    @sensitive_variables()
    def _log_in(self) -> MessageDeferred | None:
        config = self._config
        if config.encryption == "none" and not may_log_in_without_tls(config.host):
            raise smtplib.SMTPNotSupportedError("logging in without TLS is refused")
        offered = self.esmtp_features.get("auth", "").split()
        known = auth.FOR_PASSWORDS if config.tokens is None else auth.FOR_TOKENS
        names = auth.mechanisms(known, offered)
        if not names:
            raise smtplib.SMTPNotSupportedError(
                f"the server offers no way to log in that is known here "
                f"({' '.join(offered) or 'none at all'})"
            )
        if config.tokens is None:
            proof, what = config.password, "username or password"
        else:
            proof, what = config.tokens.current(), "access token"
        reply = self._try(known, names, proof)
        if reply.code == 535 and config.tokens is not None:
            # Valid by its time, but perhaps revoked: another one, once.
            another = config.tokens.renewed(proof)
            if another is not None:
                proof = another
                reply = self._try(known, names, proof)
        if is_yes(reply):
            return None
        said = response_text(_scrubbed(reply, config.username, proof))
        return MessageDeferred(
            f"{config.name}: the server refused the {what}: {reply.code} {said}",
            phase="auth",
            code=reply.code,
            reply=said,
        )

    @sensitive_variables()
    def _try(
        self, known: Mapping[str, Sequence[auth.Mechanism]], names: Sequence[str], proof: str
    ) -> Reply:
        """The server's most telling word on a password or token."""
        replies: list[Reply] = []
        for name in names:
            for mechanism in known[name]:
                reply = self._authenticate(name, mechanism(self._config.username, proof))
                if is_yes(reply) or not _blames_mechanism(reply):
                    return reply
                replies.append(reply)
        already = next((reply for reply in replies if reply.code == 503), None)
        if already is not None:
            # RFC 4954, 4: AUTH isn't permitted in this state, such as in a session that is logged
            # in. This one isn't by us; but some servers log in a client by its address or
            # certificate and say so here, and smtplib goes on. Where it goes on, so do we: a server
            # that wanted a password after all refuses MAIL, before anything was handed over.
            return Reply(235, already.text)
        # What it says of the account is more telling than that it doesn't know a command.
        return min(replies, key=lambda reply: reply.code in _NOT_KNOWN)

    @sensitive_variables()
    def _authenticate(self, mechanism: str, encode: auth.Encoder) -> Reply:
        first = encode(None)
        line = f"AUTH {mechanism}"
        if first is not None:
            line += " " + (_base64(first) or "=")
        reply = Reply(*self.docmd(line))
        for _ in range(_MAX_CHALLENGES):
            if reply.code != 334:
                break
            answer = encode(_challenge(reply.text))
            reply = Reply(*self.docmd(_base64(answer or b"")))
        return reply


def _blames_mechanism(reply: Reply) -> bool:
    """Whether a refusal is about the mechanism, so that another one may work."""
    if not is_no(reply) or reply.code == 421:
        return False
    text = reply.text.decode("utf-8", "replace")
    return reply.code in _TRY_ANOTHER or bool(_BLAMES_MECHANISM.search(text))


def _challenge(words: bytes) -> bytes:
    """A challenge, decoded; as it is where it isn't base64, for some servers prompt in words."""
    try:
        return base64.decodebytes(words)
    except binascii.Error:
        return words


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


@sensitive_variables()
def _scrubbed(reply: Reply, username: str, password: str) -> Reply:
    """A reply at AUTH without what the server may echo: some do. Before anything cuts it."""
    secrets = {password, password.strip(), ascii(password)[1:-1]}
    # Base64 of few characters is too short to be told from a word.
    made = [auth.plain, auth.xoauth2, auth.oauthbearer]
    for sent in (
        password.encode(),
        username.encode(),
        *(mechanism(username, password)(None) for mechanism in made),
    ):
        encoded = _base64(sent or b"")
        secrets |= {encoded, encoded.rstrip("=")}
    said = reply.text.decode("utf-8", "replace")
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        said = said.replace(secret, "…")
    return Reply(reply.code, _BASE64.sub(_unless_words, said).encode())


def _unless_words(found: re.Match[str]) -> str:
    return found[0] if _WORDS.fullmatch(found[0]) else "…"


@contextmanager
def _phase(phase: str, name: str) -> Iterator[None]:
    """Turn a failure into MessageDeferred that says where it happened."""
    try:
        yield
    except EmailDeliveryError:
        raise
    except OSError as error:
        raise connection_lost(name, phase, error) from error
