"""The bytes that Django's own SMTP backend sends, for comparison."""

import contextlib
import datetime
import random
from collections.abc import Callable, Iterator
from unittest import mock

from django.core.mail import EmailMessage, message
from django.core.mail.backends import smtp

from wagtail_smtp.transports import mime


class _Clock:
    @staticmethod
    def now(tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return datetime.datetime(2026, 11, 23, tzinfo=tz or datetime.UTC)


#: What makes a message differ each time it's written, by its name in django.core.mail.message.
_FIXED = {
    "make_msgid": lambda **kwargs: "<fixed@example.com>",
    "formatdate": lambda *args, **kwargs: "Mon, 23 Nov 2026 12:00:00 -0000",
    "datetime": _Clock,
}


class _Recorder:
    content = b""

    def sendmail(self, sender: str, recipients: list[str], content: bytes) -> None:
        self.content = content


@contextlib.contextmanager
def same_each_time() -> Iterator[None]:
    """Message-ID, Date and boundaries are random or tell the time; here they don't."""
    with contextlib.ExitStack() as stack:
        for name, value in _FIXED.items():
            if hasattr(message, name):
                stack.enter_context(mock.patch.object(message, name, value))
        random.seed(1)
        yield


def stock_bytes(make: Callable[[], EmailMessage]) -> bytes:
    """What Django's backend hands to smtplib, before dot-stuffing.

    Args:
        make: makes the message anew, since writing one changes its parts.
    """
    backend = smtp.EmailBackend(alias="stock", host="localhost")
    backend.connection = _Recorder()
    with same_each_time():
        backend._send(make())
    return backend.connection.content


def our_bytes(make: Callable[[], EmailMessage]) -> bytes:
    """What the plugin hands to the server."""
    with same_each_time():
        return mime.to_bytes(make())
