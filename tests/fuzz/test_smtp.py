"""What an SMTP server says: never a crash, never a message that only seems to be sent."""

import base64
import re
import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.cases import budget, each, several, texts
from wagtail_smtp.config.values import TransportConfig
from wagtail_smtp.exceptions import AttemptFailed, MessageDeferred, MessageOutcomeUnknown
from wagtail_smtp.transports.base import Envelope
from wagtail_smtp.transports.smtp.connect import Connector
from wagtail_smtp.transports.smtp.session import SMTPSession
from wagtail_smtp.transports.smtp.stream import (
    MAX_LINE,
    MAX_LINES,
    SMTPStream,
    UnreadableReply,
    classify_reply,
    response_text,
)
from wagtail_smtp.transports.smtp.transaction import Extensions

PHASES = st.sampled_from(("banner", "ehlo", "auth", "mail", "rcpt", "data", "body", "reply"))


@contextmanager
def said(replies: bytes) -> Iterator[socket.socket]:
    """A socket whose other end has said this, and nothing more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(replies)
        theirs.shutdown(socket.SHUT_WR)
        yield ours


LINES = st.lists(
    st.one_of(
        st.builds(
            "{}{}{}{}".format,
            st.sampled_from(("250", "354", "421", "451", "550", "999", "25", "2x0", "", "٢٥٠")),
            st.sampled_from((" ", "-", "", "\t", "+")),
            texts("5.3.4 too large", "5.1.1 unknown", "x" * 600, most=3),
            st.sampled_from(("\r\n", "\n", "\r", "\r\r\n", "")),
        ).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.binary(max_size=30),
    ),
    max_size=6,
).map(b"".join)


@budget()
@given(several(st.tuples(LINES, PHASES)))
def test_replies(cases):
    """A reply is bounded and has a code, or is one of the documented errors."""
    for replies, phase in each("SMTP replies", cases):
        with said(replies) as sock:
            stream = SMTPStream(sock, 5)
            try:
                while True:
                    reply = stream.read_reply()
                    assert 0 <= reply.code <= 999
                    assert len(reply.text) <= MAX_LINE * MAX_LINES
                    text = response_text(reply)
                    assert len(text) <= 500
                    assert text.isprintable()
                    error = classify_reply("Office", phase, reply)
                    assert isinstance(error, AttemptFailed)
                    assert "\n" not in str(error)
            except (UnreadableReply, smtplib.SMTPServerDisconnected):
                pass


CODES = st.sampled_from((250, 250, 250, 251, 354, 354, 421, 451, 452, 500, 503, 550, 552, 554, 199))
#: Replies to MAIL, to each RCPT, to DATA and to the message; with noise between them at times.
DIALOGUES = st.tuples(
    st.lists(CODES, min_size=5, max_size=5),
    st.lists(
        st.sampled_from((b"", b"", b"", b"250 again\r\n", b"noise\r\n", b"250-")),
        min_size=5,
        max_size=5,
    ),
    st.sampled_from(("plain", "pipelining", "chunking")),
    st.integers(0, 5),
)
RECIPIENTS = ("a@example.org", "b@example.org")
OFFERS = {
    "plain": Extensions(),
    "pipelining": Extensions(pipelining=True),
    "chunking": Extensions(pipelining=True, chunking=True),
}


@budget(0.5)
@given(several(DIALOGUES))
def test_dialogues(cases):
    """A recipient counts as sent only if the server has accepted it, and the whole message."""
    for codes, noise, offer, number in each("SMTP dialogues", cases):
        replies = [
            before + b"%d text\r\n" % code for code, before in zip(codes, noise, strict=True)
        ]
        with said(b"".join(replies[:number])) as sock:
            session = SMTPSession(SMTPStream(sock, 5), OFFERS[offer], "Office")
            try:
                recipients, _text = session.send(
                    Envelope("s@example.com", RECIPIENTS), b"Subject: Hi\r\n\r\nText\r\n", 5
                )
            except AttemptFailed as error:
                if not isinstance(error, MessageOutcomeUnknown):
                    assert error.retry_is_safe or error.code >= 500
                continue
            finally:
                session.close()
        sent = [item.address for item in recipients if item.state == "sent"]
        assert sent, "an outcome without anyone"
        if any(noise):
            continue  # what belongs to what is the server's secret
        accepted = [
            address
            for address, code in zip(RECIPIENTS, codes[1:3], strict=True)
            if code // 100 == 2
        ]
        assert sent == accepted
        assert codes[0] // 100 == 2
        assert codes[number - 1] // 100 == 2


PASSWORDS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=6, max_size=20),
    st.from_regex(r"\A[A-Za-z0-9+/=_!-]{8,24}\Z"),
)


def _echo(password: str, form: str) -> bytes:
    encoded = password.encode()
    forms = {
        "plain": encoded,
        "base64": base64.b64encode(encoded),
        "plain mechanism": base64.b64encode(b"\0user@example.com\0" + encoded),
        "twice": encoded + b" " + encoded,
    }
    return forms[form]


@budget(0.5)
@given(
    several(
        st.tuples(
            PASSWORDS,
            st.sampled_from(("plain", "base64", "plain mechanism", "twice")),
            st.sampled_from((535, 534, 454, 421, 504)),
            texts(most=2),
        )
    )
)
def test_logins(cases):
    """A server that echoes the password doesn't get it into an error."""
    for password, form, code, text in each("refused logins", cases):
        said_too = re.sub(r"[\r\n]", " ", text).encode("utf-8", "replace")
        echoed = b"%d 5.7.8 %b %b\r\n" % (code, said_too, _echo(password, form))
        with said(echoed * 4) as sock:
            config = TransportConfig(
                "Office", "127.0.0.1", 25, "none", username="user@example.com", password=password
            )
            client = Connector(config, None)
            client.sock, client.stream = sock, SMTPStream(sock, 5)
            client.esmtp_features = {"auth": "PLAIN LOGIN"}
            try:
                client.log_in()
            except MessageDeferred as error:
                told = f"{error} {error!r} {error.reply}"
            else:
                raise AssertionError("it is logged in")
        if password not in f"535 5.7.8 Office: the server refused user@example.com {text}":
            assert password not in told, told
        assert base64.b64encode(password.encode()).decode().rstrip("=") not in told
