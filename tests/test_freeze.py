"""A message as bytes and back, body untouched."""

import pytest
from django.core.mail import EmailMessage

from tests.transports.stock import our_bytes
from tests.transports.test_bytes import CASES
from wagtail_smtp.delivery.freeze import freeze, thaw
from wagtail_smtp.exceptions import MessageUnreadable
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


def test_an_attribute_that_does_not_fit_is_an_error():
    message = EmailMessage("Hi", "Body", "a@example.com", ["b@example.com"])
    message.metadata = {"x": object()}
    with pytest.raises(ValueError, match="metadata"):
        freeze(message)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"x\x9cK\x04\x00\x00b\x00b"])
def test_damage_is_told(content):
    with pytest.raises(MessageUnreadable):
        thaw(content)
