"""Read a mailbox by IMAP: guarded connections, verified certificates, limits for everything.

The mailbox is opened for reading only, so nothing in it changes.
"""

import imaplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from typing import Any

from django.views.decorators.debug import sensitive_variables

from wagtail_smtp.config.validation import may_log_in_without_tls
from wagtail_smtp.config.values import TransportConfig
from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred
from wagtail_smtp.transports import guard
from wagtail_smtp.transports.base import Stage, StageTimer
from wagtail_smtp.transports.smtp.connect import oauthbearer, plain, xoauth2
from wagtail_smtp.transports.tls import ssl_context

INSTALL = 'pip install "wagtail-smtp[bounces]"'
#: Ports on which loopback and private servers are allowed without ALLOWED_NETWORKS.
PORTS = frozenset({143, 993})
#: Bytes of one item of a response; nothing that is requested is larger.
_LARGEST = 1024 * 1024
#: Bytes of a message's headers that are read.
_HEADERS = 16 * 1024
#: Messages that are searched and whose headers are read at a time. If a range of numbers is empty,
#: the next one is ten times as long, up to what fits into one line of a response.
_STEP, _LONGEST_RANGE = 100, 50_000
#: How many of them the server may refuse to return.
_REFUSED = 5
#: Seconds for a check, after that of the server.
_CHECK = 8.0
#: The reply code that causes know a refused login by (RFC 4954).
_LOGIN_REFUSED = 535


def is_installed() -> bool:
    """Whether the packages of the extra ``bounces`` are installed."""
    try:
        return all(find_spec(name) for name in ("imapclient", "flufl.bounce"))
    except ModuleNotFoundError:  # the parent of flufl.bounce
        return False


class Mailbox:
    """A folder of a mailbox. Use with ``with``, which connects.

    Args:
        config: the server and the login. Its ``name`` is used in errors.
        seconds: how long everything may take together.

    Attributes:
        validity: if it changes, the folder's messages have other numbers (RFC 3501 2.3.1.1).
        number: of messages in the folder.
    """

    def __init__(self, config: TransportConfig, folder: str, seconds: float) -> None:
        self._config = config
        self._folder = folder
        self._until = time.monotonic() + seconds
        self._at = "connect"
        self._client: Any = None
        self._sock: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self.validity = self.number = self._next = 0

    def __enter__(self) -> "Mailbox":
        try:
            self._timer.start()
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._client is not None:
            with suppress(imaplib.IMAP4.error, OSError):
                self._client.logout()
            with suppress(imaplib.IMAP4.error, OSError):
                self._client.shutdown()
        # Only now: a server may take any time over the last response too.
        self._timer.cancel()

    def _cut(self) -> None:
        """End a response that takes too long, however slowly it arrives."""
        # STARTTLS puts another socket in place of the first.
        sock: Any = self._client.socket() if self._client is not None else self._sock
        with suppress(AttributeError, OSError):
            sock.shutdown(socket.SHUT_RDWR)

    @property
    def left(self) -> float:
        """Seconds that are left; never 0, which would mean a non-blocking socket."""
        return max(self._until - time.monotonic(), 0.001)

    def _open(self) -> None:
        config = self._config
        if not is_installed():
            raise self._failure(f"a package is missing. Run: {INSTALL}")
        timeout = min(config.timeout, self.left)
        with self._errors("connect"):
            addresses = guard.resolve(config.host, config.port, ports=PORTS, within=timeout)
            context = None if config.encryption == "none" else ssl_context(config.ca_certificates)
            self._client = guard.open_first(
                addresses, timeout, lambda sock: self._greeted(sock, context)
            )
        if config.encryption == "starttls":
            with self._errors("starttls"):
                self._client.starttls(context)
        self._log_in()
        with self._errors("folder"):
            found = self._client.select_folder(self._folder, readonly=True)
            self.validity = int(found[b"UIDVALIDITY"])
            self.number = int(found[b"EXISTS"])
            self._next = int(found.get(b"UIDNEXT", 0)) or self._highest() + 1

    def _highest(self) -> int:
        """The highest number, for servers that don't say the next one (RFC 3501 7.1).

        No higher one may be taken for read: the next message would be missed.
        """
        return max(self._client.search(["UID", "*"]), default=0) if self.number else 0

    def _greeted(self, sock: socket.socket, context: ssl.SSLContext | None) -> Any:
        if context is not None and self._config.encryption == "ssl":
            self._at = "tls"
            sock = context.wrap_socket(sock, server_hostname=self._config.host)
        self._at = "banner"
        self._sock = sock
        return _client(sock, self._config)

    @sensitive_variables()
    def _log_in(self) -> None:
        config = self._config
        refusal: EmailDeliveryError | None = None
        with self._errors("auth"):
            if config.encryption == "none" and not may_log_in_without_tls(config.host):
                raise OSError("logging in without TLS is not allowed")
            try:
                refusal = self._try_to_log_in()
            except EmailDeliveryError as error:
                refusal = error.with_traceback(None)  # of the token request
            except (UnicodeError, OSError) as error:
                refusal = self._failure(type(error).__name__)
        if refusal is not None:
            # Without its cause, whose frames contain the password.
            raise refusal from None

    @sensitive_variables()
    def _try_to_log_in(self) -> EmailDeliveryError | None:
        config = self._config
        if config.tokens is None:
            return self._refusal(config.password)
        token = config.tokens.current()
        refusal = self._refusal(token)
        if refusal is not None and (another := config.tokens.renewed(token)) is not None:
            refusal = self._refusal(another)
        return refusal

    @sensitive_variables()
    def _refusal(self, proof: str) -> EmailDeliveryError | None:
        """Log in; return why the server refuses, or None."""
        config, client = self._config, self._client
        offered = {each.upper() for each in client.capabilities()}
        try:
            if config.tokens is None and b"AUTH=PLAIN" in offered:
                client.sasl_login("PLAIN", plain(config.username, proof))
            elif config.tokens is None and b"LOGINDISABLED" not in offered:
                client.login(config.username, proof)
            elif config.tokens is not None and b"AUTH=XOAUTH2" in offered:
                client.sasl_login("XOAUTH2", xoauth2(config.username, proof))
            elif config.tokens is not None and b"AUTH=OAUTHBEARER" in offered:
                client.sasl_login("OAUTHBEARER", oauthbearer(config.username, proof))
            else:
                return self._failure("the server offers no supported login method")
        except imaplib.IMAP4.abort:
            return self._failure("the server closed the connection")
        except imaplib.IMAP4.error:
            # Without the response: it may contain what was sent.
            what = "username or password" if config.tokens is None else "access token"
            return MessageDeferred(
                f"{config.name}: the mailbox's server refused the {what}.",
                phase="auth",
                code=_LOGIN_REFUSED,
            )
        return None

    def after(self, number: int, since: date) -> Iterator[tuple[int, list[int]]]:
        """Yield the messages with a higher number, in steps.

        Args:
            since: leave out messages that are older.

        Yields:
            The number up to which messages have been found, and the numbers of the messages.
        """
        width = _STEP
        while number + 1 < self._next:
            last = min(number + width, self._next - 1)
            with self._errors("mailbox"):
                wanted = ["UID", f"{number + 1}:{last}", "SINCE", since]
                found = sorted(uid for uid in self._client.search(wanted) if number < uid <= last)
            width = _STEP if found else min(width * 10, _LONGEST_RANGE)
            for start in range(0, len(found), _STEP):
                step = found[start:][:_STEP]
                yield (step[-1] if step[-1] != found[-1] else last), step
            if not found:
                yield last, []
            number = last

    def headers(self, numbers: Sequence[int], names: Sequence[str]) -> dict[int, bytes]:
        """These headers of messages, by their numbers; the messages stay unread.

        A message that the server refuses to return is missing, unless it refuses many or all.
        """
        if not numbers:
            return {}
        fields = " ".join(name.upper() for name in names)
        what = f"BODY.PEEK[HEADER.FIELDS ({fields})]<0.{_HEADERS}>"
        with self._errors("mailbox"):
            try:
                return self._fetched(numbers, what)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error:
                return self._one_by_one(numbers, what)

    def _one_by_one(self, numbers: Sequence[int], what: str) -> dict[int, bytes]:
        """Fetch each message singly: Exchange refuses all if it can't convert one of them."""
        found: dict[int, bytes] = {}
        refused = 0
        for number in numbers:
            try:
                found |= self._fetched([number], what)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error:
                refused += 1
                if refused == min(_REFUSED, len(numbers)):
                    raise  # the messages aren't the reason
        return found

    def content(self, number: int, size: int) -> bytes | None:
        """The first ``size`` bytes of a message; None if it has gone meanwhile."""
        with self._errors("mailbox"):
            return self._fetched([number], f"BODY.PEEK[]<0.{size}>").get(number)

    def _fetched(self, numbers: Sequence[int], what: str) -> dict[int, bytes]:
        bodies = {
            uid: next((v for k, v in items.items() if k.startswith(b"BODY[")), None)
            for uid, items in self._client.fetch(numbers, [what]).items()
        }
        return {uid: body for uid, body in bodies.items() if isinstance(body, bytes)}

    @contextmanager
    def _errors(self, phase: str) -> Iterator[None]:
        """Raise MessageDeferred with this phase for every error of the connection."""
        self._at = phase
        try:
            yield
        except EmailDeliveryError:
            raise
        except (imaplib.IMAP4.error, OSError, ValueError, KeyError, TypeError) as error:
            raise self._failure(str(error) or type(error).__name__) from error

    def _failure(self, why: str) -> MessageDeferred:
        name, phase = self._config.name, self._at
        text = "".join(c if c.isprintable() else " " for c in why[:400])
        reply = text if phase == "folder" else ""
        return MessageDeferred(f"{name}: failed at {phase}: {text}", phase=phase, reply=reply)


def check_mailbox(config: TransportConfig, folder: str) -> Stage:
    """Connect to a mailbox, log in and open the folder; errors are in the stage."""
    timer = StageTimer("mailbox")
    try:
        with Mailbox(replace(config, timeout=min(config.timeout, 4)), folder, _CHECK) as mailbox:
            return timer.passed(messages=mailbox.number)
    except EmailDeliveryError as error:
        return timer.failed(error)


def _client(sock: socket.socket, config: TransportConfig) -> Any:
    """IMAPClient on a socket that is connected already.

    Neither IMAPClient nor imaplib has a public way for that. Both create the socket in a method
    that can be overridden.
    """
    from imapclient import IMAPClient

    class IMAP4(imaplib.IMAP4):
        # IMAPClient sets it, and would log what is sent and received, such as access tokens.
        debug = property(lambda self: 0, lambda self, level: None)

        def _create_socket(self, timeout: float | None) -> socket.socket:
            return sock

        def read(self, size: int) -> bytes:
            if size > _LARGEST:
                raise self.abort("a response is too large")
            return super().read(size)

    class Client(IMAPClient):  # type: ignore[misc]  # has no types
        def _create_IMAP4(self) -> imaplib.IMAP4:  # its name
            return IMAP4(config.host, timeout=config.timeout)

    return Client(config.host, config.port, ssl=False, timeout=config.timeout)
