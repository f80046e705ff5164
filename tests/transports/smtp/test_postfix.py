"""A real Postfix takes what the plugin sends: each message once and whole, or not at all."""

from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from typing import Any

import pytest
from django.core.mail import EmailMessage

from tests.conftest import MakeSet
from tests.support.servers.postfix import Postfix, require_postfix
from tests.test_backend import _in_threads
from wagtail_smtp.backend import EmailBackend
from wagtail_smtp.exceptions import EmailDeliveryError, MessageDeferred, MessageRefused
from wagtail_smtp.transports import mime

pytestmark = pytest.mark.django_db

Start = Callable[..., Postfix]

#: What Postfix is told not to offer.
WITHOUT = {
    "everything": (),
    "no-chunking": ("chunking",),
    "no-pipelining": ("pipelining",),
    "neither": ("pipelining", "chunking"),
}
each_way = pytest.mark.parametrize("discard", WITHOUT.values(), ids=list(WITHOUT))

DOTS = (*(".", "..", ".a leading dot", "", ".", "QUIT", "RSET", "€ and 😀", " a blank "), "", ".")
LONG = ("long " * 190, "ä" * 490, "." * 990, *DOTS)
#: The first header field that a message comes with.
FIRST = b"Content-Type: text/plain"
#: The last line with and without an end of its own. Only DOTS are short enough to stay 8bit.
BODIES = tuple("\n".join(lines) + end for lines in (DOTS, LONG) for end in ("", "\n", "\r\n\r\n"))


@pytest.fixture
def start(make_set: MakeSet, reload: Callable[[], Any]) -> Iterator[Start]:
    """Start Postfix and make a set for it live: ``start(discard=…)``, ``values`` are the set's."""
    require_postfix()
    servers = []

    def run(*, ssl: bool = False, values: dict[str, Any] | None = None, **options: Any) -> Postfix:
        server = Postfix(**options).__enter__()
        servers.append(server)
        encryption = {"port": server.ssl_port, "encryption": "ssl"} if ssl else {}
        make_set(server, **encryption, **(values or {}))
        reload()
        return server

    yield run
    for server in servers:
        server.__exit__()


def _message(*users: str, **values: Any) -> EmailMessage:
    defaults = {
        "subject": "Grüße",
        "body": "Body",
        "from_email": Postfix.username,
        "to": [f"{user}@{Postfix.domain}" for user in users],
    }
    headers = {"Message-ID": "<1@example.com>", "Date": "Mon, 23 Nov 2026 10:00:00 -0000"}
    return EmailMessage(**defaults | values, headers=headers)


def _contents(content: bytes) -> list[tuple[str, str | None, Any]]:
    """Type, file name and payload of each part."""
    message = message_from_bytes(content, policy=policy.default)
    return [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True))
        for part in message.walk()
    ]


@each_way
@pytest.mark.parametrize("ssl", [False, True], ids=["starttls", "ssl"])
def test_arrives_byte_for_byte(start: Start, discard: tuple[str, ...], ssl: bool) -> None:
    server = start(discard=discard, ssl=ssl)
    sent = []
    for body in BODIES:
        message = _message("one", body=body)
        sent.append(mime.to_bytes(message).replace(b"\r\n", b"\n").removesuffix(b"\n") + b"\n")
        assert message.send() == 1
    arrived = server.messages()
    assert all(b" with ESMTPSA " in content for content in arrived)
    # Postfix puts its own header fields in front.
    assert sorted(content[content.index(FIRST) :] for content in arrived) == sorted(sent)
    assert sum(b"\nContent-Transfer-Encoding: 8bit\n" in content for content in sent) >= 3


@each_way
def test_attachments(start: Start, discard: tuple[str, ...]) -> None:
    server = start(discard=discard)
    message = _message("one", body=BODIES[0])
    message.attach("all.bin", bytes(range(256)) * 4000, "application/octet-stream")
    message.attach("dots.txt", "\n".join([*LONG, "." * 5000]), "text/plain")
    content = mime.to_bytes(message)
    assert message.send() == 1
    (arrived,) = server.messages()
    assert _contents(arrived) == _contents(content.replace(b"\r\n", b"\n"))


@each_way
def test_one_recipient_is_unknown(start: Start, discard: tuple[str, ...]) -> None:
    server = start(discard=discard)
    assert _message("one", "nobody", "three").send() == 1
    assert [len(server.messages(user)) for user in ("one", "two", "three")] == [1, 0, 1]
    assert _message("two").send() == 1
    assert len(server.messages()) == 3


@each_way
def test_all_recipients_are_unknown(start: Start, discard: tuple[str, ...]) -> None:
    server = start(discard=discard)
    connection = EmailBackend()
    connection.open()
    with pytest.raises(MessageRefused) as caught:
        connection.send_messages([_message("nobody", "noone")])
    assert (caught.value.phase, caught.value.code) == ("rcpt", 550)
    # What was refused leaves nothing in the session for the next message.
    assert connection.send_messages([_message("one")]) == 1
    connection.close()
    assert len(server.messages()) == 1


@pytest.mark.parametrize("ssl", [False, True], ids=["starttls", "ssl"])
def test_wrong_password(start: Start, ssl: bool) -> None:
    server = start(ssl=ssl, values={"password": "another password"})
    with pytest.raises(MessageDeferred) as caught:
        _message("one").send()
    assert (caught.value.phase, caught.value.code) == ("auth", 535)
    assert server.messages() == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_each_mechanism_alone(start: Start, mechanism: str) -> None:
    server = start(mechanisms=mechanism)
    assert _message("one").send() == 1
    assert len(server.messages()) == 1
    assert f"sasl_method={mechanism}, sasl_username={server.username}" in server.log


@each_way
@pytest.mark.django_db(transaction=True)
def test_250_messages_in_4_threads(start: Start, discard: tuple[str, ...]) -> None:
    server = start(discard=discard)
    waiting = iter(range(250))

    def send() -> None:
        for number in waiting:
            assert _message("one", subject=str(number)).send() == 1

    _in_threads(4, send)
    subjects = [message_from_bytes(message)["Subject"] for message in server.messages()]
    assert sorted(map(int, subjects)) == list(range(250))
    # Sessions are kept from message to message.
    assert server.log.count(": connect from ") <= 8


@each_way
@pytest.mark.parametrize("announced", [True, False])
def test_message_too_large(
    start: Start, discard: tuple[str, ...], announced: bool, configure: Callable[..., None]
) -> None:
    configure(MAX_STORED=1)  # nothing is kept, so the caller hears of it
    server = start(discard=discard if announced else (*discard, "size"), size_limit=50_000)
    connection = EmailBackend()
    connection.open()
    with pytest.raises(EmailDeliveryError) as caught:
        connection.send_messages([_message("one", body="0123456789\n" * 100_000)])
    assert caught.value.retry_is_safe
    assert connection.send_messages([_message("two")]) == 1
    connection.close()
    assert [len(server.messages(user)) for user in ("one", "two", "three")] == [0, 1, 0]


@each_way
def test_only_what_is_offered_is_used(start: Start, discard: tuple[str, ...]) -> None:
    server = start(discard=discard, log_commands=True)
    for _ in range(3):
        assert _message("one").send() == 1
    assert len(server.messages()) == 3
    bodies = [line for line in server.commands if line.upper().startswith(("DATA", "BDAT"))]
    # The first message goes the plain way; the probe behind it is a BDAT of 5 bytes.
    chunks = [line for line in bodies if line.startswith("BDAT") and line != "BDAT 5 LAST"]
    assert bodies[0] == "DATA"
    assert len(chunks) == (0 if set(discard) & {"chunking", "pipelining"} else 2)
    assert server.log.count(": connect from ") == 1
