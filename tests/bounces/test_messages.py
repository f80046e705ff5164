"""What messages of mail servers report."""

import time

import pytest

from tests.support import bounces
from tests.support.bounces import RECIPIENT, STANDARD
from wagtail_smtp.bounces.messages import MAX_SIZE, parse, receivers, reports

TO = "bounces+key@example.com"


@pytest.mark.parametrize("name", STANDARD)
def test_a_standard_report(name):
    fields, kind, reason = STANDARD[name]
    [found] = reports(parse(bounces.report(TO, fields)))
    assert (RECIPIENT in found.addresses, found.type) == (True, kind)
    assert found.reason.startswith(reason)


def test_a_report_with_the_line_endings_of_smtp():
    content = bounces.report(TO, STANDARD["postfix"][0]).replace(b"\n", b"\r\n")
    [found] = reports(parse(content))
    assert found.reason == STANDARD["postfix"][2]


def test_several_recipients():
    blocks = [
        bounces.fields(final=f"rfc822; {number}@example.org", action=action)
        for number, action in enumerate(["failed", "delayed", "relayed", "expanded"])
    ]
    found = reports(parse(bounces.report(TO, "\n\n".join(blocks))))
    assert [(each.addresses, each.type) for each in found] == [
        (("0@example.org",), "bounced"),
        (("1@example.org",), "deferred"),
    ]


@pytest.mark.parametrize("encoding", ["8bit", "base64"])
def test_an_international_report(encoding):
    """RFC 6533: the type has another name, and addresses have their own encoding."""
    import base64

    fields = bounces.fields(final=r"utf-8; jos\x{E9}@example.org")
    kind = f"message/global-delivery-status\nContent-Transfer-Encoding: {encoding}"
    if encoding == "base64":
        fields = base64.b64encode(fields.encode()).decode()
        content = bounces.report(TO, fields, kind=kind)
        content = content.replace(b"Reporting-MTA: dns; mail.example.org\n", b"")
        content = content.replace(b"Arrival-Date: Mon, 30 Nov 2026 01:59:59 +0000\n\n", b"")
    else:
        content = bounces.report(TO, fields, kind=kind)
    [found] = reports(parse(content))
    assert found.addresses == ("josé@example.org",)


@pytest.mark.parametrize("make", [bounces.qmail, bounces.exim, bounces.exchange])
def test_other_bounces(make):
    [found] = reports(parse(make(TO)))
    assert (found.addresses, found.type) == ((RECIPIENT,), "bounced")
    assert "5.7.1" not in found.reason


def test_a_complaint():
    message = parse(bounces.complaint("abuse@example.com", TO))
    assert TO in receivers(message)
    [found] = reports(message)
    assert (found.addresses, found.type) == ((RECIPIENT,), "complained")


@pytest.mark.parametrize("make", [bounces.vacation, bounces.challenge, bounces.read_receipt])
def test_automatic_replies_report_nothing(make):
    assert reports(parse(make(TO))) == ()


def test_a_report_within_the_returned_message_counts_for_nothing():
    """A recipient may be sent a forged one, and their server returns it."""
    inner = bounces.report(TO, bounces.fields(final="rfc822; victim@example.org"))
    content = bounces.report(TO, bounces.fields()).replace(b"Hello.\n", inner.replace(b"XX", b"YY"))
    content = content.replace(b"From: site@example.com\nTo:", inner.split(b"\n\n")[0] + b"\nTo:")
    found = reports(parse(content))
    assert [each.addresses for each in found] == [(RECIPIENT,)]


def test_the_address_is_found_in_any_of_the_headers():
    message = parse(
        b"To: One <one@example.com>, two@example.com\nDelivered-To: three@example.com\n"
        b"X-Original-To: four@example.com\nDelivered-To: five@example.com\n\n"
    )
    assert set(receivers(message)) == {
        f"{name}@example.com" for name in ("one", "two", "three", "four", "five")
    }


_HOSTILE = {
    "nothing": b"",
    "only bytes": bytes(range(256)) * 1000,
    "an empty boundary": b"Content-Type: multipart/report; boundary=\n\n--\n--\n----\n",
    "a report without parts": b"Content-Type: multipart/report; boundary=X\n\nnothing",
    "a report without fields": bounces.report(TO, ""),
    "many recipients": bounces.report(TO, "\n\n".join([bounces.fields()] * 20_000)),
    "many parts": b"Content-Type: multipart/mixed; boundary=X\n\n" + b"--X\n\n" * 50_000,
    "a long field": bounces.report(TO, bounces.fields(response="smtp; " + "550 " * 200_000)),
    "a wrong character": bounces.report(TO, bounces.fields(final=r"utf-8; \x{FFFFFF}@example.org")),
    "a wrong charset": b"From: MAILER-DAEMON\nContent-Type: text/plain; charset=nothing\n\n5.1.1",
    "many brackets": b"From: MAILER-DAEMON\n\nHi. This is the\n\n" + b"<" * 1_000_000,
    "many addresses": b"To: " + b"a@b," * 250_000 + b"\n\n",
    "comments": b"To: " + b"(" * 100_000 + b"\n\n",
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_messages_take_a_limited_time(name):
    began = time.process_time()
    message = parse(_HOSTILE[name])
    assert len(list(receivers(message))) < 100_000
    assert len(reports(message)) <= 500
    assert time.process_time() - began < 5


def test_only_the_beginning_of_a_long_message_is_read():
    content = bounces.report(TO, bounces.fields())
    assert reports(parse(content + b"x" * MAX_SIZE)) == reports(parse(content))
