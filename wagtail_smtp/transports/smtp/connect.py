"""Open a session in stages: resolve, connect, encrypt, greet, log in.

smtplib does the greeting, STARTTLS and AUTH, but
:class:`~wagtail_smtp.transports.smtp.stream.SMTPStream` reads the replies.
"""

import base64
import binascii
import hashlib
import hmac
import math
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.core.mail.utils import DNS_NAME
from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.validation import ascii_host, may_log_in_without_tls
from wagtail_smtp.config.values import TransportConfig
from wagtail_smtp.exceptions import AttemptFailed, EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.base import StageName
from wagtail_smtp.transports.smtp.stream import (
    Reply,
    SMTPStream,
    UnreadableReply,
    classify_reply,
    connection_lost,
    is_negative,
    is_positive,
    response_text,
)

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


#: The stages at one address. If one fails, the host's next address is tried.
_ORDER: Sequence[StageName] = ("connect", "tls", "greeting")
#: Replies that only say that the server doesn't know a mechanism.
_NOT_KNOWN = (500, 501, 502, 503, 504)
#: Replies that refuse the mechanism, not the password.
_TRY_ANOTHER = (*_NOT_KNOWN, 530, 534, 538, 550, 553, 555)
#: The same as a pattern. Wrong passwords may lock the account, so no other mechanism is tried
#: after a refusal that isn't about the mechanism.
_BLAMES_MECHANISM = re.compile(
    r"mechanism|auth(?:entication)?[ -](?:method|type)"
    r"|\b(?:PLAIN|LOGIN|CRAM-MD5|XOAUTH2|OAUTHBEARER)\b.*\b(?:unsupported|unavailable|disabled"
    r"|not (?:supported|available|allowed|enabled|permitted|implemented))\b",
    re.IGNORECASE | re.DOTALL,
)
#: Maximum challenges of one login, as in smtplib.
_MAX_CHALLENGES = 5
#: Text that may be a secret in base64.
_BASE64 = re.compile(r"[A-Za-z0-9+/]{12,}={0,2}")
#: Words that match it, such as Authentication or SmtpClientAuthentication.
_WORDS = re.compile(r"[A-Za-z]?[a-z]{3,}(?:[A-Z][a-z]{3,})*|[A-Z]+")


class Connector(smtplib.SMTP):
    """smtplib's client with allowed addresses only, our own reader and strict TLS."""

    stream: SMTPStream
    at: StageName

    def __init__(
        self, config: TransportConfig, context: ssl.SSLContext | None, until: float = math.inf
    ) -> None:
        self._config = config
        self._context = context
        #: Deadline for everything (monotonic time).
        self._until = until
        super().__init__(
            local_hostname=ascii_host(config.ehlo_name or DNS_NAME.get_fqdn()),
            timeout=config.timeout,
        )

    def steps(self) -> Iterator[StageName]:
        """Open the session; yield each stage when it is done. ``at`` is the current stage.

        Raises:
            MessageDeferred: the server could not be reached or refused the session.
            DestinationRefused: connecting to this address is not allowed.
        """
        config = self._config
        self.at = "resolve"
        with _phase("connect", config.name):
            self.addresses = guard.resolve(
                config.host,
                config.port,
                any_port=config.is_standard_server,
                within=None if self._until == math.inf else self._left(),
            )
        yield self.at
        yield from self._connect_to_host()
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

    def _connect_to_host(self) -> Iterator[StageName]:
        """Try the host's addresses until one of them sends a greeting.

        Raises:
            MessageDeferred: none does; the error is from the address that got furthest.
        """
        config = self._config
        done: set[StageName] = set()
        furthest: tuple[StageName, AttemptFailed] | None = None
        for address, until in guard.with_deadlines(
            self.addresses, min(config.timeout, self._left() / 2)
        ):
            try:
                for stage in self._connect_to_address(address, until):
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
            del furthest  # the error's traceback refers to this frame

    def _connect_to_address(self, address: guard.Address, until: float) -> Iterator[StageName]:
        """Connect to one address, set up SSL/TLS if configured, and read the greeting."""
        config = self._config
        self.at = "connect"
        with _phase("connect", config.name):
            self.sock = sock = guard.connect(address, until, config.timeout)
        yield self.at
        if config.encryption == "ssl":
            sock = self._encrypt(sock, until)
            yield self.at
        self.at = "greeting"
        self.stream = SMTPStream(sock, config.timeout, self._until)
        with _phase("banner", config.name):
            wait = min(config.timeout, max(until - time.monotonic(), 0.001))
            reply = self.stream.read_reply(wait)
            self._expect("banner", (reply.code, reply.text), 220)

    def _left(self) -> float:
        """Seconds until the deadline; never 0, which would mean a non-blocking socket."""
        return max(self._until - time.monotonic(), 0.001)

    def getreply(self) -> tuple[int, bytes]:
        """Read the next reply with our own reader."""
        reply = self.stream.read_reply()
        return reply.code, reply.text

    def _introduce(self) -> None:
        """Send EHLO, or HELO to a server that refuses it."""
        with _phase("ehlo", self._config.name):
            reply = Reply(*self.ehlo())
            # After 421 the server closes the connection, and HELO would hide its reason.
            if not is_positive(reply) and reply.code != 421:
                reply = Reply(*self.helo())
            if not is_positive(reply):
                raise classify_reply(self._config.name, "ehlo", reply)

    def _encrypt(self, sock: socket.socket, until: float = math.inf) -> ssl.SSLSocket:
        self.at = "tls"
        left = min(self._until, until) - time.monotonic()
        sock.settimeout(min(self._config.timeout, max(left, 0.001)))
        assert self._context is not None
        with _phase("tls", self._config.name):
            encrypted = self._context.wrap_socket(sock, server_hostname=self._config.host)
        self.sock = encrypted
        return encrypted

    def _expect(self, phase: str, reply: tuple[int, bytes], code: int) -> None:
        if reply[0] != code:
            raise classify_reply(self._config.name, phase, Reply(*reply))

    def _upgrade(self) -> None:
        """Send STARTTLS and encrypt; fail if that is impossible or data came too early."""
        self.at = "tls"
        with _phase("starttls", self._config.name):
            if not self.has_extn("starttls"):
                raise smtplib.SMTPNotSupportedError(
                    "the server doesn't offer STARTTLS, and the email is not sent unencrypted"
                )
            self._expect("starttls", self.docmd("STARTTLS"), 220)
            # Replies injected before TLS would be read as if encrypted (CVE-2011-0411).
            if not self.stream.is_silent():
                raise smtplib.SMTPServerDisconnected(
                    "the server sent data before the TLS handshake"
                )
        self.stream = SMTPStream(self._encrypt(self.stream.sock), self._config.timeout, self._until)
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
        self._introduce()

    @sensitive_variables()
    def log_in(self) -> None:
        """Log in with AUTH; only over TLS, unless the host may be used without."""
        config = self._config
        refusal: EmailDeliveryError | None = None
        try:
            refusal = self._log_in()
        except EmailDeliveryError as error:
            # From the token request; its message says what failed.
            refusal = error.with_traceback(None)
        except (UnreadableReply, ValueError):
            # Invalid base64, or anything else that may echo the password.
            why = "the server's response can't be read"
            refusal = MessageDeferred(f"{config.name}: failed at auth: {why}.", phase="auth")
        except OSError as error:
            refusal = MessageDeferred(f"{config.name}: failed at auth: {error}", phase="auth")
        if refusal is not None:
            # Raised here without its cause: error pages show stack frames, those below contain the
            # password, and some servers echo it.
            raise refusal from None

    @sensitive_variables()
    def _log_in(self) -> MessageDeferred | None:
        config = self._config
        if config.encryption == "none" and not may_log_in_without_tls(config.host):
            raise smtplib.SMTPNotSupportedError("logging in without TLS is not allowed")
        offered = self.esmtp_features.get("auth", "").split()
        known = FOR_PASSWORDS if config.tokens is None else FOR_TOKENS
        names = mechanisms(known, offered)
        if not names:
            raise smtplib.SMTPNotSupportedError(
                "the server offers no supported login method "
                f"({' '.join(offered) or 'none at all'})"
            )
        if config.tokens is None:
            proof, what = config.password, "username or password"
        else:
            proof, what = config.tokens.current(), "access token"
        reply = self._try(known, names, proof)
        if reply.code == 535 and config.tokens is not None:
            # It hasn't expired but may be revoked: try a new one, once.
            another = config.tokens.renewed(proof)
            if another is not None:
                proof = another
                reply = self._try(known, names, proof)
        if is_positive(reply):
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
        self, known: Mapping[str, Sequence[Mechanism]], names: Sequence[str], proof: str
    ) -> Reply:
        """Try the mechanisms; return the most informative reply."""
        replies: list[Reply] = []
        for name in names:
            for mechanism in known[name]:
                reply = self._authenticate(name, mechanism(self._config.username, proof))
                if is_positive(reply) or not _blames_mechanism(reply):
                    return reply
                replies.append(reply)
        already = next((reply for reply in replies if reply.code == 503), None)
        if already is not None:
            # 503 can mean that the session is logged in already (RFC 4954 4): some servers
            # authenticate a client by its address or certificate. Continue, as smtplib does: a
            # server that needs a password refuses MAIL, before the message is sent.
            return Reply(235, already.text)
        # A reply about the account says more than one about an unknown command.
        return min(replies, key=lambda reply: reply.code in _NOT_KNOWN)

    @sensitive_variables()
    def _authenticate(self, mechanism: str, encode: Encoder) -> Reply:
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
    """Whether a refusal is about the mechanism, so that another may work."""
    if not is_negative(reply) or reply.code == 421:
        return False
    text = reply.text.decode("utf-8", "replace")
    return reply.code in _TRY_ANOTHER or bool(_BLAMES_MECHANISM.search(text))


def _challenge(text: bytes) -> bytes:
    """Decode a challenge; some servers send plain text instead of base64."""
    try:
        return base64.decodebytes(text)
    except binascii.Error:
        return text


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


@sensitive_variables()
def _scrubbed(reply: Reply, username: str, password: str) -> Reply:
    """Remove secrets that the server echoes from a reply to AUTH, before it is shortened."""
    secrets = {password, password.strip(), ascii(password)[1:-1]}
    # The pattern below can't tell short base64 from a word.
    made = [plain, xoauth2, oauthbearer]
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
    """Raise MessageDeferred with this phase for connection errors."""
    try:
        yield
    except EmailDeliveryError:
        raise
    except OSError as error:
        raise connection_lost(name, phase, error) from error
