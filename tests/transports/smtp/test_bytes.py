"""The server receives exactly the bytes that Django's own backend would send."""

import hashlib
import inspect
import random
from email import message_from_bytes, policy
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import getaddresses

import django
import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives

from tests.support.servers.hostile import HostileServer
from tests.support.stock import our_bytes, same_each_time, stock_bytes
from wagtail_smtp.config.validation import mailbox
from wagtail_smtp.config.values import SettingsSetConfig, TransportConfig
from wagtail_smtp.delivery.outgoing import build_outgoing, prepare
from wagtail_smtp.transports import mime
from wagtail_smtp.transports.base import Envelope, OutgoingMessage
from wagtail_smtp.transports.smtp.transport import SMTPTransport


def _message(body="Body", subject="Hi", **values):
    return EmailMessage(subject, body, "from@example.com", ["to@example.com"], **values)


def _alternatives():
    message = EmailMultiAlternatives("Hi", "Text", "from@example.com", ["to@example.com"])
    message.attach_alternative("<p>Größe</p>", "text/html")
    message.attach("file.bin", bytes(range(256)) * 20, "application/octet-stream")
    message.attach("räum.txt", "Zeile\r\n.\r\nnoch eine", "text/plain")
    return message


def _large():
    """Attachments around the sizes at which encoding begins a line or a block."""
    message = _message("See below")
    for number, size in enumerate([4095, 4096, 57 * 1024 - 1, 57 * 1024, 2 * 57 * 1024 + 1]):
        content = random.Random(number).randbytes(size)
        message.attach(f"räum {number}.bin", content, "application/octet-stream")
    message.attachments.append((None, content, "image/png"))
    message.attach("table.csv", "ä;b\r\n" * 2000, "text/csv")
    message.attach("binary.txt", b"\xff\n" * 3000, "text/plain")
    return message


def _long_texts():
    message = EmailMultiAlternatives("Hi", "Grüße\r.\r\n\n" * 900, None, ["to@example.com"])
    message.attach_alternative("<p>.\n</p>\r\n\r" * 900, "text/html")
    message.attach_alternative("<p>Füße</p>" * 900, "text/html")
    message.attach("a.bin", bytes(9000), "application/octet-stream")
    message.attach("ä.csv", "ä;b\r\n" * 2000, "text/csv")
    return message


def _like_a_boundary():
    return _message("--===============1234567890123456789==\n" * 200, attachments=[_FILE])


_FILE = ("a.bin", bytes(9000), "application/octet-stream")


def _only_an_attachment():
    return _message("", attachments=[("a.pdf", b".\r\n" * 5000, "application/pdf")])


def _nested():
    message = _message("Outer")
    inner = _message("Inner\n.dot\n", subject="Inside")
    message.attach("mail.eml", inner.message().as_bytes(), "message/rfc822")
    return message


def _prebuilt():
    message = _message("Outer")
    if django.VERSION >= (6, 0):
        message.attach("a.txt", "one", "text/plain")
        return message
    part = MIMEMultipart("related")
    part.attach(MIMEText("ä" * 50, "plain", "utf-8"))
    leaf = MIMEBase("image", "png")
    leaf.set_payload(b"\x89PNG.\n.\n")
    part.attach(leaf)
    message.attach(part)
    return message


CASES = {
    "plain": lambda: _message(),
    "empty": lambda: _message(""),
    "leading dots": lambda: _message(".\n..\n.a\nb.\n\n.\n"),
    "a dot first": lambda: _message("."),
    "lone CR": lambda: _message("one\rtwo\r.three"),
    "lone LF": lambda: _message("one\ntwo\n.three\n"),
    "mixed ends": lambda: _message("one\r\ntwo\nthree\rfour\n\r.five"),
    "long lines": lambda: _message("x" * 5000 + "\n" + "y" * 1200),
    "8-bit": lambda: _message("Grüße, 中文, ☃\n.ä"),
    "8-bit long lines": lambda: _message("ä" * 3000),
    "latin-1": lambda: _with_encoding("Größe\n.", "iso-8859-1"),
    "subject": lambda: _message(subject="Füße " * 40),
    "no end of line": lambda: _message("no end"),
    "spaces at the end": lambda: _message("one  \ntwo\t\n \n"),
    "from a line": lambda: _message("From here\n>From there\n"),
    "headers": lambda: _message(headers={"X-A": "ä" * 100, "Message-ID": "<own@x>"}),
    "alternatives": _alternatives,
    "large attachments": _large,
    "only an attachment": _only_an_attachment,
    "long texts": _long_texts,
    "latin-1, long": lambda: _with_encoding("Größe\n." * 2000, "iso-8859-1"),
    "like a boundary": _like_a_boundary,
    "nested": _nested,
    "prebuilt parts": _prebuilt,
}


def _with_encoding(body, encoding):
    message = _message(body)
    message.encoding = encoding
    return message


@pytest.mark.parametrize("case", CASES)
def test_same_bytes(case):
    assert our_bytes(CASES[case]) == stock_bytes(CASES[case])


def _random_message(seed):
    chance = random.Random(seed)
    alphabet = "ab.\n\r \tä中\0=€-" if seed % 2 else "ab.\n\r \t=-F"

    def text(length):
        return "".join(chance.choice(alphabet) for _ in range(chance.randrange(length)))

    message = _message(text(600))
    if chance.random() < 0.5:
        message = EmailMultiAlternatives("Hi", text(300), "from@example.com", ["to@example.com"])
        message.attach_alternative(text(900), "text/html")
    for number in range(chance.randrange(4)):
        content = bytes(chance.randrange(256) for _ in range(chance.randrange(2000)))
        message.attach(f"{number}.bin", content, "application/octet-stream")
        message.attach(f"{number}.txt", text(400), "text/plain")
    return message


@pytest.mark.parametrize("seed", range(60))
def test_same_bytes_for_random_messages(seed):
    def make():
        return _random_message(seed)

    assert our_bytes(make) == stock_bytes(make)


@pytest.mark.parametrize(
    "extensions", [("PIPELINING", "CHUNKING", "8BITMIME", "SIZE"), ("PIPELINING",), ()]
)
def test_the_same_arrives_by_every_way(extensions, settings):
    with HostileServer(encryption="none", auth=False, extensions=extensions) as server:
        transport = SMTPTransport(
            TransportConfig("set", server.host, server.port, encryption="none", timeout=5)
        )
        envelope = Envelope("from@example.com", ("to@example.com",))
        wanted = []
        for make in CASES.values():
            wanted.append(our_bytes(make))
            with same_each_time():
                transport.send(OutgoingMessage(make(), envelope), 5)
        transport.close()
        got = [received.content for received in server.received]
    # A message's last line is ended on the way if it isn't.
    assert got == [item if item.endswith(b"\r\n") else item + b"\r\n" for item in wanted]


class Signed(EmailMessage):
    """Signs what it writes."""

    def message(self, **kwargs):
        written = super().message(**kwargs)
        body = b"".join(part.get_payload(decode=True) or b"" for part in written.walk())
        written["X-Digest"] = hashlib.sha256(body).hexdigest()
        return written


class Compressed(EmailMessage):
    """Changes its attachments when they are written."""

    def _create_attachment(self, filename, content, mimetype=None):
        return super()._create_attachment(filename, bytes(reversed(content)), mimetype)

    def _add_attachment(self, msg, filename, content, mimetype):
        super()._add_attachment(msg, filename, bytes(reversed(content)), mimetype)


@pytest.mark.parametrize("kind", [Signed, Compressed])
def test_a_class_that_writes_its_messages_sees_the_attachments(kind):
    def make():
        message = kind("Hi", "Body", "from@example.com", ["to@example.com"])
        message.attach("a.bin", bytes(range(256)) * 100, "application/octet-stream")
        return message

    assert our_bytes(make) == stock_bytes(make)


def test_so_does_a_message_with_a_method_of_its_own():
    def make():
        message = _only_an_attachment()
        write = message.message
        message.message = lambda **kwargs: signed(write(**kwargs))
        return message

    def signed(written):
        payload = written.get_payload()[-1].get_payload(decode=True)
        written["X-Digest"] = hashlib.sha256(payload).hexdigest()
        return written

    assert our_bytes(make) == stock_bytes(make)


INJECTED = (
    "<c>\r\nplain words",
    "<c>\r\n\r\n<h1>new body</h1>",
    "<c>\r\nX-Evil: 1",
    "a\nb",
    "a\rb",
)


@pytest.mark.threat(34)
@pytest.mark.parametrize("value", INJECTED)
@pytest.mark.parametrize("header", ["Content-ID", "X-Part"])
def test_a_line_break_in_the_header_of_a_part_is_refused(header, value):
    """Python's own generator does so from 3.13.12 and 3.14.3 on; here each Python does."""
    part = MIMEBase("application", "octet-stream")
    part.set_payload("x")
    part[header] = value
    message = _message()
    message.attachments.append(part)
    with pytest.raises(ValueError, match=r"line break|embedded header|newline"):
        mime.to_bytes(message)


def test_a_folded_header_of_a_part_is_none():
    def make():
        message = _message()
        part = MIMEBase("application", "octet-stream")
        part.set_payload("x")
        part["Content-ID"] = "<first>\r\n <second>"
        message.attachments.append(part)
        return message

    assert our_bytes(make) == stock_bytes(make)


@pytest.mark.threat(34)
def test_no_private_method_of_pythons_generator_is_replaced():
    source = inspect.getsource(mime)
    assert "(BytesGenerator)" not in source
    assert "prep_address(None" not in source


NAMES = [
    *("Müller, Söhne & Co. (GmbH)", "Jörg @ home; x", "Zoë: a, b", 'Say "hi", Ö', "Back\\slash, ü"),
    *("Plain Shop", "Shop, Inc.", "ü" * 120, "ö, " * 60, "日本語, 店"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("by", ["set", "site", "site, other address"])
def test_a_senders_name_is_encoded_once(settings, name, by):
    settings.DEFAULT_FROM_EMAIL = mailbox(name, "site@example.com")
    if by == "set":
        settings.DEFAULT_FROM_EMAIL = "site@example.com"
    item = SettingsSetConfig(
        key="k",
        name="n",
        sender_name=name if by == "set" else "",
        sender_address="" if by == "site" else "set@example.com",
    )
    plain = EmailMessage("Hi", "Body", None, ["to@example.com"])
    outgoing = build_outgoing(prepare(plain), item, SMTPTransport, None, username="")
    message, envelope = outgoing.message, outgoing.envelope
    address = "site@example.com" if by == "site" else "set@example.com"
    assert envelope.sender == address
    if by == "site":
        assert message.from_email == settings.DEFAULT_FROM_EMAIL
    written = mime.to_bytes(message)
    assert max(map(len, written.split(b"\r\n"))) <= 78
    assert written.isascii()
    # Programs that parse first and decode then see one address, as they should.
    [(_encoded, bare)] = getaddresses([message_from_bytes(written)["From"]])
    assert bare == address
    [found] = message_from_bytes(written, policy=policy.default)["From"].addresses
    assert found.addr_spec == address
    # Python's parser may take the break between two encoded words for a space.
    assert "".join(found.display_name.split()) == "".join(name.split())


def test_a_line_break_in_the_name_of_a_parts_header_is_refused():
    part = MIMEBase("application", "octet-stream")
    part.set_payload("x")
    part["X-Part\r\nX-Evil"] = "short"
    message = _message()
    message.attachments.append(part)
    with pytest.raises(ValueError, match=r"line break|newline"):
        mime.to_bytes(message)
