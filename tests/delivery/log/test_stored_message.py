"""A message as bytes and back, body untouched."""

import json
import random
import zlib
from email import message_from_bytes
from email.message import Message

import pytest
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives

from tests.support.stock import our_bytes
from tests.transports.smtp.test_bytes import CASES
from wagtail_smtp.config import crypto
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.delivery.log.stored_message import PIECE, freeze, thaw
from wagtail_smtp.exceptions import MessageUnreadable
from wagtail_smtp.models import LogEntry, StoredMessage, StoredPiece
from wagtail_smtp.outbox.worker import Worker
from wagtail_smtp.transports import mime


def _thawed(message):
    return thaw(freeze(message).content)


@pytest.mark.parametrize("case", CASES)
def test_unchanged_it_is_the_same_octet_by_octet(case):
    frozen = []

    def make():
        frozen.append(_thawed(CASES[case]()))
        return frozen[0]

    assert our_bytes(make) == our_bytes(CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_with_other_headers_the_body_is_the_same(case):
    message = _thawed(CASES[case]())
    before = mime.to_bytes(message)
    message.to = ["other@example.com"]
    message.subject = "Füße"
    message.extra_headers["X-New"] = "new"
    after = mime.to_bytes(message)
    assert after.partition(b"\r\n\r\n")[2] == before.partition(b"\r\n\r\n")[2]
    head = after.partition(b"\r\n\r\n")[0]
    assert b"To: other@example.com" in head
    assert b"X-New: new" in head
    assert b"to@example.com" not in head
    wanted = [line for line in before.split(b"\r\n") if line.lower().startswith(b"content-type")]
    assert wanted[0] in head


def test_fields_and_attributes_come_back():
    message = EmailMessage(
        "Subject",
        "Body",
        "a@example.com",
        ["b@example.com"],
        bcc=["c@example.com"],
        cc=["d@example.com"],
        reply_to=["e@example.com"],
        headers={"X-A": "ä", "Message-ID": "<x@y>"},
    )
    message.tags = ["one"]
    message.metadata = {"order": 7}
    thawed = _thawed(message)
    for name in ("subject", "from_email", "to", "cc", "bcc", "reply_to", "tags", "metadata"):
        assert getattr(thawed, name) == getattr(message, name)
    assert thawed.extra_headers["X-A"] == "ä"
    assert thawed.extra_headers["Message-ID"] == "<x@y>"
    assert sorted(thawed.recipients()) == sorted(message.recipients())


def test_what_a_class_adds_is_kept():
    class Odd(EmailMessage):
        def message(self, **kwargs):
            written = super().message(**kwargs)
            written["X-Own"] = "own"
            return written

        def recipients(self):
            return [*super().recipients(), "hidden@example.com"]

    thawed = _thawed(Odd("Hi", "Body", "a@example.com", ["b@example.com"]))
    assert thawed.recipients() == ["b@example.com", "hidden@example.com"]
    thawed.subject = "Other"
    assert b"X-Own: own" in mime.to_bytes(thawed)
    assert b"hidden@" not in mime.to_bytes(thawed)


def test_for_backends_that_read_parts_they_are_there():
    message = CASES["alternatives"]()
    thawed = _thawed(message)
    thawed.unpack()
    assert thawed.body.strip() == "Text"
    assert thawed.alternatives[0][0].strip() == "<p>Größe</p>"
    assert len(thawed.attachments) == 2


def test_no_alternative_is_lost():
    message = CASES["alternatives"]()
    message.attach_alternative("BEGIN:VCALENDAR", "text/calendar; method=REQUEST")
    message.attach_alternative("<html ⚡4email>", "text/x-amp-html")
    message.attach_alternative(b"\x00\xff", "application/x-own")
    message.attach(content="Without a name", mimetype="text/plain")
    thawed = _thawed(message)
    thawed.unpack()
    assert thawed.body.strip() == "Text"
    assert [(mimetype, content.strip()) for content, mimetype in thawed.alternatives] == [
        ("text/html", "<p>Größe</p>"),
        ("text/calendar; method=REQUEST", "BEGIN:VCALENDAR"),
        ("text/x-amp-html", "<html ⚡4email>"),
        ("application/x-own", b"\x00\xff"),
    ]
    assert len(thawed.attachments) == 3
    again = message_from_bytes(EmailMultiAlternatives.message(thawed).as_bytes())
    written = [part.get_content_type() for part in again.walk()]
    assert written[:6] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/calendar",
        "text/x-amp-html",
    ]


def test_an_invitation_alone_is_an_alternative():
    message = EmailMultiAlternatives("Hi", "", "a@example.com", ["b@example.com"])
    message.attach_alternative("BEGIN:VCALENDAR", "text/calendar")
    thawed = _thawed(message)
    thawed.unpack()
    assert (thawed.body, [mimetype for _, mimetype in thawed.alternatives]) == (
        "",
        ["text/calendar"],
    )


RELATED = b"""\
Subject: Hi
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain

Text
--a
Content-Type: multipart/related; boundary=r

--r
Content-Type: text/html

<img src="cid:x">
--r
Content-Type: image/png
Content-ID: <x>

png
--r--
--a
Content-Type: text/calendar; charset=CHARSET

BEGIN
--a--
""".replace(b"\n", b"\r\n")


class Own(EmailMessage):
    """A message that writes itself."""

    charset = b"utf-8"

    def message(self, **kwargs):
        return _Own(RELATED.replace(b"CHARSET", self.charset))


class _Own(Message):
    def __init__(self, content):
        super().__init__()
        self.content = content

    def as_bytes(self, *args, **kwargs):
        return self.content


def test_images_of_an_alternative_are_kept():
    thawed = _thawed(Own("Hi", "", "a@example.com", ["b@example.com"]))
    thawed.unpack()
    assert [mimetype for _, mimetype in thawed.alternatives] == ["text/html", "text/calendar"]
    assert thawed.attachments[0]["Content-ID"] == "<x>"


@pytest.mark.parametrize("charset", [b"klingon", b"rot13"])
def test_a_charset_that_nobody_knows_is_told_before_anything_leaves(db, configure, charset):
    configure(DELIVERY="queued", STORE_MESSAGES="all")
    message = Own("Hi", "", "a@example.com", ["b@example.com"])
    message.charset = charset
    message.send()
    Worker().drain()
    entry = LogEntry.objects.get()
    assert (entry.state, mail.outbox) == ("failed", [])
    assert charset.decode() in entry.reason


def test_an_attribute_that_does_not_fit_is_an_error():
    message = EmailMessage("Hi", "Body", "a@example.com", ["b@example.com"])
    message.metadata = {"x": object()}
    with pytest.raises(ValueError, match="metadata"):
        freeze(message)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"x\x9cK\x04\x00\x00b\x00b"])
def test_damage_is_told(content):
    with pytest.raises(MessageUnreadable):
        thaw(content)


# Large messages are stored in pieces.


def _kept(seed=1):
    """An entry with a message of several pieces, and the message's bytes."""
    message = EmailMessage("Hi", "Body", "a@example.com", ["b@example.com"])
    content = random.Random(seed).randbytes(3 * PIECE)
    message.attach("a.bin", content, "application/octet-stream")
    entry = LogEntry.objects.create(state="failed", category="other")
    frozen = freeze(message)
    stored_message.keep(entry, frozen.content)
    return entry, thaw(frozen.content).frozen_content


def test_a_large_message_is_the_same_when_it_is_read_again(db):
    entry, content = _kept()
    pieces = StoredPiece.objects.filter(entry=entry)
    assert pieces.count() == 3
    assert stored_message.load(entry).frozen_content == content
    sizes = [len(piece.content) for piece in (entry.stored, *pieces)]
    assert (sum(sizes), max(sizes) < 1.5 * PIECE) == (entry.stored.size, True)


def test_what_can_be_compressed_well_takes_one_piece(db):
    message = EmailMessage("Hi", "Body", "a@example.com", ["b@example.com"])
    message.attach("a.bin", bytes(20 * PIECE), "application/octet-stream")
    entry = LogEntry.objects.create(state="failed", category="other")
    stored_message.keep(entry, freeze(message).content)
    assert not StoredPiece.objects.exists()
    assert len(stored_message.load(entry).frozen_content) > 20 * PIECE


def test_a_piece_of_another_message_is_damage(db):
    (entry, _), (other, _) = _kept(1), _kept(2)
    foreign = StoredPiece.objects.get(entry=other, number=2).content
    StoredPiece.objects.filter(entry=entry, number=2).update(content=foreign)
    with pytest.raises(MessageUnreadable, match="damaged"):
        stored_message.load(entry)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_piece_is_damage(db, number):
    entry, _ = _kept()
    StoredPiece.objects.get(entry=entry, number=number).delete()
    with pytest.raises(MessageUnreadable, match="damaged"):
        stored_message.load(entry)


@pytest.mark.parametrize("name", ["to", "recipients", "headers", "attributes", "subject"])
@pytest.mark.parametrize("damage", [5, "missing"])
def test_a_value_that_is_missing_or_of_another_kind_is_damage(name, damage):
    content = freeze(EmailMessage("Hi", "Body", "a@example.com", ["b@example.com"])).content
    head, newline, rest = zlib.decompress(content).partition(b"\n")
    values = json.loads(head)
    del values[name]
    if damage != "missing" and name != "subject":
        values[name] = damage
    with pytest.raises(MessageUnreadable):
        stored_message.thaw(zlib.compress(json.dumps(values).encode() + newline + rest))


def test_pieces_are_encrypted(db):
    entry, _ = _kept()
    for piece in StoredPiece.objects.filter(entry=entry):
        assert len(crypto.unseal(bytes(piece.content))) <= PIECE + 32


def test_no_piece_is_left_when_the_message_is_deleted(db):
    entry, _ = _kept()
    stored_message.discard([entry.pk])
    assert not StoredMessage.objects.exists()
    assert not StoredPiece.objects.exists()


def test_no_piece_is_left_when_the_message_was_delivered(db, configure):
    configure(DELIVERY="queued")
    message = EmailMessage("Hi", "Body", "a@example.com", ["b@example.com"])
    message.attach("a.bin", random.Random(1).randbytes(2 * PIECE), "application/octet-stream")
    message.send()
    assert StoredPiece.objects.exists()
    Worker().drain()
    assert (LogEntry.objects.get().state, StoredPiece.objects.count()) == ("sent", 0)
    [sent] = mail.outbox
    [attachment] = sent.attachments
    content = attachment.get_payload(decode=True)
    assert content == random.Random(1).randbytes(2 * PIECE)
