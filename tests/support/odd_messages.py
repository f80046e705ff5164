"""Random messages, most of them odd: what projects build by mistake, and visitors by intent."""

import random
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from email.charset import Charset
from email.message import EmailMessage as ParsedMessage
from email.mime.base import MIMEBase
from typing import Any

from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy


class Unprintable:
    """Something whose text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Lunatic(EmailMultiAlternatives):
    """Its recipients differ from call to call."""

    def recipients(self) -> list[str]:
        calls = vars(self).setdefault("calls", [])
        calls.append(1)
        return [f"call{len(calls)}@example.org"] if len(calls) % 3 else super().recipients()


class Generous(EmailMessage):
    def recipients(self) -> list[str]:
        return [*super().recipients(), "more@example.org"]


class WithoutRecipients(EmailMessage):
    def recipients(self) -> list[str]:
        raise LookupError("nobody knows")


class Unwritable(EmailMessage):
    def message(self, *args: Any, **kwargs: Any) -> Any:
        raise ArithmeticError("no message")


class Nothing(EmailMessage):
    def message(self, *args: Any, **kwargs: Any) -> Any:
        return None


_CLASSES = (
    *(EmailMessage, EmailMultiAlternatives) * 4,
    *(Lunatic, Generous, WithoutRecipients, Unwritable, Nothing),
)
_ALPHABETS = (
    *("abcdefghij klmnop", "äöüß éñ", "日本語 текст") * 2,
    *(
        "😀🎉\U0001f9ff",
        "a\u202eb\u2028\u2066",
        "\ud800\udfffx",
        "a\x00\x1b\x7f",
        "a\r\nb: ",
        ',;"<>()@:\\',
    ),
)
_ADDRESSES = (
    *("a@example.org", "Ann <ann@example.org>", "b@bücher.example", '"a b"@example.org') * 3,
    *(
        "x@müller..de",
        "x@exa\u202emple.example",
        "x@\ud800.example",
        "x@a..b",
        "@",
        "a@",
        "@b",
        "x",
    ),
    *("a@example.org\r\nBcc: victim@example.org", "a@example.org, b@example.org", "ü@example.org"),
    *(
        "a" * 300 + "@example.org",
        "a@" + "b" * 300,
        "a@[127.0.0.1]",
        "<>",
        "a@b@c",
        "=?x?q?a?=@b.c",
    ),
)


class OddMessages:
    """A generator that gives the same messages for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def next(self) -> EmailMessage:
        """Another message."""
        message = self._pick(_CLASSES)()
        message.subject = self._often(self._text, default="Hello")
        message.body = self._often(self._text, default="Body\n")
        message.from_email = self._often(self._address, default="shop@example.com")
        message.to = self._often(self._addresses, default=["a@example.org"])
        for name in ("cc", "bcc", "reply_to"):
            setattr(message, name, self._rarely(self._addresses, default=[]))
        message.extra_headers = self._rarely(self._headers, default={})
        message.attachments = self._rarely(self._attachments, default=[])
        if isinstance(message, EmailMultiAlternatives):
            message.alternatives = self._rarely(self._alternatives, default=[])
        for name, values in _ATTRIBUTES.items():
            if self._random.random() < 0.03:
                setattr(message, name, self._pick(values))
        return message

    def _pick(self, values: Any) -> Any:
        return self._random.choice(values)

    def _often(self, make: Callable[[], Any], default: Any) -> Any:
        return make() if self._random.random() < 0.4 else default

    def _rarely(self, make: Callable[[], Any], default: Any) -> Any:
        return make() if self._random.random() < 0.15 else default

    def _text(self) -> Any:
        if self._random.random() < 0.15:
            return self._pick(_NO_TEXTS)
        letters = self._pick(_ALPHABETS)
        length = self._pick((0, 1, 10, 80, 400, 5000))
        return "".join(self._pick(letters) for _ in range(length))

    def _address(self) -> Any:
        if self._random.random() < 0.1:
            return self._text()
        return self._pick(_ADDRESSES)

    def _addresses(self) -> Any:
        if self._random.random() < 0.05:
            return self._pick((None, "a@example.org", 7, {"a@example.org": 1}, [["a@example.org"]]))
        return [self._address() for _ in range(self._pick((0, 1, 1, 1, 2, 3, 30)))]

    def _headers(self) -> Any:
        if self._random.random() < 0.05:
            return self._pick((None, [("X-A", "b")], "X-A: b"))
        names = (
            "X-A",
            "Message-ID",
            "Date",
            "From",
            "To",
            "List-Id",
            "X-Email-Category",
            "x y",
            "",
        )
        names = (*names, "X-Ü", "X-A\r\nBcc", "Content-Type", "Resent-To", 5)
        return {self._pick(names): self._text() for _ in range(self._pick((1, 2)))}

    def _attachments(self) -> Any:
        if self._random.random() < 0.1:
            return self._pick((None, [None], ["x"], [("a",)], [object()], {1: 2}))
        return [self._attachment() for _ in range(self._pick((1, 2)))]

    def _attachment(self) -> Any:
        if self._random.random() < 0.15:
            return self._pick((MIMEBase("image", "png"), ParsedMessage(), EmailMessage("In", "it")))
        names = ("a.pdf", "größe.csv", "x\r\nBcc: v@example.org", "", None, "a" * 400, "\ud800", 5)
        types = ("application/pdf", "text/plain", "text/calendar", "message/rfc822", "garbage")
        types = (*types, None, "image/\r\nX: y", "multipart/mixed", "a/b/c")
        contents = (b"\0\xff" * 50, "text\n", "\ud800", b"", None, "ä" * 2000, 5)
        return (self._pick(names), self._pick(contents), self._pick(types))

    def _alternatives(self) -> Any:
        kinds = ("text/html", "text/calendar", "garbage", None, "text/html; charset=\r\n")
        return [(self._text(), self._pick(kinds))]


_NO_TEXTS = (None, 5, b"bytes", [], Decimal("1.5"), datetime(2026, 1, 1), Unprintable())
_NO_TEXTS = (*_NO_TEXTS, lazystr("lazy"), gettext_lazy("Sent"), lazystr(Unprintable()))

_ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    "email_category": ("invoice", "security", "No Category", 5, "\ud800"),
    "encoding": ("latin-1", "ascii", "nonsense", Charset("utf-8"), "utf-16", 5),
    "metadata": ({"a": 1}, {"a": object()}, "x"),
    "tags": (["a"], {"b"}, object()),
    "merge_data": ({"a@example.org": {"n": "x"}}, {}, 5),
    "template_id": ("t", 5),
    "envelope_sender": ("bounce@example.com", "\ud800"),
    "send_at": (datetime(2026, 1, 1), "now"),
    "content_subtype": ("html", "\r\n", None),
    "connection": (object(),),
}
