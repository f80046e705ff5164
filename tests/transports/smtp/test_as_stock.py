"""A server that Django's own backend can log in to and send through, the plugin can as well."""

import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends import smtp

from tests.support.servers.dialects import DIALECTS, PRODUCTS
from tests.support.servers.hostile import HostileServer
from tests.transports.conftest import send
from wagtail_smtp.exceptions import MessageDeferred
from wagtail_smtp.transports.pool import close_all

EVERY = DIALECTS | PRODUCTS


def _stock(server: "HostileServer | Scripted") -> int:
    backend = smtp.EmailBackend(
        alias="stock",
        host="127.0.0.1",
        port=server.port,
        username=server.username,
        password=server.password,
        use_tls=False,
        timeout=5,
    )
    message = EmailMessage("Hi", "Body", "from@example.com", ["to@example.com"])
    return backend.send_messages([message])


@pytest.mark.parametrize("dialect", EVERY.values(), ids=list(EVERY))
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_in_every_dialect(transport_to, dialect, mechanism):
    with HostileServer("none", dialect=dialect, mechanisms=(mechanism,)) as server:
        assert _stock(server) == 1
        send(transport_to(server))
        assert len(server.received) == 2
        assert len(server.logins) == 2


class Scripted:
    """A server that says what it is told to; lines are sent as they are."""

    username, password = "user@example.com", "secret of the tests"
    host, encryption, auth = "127.0.0.1", "none", True

    def __init__(self, answers: dict[str, list[bytes]]) -> None:
        self.answers = answers
        self.commands: list[str] = []

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock, sock.makefile("rb") as lines:
                self._talk(sock, lines)

    def _talk(self, sock: socket.socket, lines: Iterator[bytes]) -> None:
        waiting = {verb: list(answers) for verb, answers in self.answers.items()}

        def say(verb: str) -> None:
            answers = waiting.get(verb) or [_USUAL.get(verb, b"250 OK\r\n")]
            sock.sendall(answers[0])
            if len(answers) > 1:
                answers.pop(0)

        say("")
        for line in lines:
            verb = line.split()[0].decode().upper() if line.split() else "?"
            verb = verb if verb in _VERBS else "?"
            self.commands.append(verb)
            say(verb)
            if verb == "DATA":
                while next(lines) != b".\r\n":
                    pass
                say(".")
            if verb == "QUIT":
                return


_VERBS = ("EHLO", "HELO", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT")
_USUAL = {
    "": b"220 server\r\n",
    "EHLO": b"250-server\r\n250 AUTH PLAIN\r\n",
    "AUTH": b"235 OK\r\n",
    "DATA": b"354 Go\r\n",
    "QUIT": b"221 Bye\r\n",
}


@contextmanager
def scripted(answers: dict[str, list[bytes]]) -> Iterator[Scripted]:
    server = Scripted(answers)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        yield server
        close_all()  # it serves one connection at a time, and the pool keeps ours
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


LOGIN = b"250-server\r\n250 AUTH LOGIN PLAIN\r\n"
#: What servers are known to say, by the command; "" is the banner, "." the end of a message and
#: "?" what follows a challenge.
ODDITIES: dict[str, dict[str, list[bytes]]] = {
    "banner without text": {"": [b"220\r\n"]},
    "banner of many lines": {"": [b"220-Terms of use\r\n" * 300 + b"220 server\r\n"]},
    "lines ended by LF": {"MAIL": [b"250 OK\n"], ".": [b"250 OK\n"]},
    "tab behind the code": {"MAIL": [b"250\tOK\r\n"], "RCPT": [b"250:OK\r\n"]},
    "a long line": {"MAIL": [b"250 " + b"x" * 8000 + b"\r\n"]},
    "another code in the last line": {"MAIL": [b"220-Hello\r\n250 OK\r\n"]},
    "no line end, and gone": {".": [b"250 OK\r\n"], "QUIT": [b"221 Bye"]},
    "recipient will be forwarded": {"RCPT": [b"251 Will forward\r\n"]},
    "keywords in lower case": {"EHLO": [b"250-server\r\n250-size 1000\r\n250 auth PLAIN\r\n"]},
    "old AUTH": {"EHLO": [b"250-server\r\n250 AUTH=PLAIN LOGIN\r\n"]},
    "SIZE that is no number": {
        "EHLO": [b"250-server\r\n250-SIZE=10 MB\r\n250-AUTH PLAIN\r\n250 SIZE\r\n"]
    },
    "keywords behind blanks and tabs": {
        "EHLO": [b"250-server  \r\n250-\r\n250-8BITMIME \t\r\n250 AUTH   PLAIN  \r\n"]
    },
    "bare 235": {"AUTH": [b"235\r\n"]},
    "235 of many lines": {"AUTH": [b"235-Welcome\r\n235-\r\n235 Go on\r\n"]},
    "already logged in": {"AUTH": [b"503 Already authenticated\r\n"]},
    "prompts in words": {
        "EHLO": [b"250-server\r\n250 AUTH LOGIN\r\n"],
        "AUTH": [b"334 Username:\r\n"],
        "?": [b"334 Password:\r\n", b"235 OK\r\n"],
    },
    "LOGIN with the name at once": {
        "EHLO": [b"250-server\r\n250 AUTH LOGIN\r\n"],
        "AUTH": [b"501 Name?\r\n", b"334 UGFzc3dvcmQ6\r\n"],
        "?": [b"235 OK\r\n"],
    },
    "only the other mechanism": {
        "EHLO": [LOGIN],
        "AUTH": [b"535 5.7.8 Invalid authentication mechanism\r\n", b"235 OK\r\n"],
    },
    **{
        f"{code} to a mechanism": {
            "EHLO": [LOGIN],
            "AUTH": [b"%d No\r\n" % code, b"235 OK\r\n"],
        }
        for code in (500, 501, 502, 504, 530, 534, 538, 550, 553, 555)
    },
}


#: These answer the plugin's first try and stock's second, so stock is given what it asks for.
_OURS_ALONE = ("LOGIN with the name at once", "prompts in words")


@pytest.mark.parametrize("name", ODDITIES)
def test_every_oddity(transport_to: Callable[..., object], name: str) -> None:
    with scripted(ODDITIES[name]) as server:
        if name not in _OURS_ALONE:
            assert _stock(server) == 1
        send(transport_to(server))  # type: ignore[arg-type]
        assert "DATA" in server.commands


def test_503_at_auth_risks_nothing(transport_to: Callable[..., object]) -> None:
    """stock reads it as "already logged in". Where it means something else, MAIL is refused."""
    oddity = {
        "EHLO": [LOGIN],
        "AUTH": [b"503 5.5.1 Bad sequence\r\n"] * 9,
        "MAIL": [b"530 5.7.0 Authentication required\r\n"] * 9,
    }
    with scripted(oddity) as server:
        with pytest.raises(smtplib.SMTPException):
            _stock(server)
        with pytest.raises(MessageDeferred) as caught:
            send(transport_to(server))  # type: ignore[arg-type]
    assert (caught.value.phase, caught.value.code) == ("mail", 530)
    assert "DATA" not in server.commands


@pytest.mark.parametrize("code", [535, 432, 454, 525])
def test_a_refused_password_is_tried_once(transport_to, code):
    with (
        scripted({"EHLO": [LOGIN], "AUTH": [b"%d Login incorrect\r\n" % code]}) as server,
        pytest.raises(MessageDeferred),
    ):
        send(transport_to(server))
    assert server.commands.count("AUTH") == 1


def test_the_most_telling_reply_is_reported(transport_to):
    answers = [b"534 5.7.9 Application-specific password required\r\n", b"504 What?\r\n"]
    with (
        scripted({"EHLO": [LOGIN], "AUTH": answers}) as server,
        pytest.raises(MessageDeferred) as caught,
    ):
        send(transport_to(server))
    assert (caught.value.code, caught.value.phase) == (534, "auth")
    assert "Application-specific" in caught.value.reply
