"""Messages: nothing gets into another header, and a redirect lets no one through."""

import email
import re
import warnings
import zlib
from typing import Any

from django.core.mail import EmailMultiAlternatives
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.cases import addresses, budget, each, several, texts
from wagtail_smtp.delivery import redirect
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.delivery.outgoing import prepare
from wagtail_smtp.delivery.routing import Redirect
from wagtail_smtp.exceptions import MessageLocked, MessageUnreadable, RedirectError
from wagtail_smtp.transports import mime

#: Whom no redirected message may reach or name, but in the headers that show the originals.
REAL = st.sampled_from(("real-1@example.org", "Real <real-2@example.org>", "real-3@bücher.example"))
BOUNDARY = re.compile(rb"={15}\d+==")
ALONE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
NAMES = st.sampled_from(
    (
        *("X-A", "Reply-To", "List-Unsubscribe", "X-SMTPAPI", "Resent-To", "To", "Bcc", "cc"),
        *("X-Mailgun-Recipient-Variables", "Disposition-Notification-To", "x-original-to", "From"),
        "X-B\r\nBcc",
    )
)


def _message(
    subject: str = "Hi",
    sender: str = "shop@example.com",
    to: Any = ("a@example.org",),
    cc: Any = (),
    bcc: Any = (),
    reply_to: Any = (),
    headers: Any = None,
    file: str = "a.txt",
    **attributes: Any,
) -> EmailMultiAlternatives:
    message = EmailMultiAlternatives(
        subject, "Text\n", sender, list(to), list(bcc), cc=list(cc), reply_to=list(reply_to)
    )
    message.extra_headers = dict(headers or {})
    if file:
        message.attach(file, "x", "text/plain")
    for name, value in attributes.items():
        setattr(message, name, value)
    return message


MESSAGES = st.fixed_dictionaries(
    {
        "subject": texts(),
        "sender": addresses(),
        "to": st.lists(addresses(), min_size=1, max_size=2),
        "headers": st.dictionaries(st.one_of(NAMES, texts(most=2)), texts(), max_size=2),
        "file": texts(most=3),
    }
)


@budget(0.5)
@given(several(MESSAGES))
def test_headers(cases):
    """A message can be written and has the headers that it was given, or is a ValueError."""
    warnings.simplefilter("ignore")  # Django's, of what it will refuse one day
    for fields in each("headers", cases):
        try:
            written = mime.to_bytes(prepare(_message(**fields)))
        except ValueError:
            continue
        assert not ALONE.search(written)
        names = [name.lower() for name in email.message_from_bytes(written)]
        given_names = {str(name).strip().lower() for name in fields["headers"]}
        own = {"content-type", "mime-version", "content-transfer-encoding", "subject", "from", "to"}
        assert set(names) <= own | {"date", "message-id", "cc", "reply-to"} | given_names
        assert "bcc" not in set(names) - given_names
        for name in ("subject", "from", "to", "date", "message-id"):
            assert names.count(name) == 1, name


PEOPLE = st.fixed_dictionaries(
    {
        "to": st.lists(REAL, min_size=1, max_size=2),
        "cc": st.lists(REAL, max_size=1),
        "bcc": st.lists(REAL, max_size=1),
        "reply_to": st.lists(REAL, max_size=1),
        "headers": st.dictionaries(NAMES, st.one_of(REAL, texts("real-9@example.org")), max_size=3),
    },
    optional={
        "merge_data": st.dictionaries(REAL, st.just({"name": "x"}), min_size=1, max_size=1),
        "envelope_sender": REAL,
        "esp_extra": st.fixed_dictionaries({"to": REAL}),
        "metadata": st.just({"a": "b"}),
        "personalizations": st.lists(REAL, min_size=1, max_size=1),
        "recipients_of_a_backend": st.lists(REAL, min_size=1, max_size=1),
    },
)
SHOWN = ("x-original-to", "x-original-cc", "x-original-reply-to", "x-original-bcc")
TO = Redirect(("qa@example.com",), "Test")


@budget(0.3)
@given(several(st.tuples(PEOPLE, st.booleans())))
def test_redirects(cases):
    """A redirected message goes to the report email alone, and leaves no one's address behind."""
    warnings.simplefilter("ignore")
    for fields, is_black_box in each("redirects", cases):
        try:
            message = prepare(_message(**fields))
            redirect.apply(message, TO, is_black_box=is_black_box, envelope_sender="s@example.com")
            redirect.require_redirected(message, TO)
            written = mime.to_bytes(message)
        except (RedirectError, ValueError):
            continue  # nothing is sent
        assert message.recipients() == ["qa@example.com"]
        parsed = email.message_from_bytes(written)
        assert parsed.get_all("To") == ["qa@example.com"]
        for name, value in parsed.items():
            assert (
                name.lower() in SHOWN
                or not re.search("real-|Real", value)
                or (
                    name.lower() in ("x-a", "from")  # a header of the project's own, and the sender
                )
            ), (name, value)
        left = {name: value for name, value in vars(message).items() if name != "extra_headers"}
        if is_black_box:
            assert "real-" not in repr(left)
        assert not {"merge_data", "envelope_sender", "esp_extra", "personalizations"} & {*left}


@budget(0.2)
@given(several(MESSAGES))
def test_frozen_messages(cases):
    """A message that was stored is the same, byte by byte, when it is read."""
    warnings.simplefilter("ignore")
    for fields in each("stored messages", cases):
        try:
            prepared = prepare(_message(**fields))
            frozen = stored_message.freeze(prepared)
        except ValueError:
            continue
        again = stored_message.thaw(frozen.content)
        written = mime.to_bytes(prepared)  # with other boundaries each time
        assert BOUNDARY.sub(b"", again.frozen_content) == BOUNDARY.sub(b"", written)
        assert again.recipients() == [*map(str, prepared.recipients())]
        assert again.extra_headers == {k: str(v) for k, v in prepared.extra_headers.items()}
        assert stored_message.freeze(prepare(again)).content == frozen.content


FROZEN = stored_message.freeze(prepare(_message())).content


@budget()
@given(several(st.tuples(st.integers(0, 10**6), st.binary(max_size=8), st.booleans())))
def test_damaged_messages(cases):
    """Damage is told, and nothing else happens."""
    plain = zlib.decompress(FROZEN)
    for position, noise, inside in each("damaged messages", cases):
        source = plain if inside else FROZEN
        at = position % len(source)
        damaged = source[:at] + noise + source[at + 1 :]
        content = zlib.compress(damaged, 1) if inside else damaged
        try:
            message = stored_message.thaw(content)
            message.unpack()
        except (MessageUnreadable, MessageLocked):
            continue
        assert isinstance(message.recipients(), list)
