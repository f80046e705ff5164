"""What a hostile server says on one connection, and what it makes of what it is told."""

import base64
import contextlib
import hmac
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.support.servers.hostile_connection import Connection
from tests.support.servers.smtp_server import Received

if TYPE_CHECKING:
    from tests.support.servers.hostile import HostileServer

#: After these a client waits for the answer, even with PIPELINING (RFC 2920 3.1). Postfix and
#: Exim hang up on one that doesn't.
_LAST_IN_A_GROUP = ("EHLO", "HELO", "STARTTLS", "AUTH", "DATA", "NOOP")
#: Replies to BDAT after which the chunk itself is read as commands.
_NOT_IMPLEMENTED = ("500", "502", "504")
_CHALLENGE = b"<1896.697170952@hostile.example>"


class Session:
    """One connection, to its end."""

    def __init__(self, server: "HostileServer", connection: Connection) -> None:
        self._server = server
        self._wire = connection
        self._is_encrypted = False
        self._is_logged_in = False
        self._reads_before = 0
        self._reset()

    def run(self) -> None:
        """Obey the client until one of both leaves."""
        self._wire.answer("connect", "")
        if self._server.encryption == "ssl":
            self._encrypt()
        self._wire.answer("banner", "220 hostile.example ESMTP")
        while True:
            line = self._wire.take_until(b"\n").rstrip(b"\r").decode("utf-8", "replace")
            verb, _, rest = line.partition(" ")
            self._server.transcript.append(
                line if verb.upper() != "AUTH" else _without_secret(line)
            )
            self._obey(verb.upper(), rest)

    def _reset(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._chunks: list[bytes] = []

    def _encrypt(self) -> None:
        self._wire.encrypt()
        self._is_encrypted = True

    def _obey(self, verb: str, rest: str) -> None:
        commands: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": lambda _rest: self._wire.reply("250 2.0.0 OK"),
            "QUIT": self._quit,
        }
        if verb not in commands or (verb == "BDAT" and not self._offers("CHUNKING")):
            self._wire.reply("500 5.5.2 What?")
            return
        if verb != "BDAT" and self._wire.buffer:
            self._require_turn(verb)
        commands[verb](rest)

    def _offers(self, extension: str) -> bool:
        return any(item.split()[0] == extension for item in self._server.extensions)

    def _require_turn(self, verb: str) -> None:
        if verb in _LAST_IN_A_GROUP or not self._offers("PIPELINING"):
            self._server.violations.append(f"more was sent with {verb} than may be")
            self._wire.reply("554 5.5.0 Out of turn")
            self._wire.flush()
            raise ConnectionError("out of turn")

    # Before a message

    def _ehlo(self, rest: str) -> None:
        self._reset()
        lines = ["hostile.example", *self._server.extensions]
        if self._server.encryption == "starttls" and not self._is_encrypted:
            lines.append("STARTTLS")
        elif self._server.auth:
            lines.append("AUTH " + " ".join(self._server.mechanisms))
        text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}"
        self._wire.answer("ehlo", text)

    def _helo(self, rest: str) -> None:
        self._reset()
        self._wire.answer("ehlo", "250 hostile.example")

    def _starttls(self, rest: str) -> None:
        if self._server.encryption != "starttls" or self._is_encrypted:
            self._wire.reply("503 5.5.1 Not now")
        elif self._wire.answer("starttls", "220 2.0.0 Go ahead"):
            self._encrypt()
            self._reset()

    def _auth(self, rest: str) -> None:
        if not self._server.auth or not self._may_talk():
            self._wire.reply("503 5.5.1 Not now")
            return
        fault = self._wire.fault("auth")
        if fault is not None and fault.kind != "slow":
            self._wire.play(fault, "")
            return
        mechanism, _, initial = rest.partition(" ")
        pair: tuple[str, str] | None = None
        with contextlib.suppress(ValueError):  # no base64, no UTF-8, or a part is missing
            pair = self._credentials(mechanism.upper(), initial)
        expected = (self._server.username, self._server.password)
        self._is_logged_in = pair == expected
        if pair is not None:
            self._server.logins.append(pair)
        self._wire.play(fault, "235 2.7.0 Welcome" if pair == expected else "535 5.7.8 No")
        self._reset()

    def _credentials(self, mechanism: str, initial: str) -> tuple[str, str] | None:
        if mechanism not in self._server.mechanisms:
            return None
        if mechanism == "PLAIN":
            given = _decoded(initial) if initial else self._ask(b"")
            _identity, name, password = given.split(b"\0")
            return name.decode(), password.decode()
        if mechanism in ("XOAUTH2", "OAUTHBEARER"):
            return self._token(mechanism, _decoded(initial) if initial else self._ask(b""))
        if mechanism == "LOGIN":
            name = _decoded(initial) if initial else self._ask(b"Username:")
            return name.decode(), self._ask(b"Password:").decode()
        name, _, digest = self._ask(_CHALLENGE).rpartition(b" ")
        right = hmac.new(self._server.password.encode(), _CHALLENGE, "md5").hexdigest()
        return name.decode(), self._server.password if digest.decode() == right else ""

    def _token(self, mechanism: str, given: bytes) -> tuple[str, str]:
        """The pair that is expected if the token is taken; its error first if it isn't."""
        found = re.search(
            r"(?:user=|a=)([^,\x01]+).*auth=Bearer ([^\x01]+)\x01\x01", given.decode(), re.S
        )
        user, token = (found[1], found[2]) if found else ("", "")
        if self._server.takes_token(user, token):
            self._server.tokens.append((user, token))
            return self._server.username, self._server.password
        answer = self._ask(b'{"status":"400","schemes":"Bearer"}')
        if answer != (b"" if mechanism == "XOAUTH2" else b"\1"):
            self._server.violations.append(f"{answer!r} answers the error of {mechanism}")
        return user, ""

    def _ask(self, challenge: bytes) -> bytes:
        self._wire.reply("334 " + base64.b64encode(challenge).decode())
        return _decoded(self._wire.take_until(b"\r\n").decode())

    def _may_talk(self) -> bool:
        return self._server.encryption != "starttls" or self._is_encrypted

    # A message

    def _mail(self, rest: str) -> None:
        if not self._may_talk() or (self._server.auth and not self._is_logged_in):
            self._wire.reply("530 5.7.0 Not so")
            return
        fault = self._wire.fault("mail")
        _sender, _, parameters = rest.partition(">")
        if fault is not None and fault.kind == "parameters" and not parameters:
            fault = None
        self._reads_before = self._wire.reads - 1
        if self._wire.play(fault, "250 2.1.0 OK"):
            self._sender = _address(rest)

    def _rcpt(self, rest: str) -> None:
        address = _address(rest)
        fault = self._wire.fault("rcpt")
        if self._sender is None:
            self._wire.reply("503 5.5.1 MAIL first")
        elif fault is not None and fault.kind == "recipients":
            self._wire.reply(dict(fault.replies).get(address, "250 2.1.5 OK"))
            self._server.plan.note(fault)
            self._recipients += [] if address in dict(fault.replies) else [address]
        elif self._wire.play(fault, "250 2.1.5 OK"):
            self._recipients.append(address)

    def _data(self, rest: str) -> None:
        fault = self._wire.fault("data")
        if fault is None and not self._recipients:
            self._wire.reply("503 5.5.1 RCPT first")
        elif self._wire.play(fault, "354 Go ahead"):
            self._wire.flush()
            if (content := self._body(1, self._dotted)) is not None:
                self._finish(content)

    def _dotted(self) -> bytes:
        self._wire.need(3)
        if self._wire.buffer.startswith(b".\r\n"):
            self._wire.take(3)
            return b""
        content = self._wire.take_until(b"\r\n.\r\n") + b"\r\n"
        return re.sub(rb"(?m)^\.", b"", content)

    def _bdat(self, rest: str) -> None:
        words = re.fullmatch(r"(\d+)(?i: (LAST))?", rest)
        if words is None:
            self._wire.reply("501 5.5.4 BDAT how?")
            return
        size, is_last = int(words[1]), bool(words[2])
        fault = self._wire.fault("data" if self._sender is not None else "probe")
        is_refused = not self._wire.play(fault, "")
        if is_refused and fault is not None and fault.words.startswith(_NOT_IMPLEMENTED):
            return
        if self._sender is None:
            chunk: bytes | None = self._wire.take(size)
        else:
            chunk = self._body(min(size, 1000) // 2, lambda: self._wire.take(size))
        if is_refused or chunk is None:
            self._reset()
            return
        self._chunks.append(chunk)
        if not self._recipients:
            self._wire.reply("503 5.5.1 RCPT first")
        elif is_last:
            self._finish(b"".join(self._chunks))
        else:
            self._wire.reply(f"250 2.0.0 {size} octets")

    def _body(self, some: int, read: Callable[[], bytes]) -> bytes | None:
        fault = self._wire.fault("body")
        is_accepted = True
        if fault is not None:
            self._wire.need(some)
            is_accepted = self._wire.play(fault, "")
        content = read()
        return content if is_accepted else None

    def _finish(self, content: bytes) -> None:
        fault = self._wire.fault("end")
        if fault is None or fault.kind == "slow" or fault.taken:
            assert self._sender is not None
            self._server.writes.append(self._wire.reads - self._reads_before)
            self._server.received.append(Received(self._sender, self._recipients, content))
        self._wire.play(fault, "250 2.0.0 Taken")
        self._reset()
        if (late := self._wire.fault("after")) is not None:
            self._wire.play(late, "")
        self._wire.wait_idle()

    def _rset(self, rest: str) -> None:
        self._reset()
        self._wire.answer("reset", "250 2.0.0 OK")

    def _quit(self, rest: str) -> None:
        self._wire.answer("quit", "221 2.0.0 Bye")
        self._wire.flush()
        raise ConnectionError("quit")


def _without_secret(line: str) -> str:
    return " ".join(line.split()[:2])


def _address(text: str) -> str:
    return text.partition("<")[2].partition(">")[0]


def _decoded(text: str) -> bytes:
    return base64.b64decode(text if text != "=" else "", validate=True)
