"""A test email through the normal line, and what became of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import make_msgid
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.utils import DNS_NAME
from django.utils.translation import gettext as _

from wagtail_smtp import signals
from wagtail_smtp.categories import TEST
from wagtail_smtp.delivery.log import entries as log_entries
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a test email.

    Attributes:
        entry: its entry; None if there is none, because the log could not be written or the
            project's mail doesn't come by here.
        words: why it was not sent; empty if it was, or is on its way.
    """

    entry: LogEntry | None
    words: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is still on its way."""
        return self.entry is not None and not self.entry.is_final


def send_test_email(address: str, category: str = TEST) -> Account:
    """Send a test email as any other mail is sent; no error of sending leaves.

    Args:
        category: what the message is marked with.
    """
    message = EmailMessage(
        _("Test email"),
        _("This is a test email from %(site)s. It was sent the way that mail of category "
          "“%(category)s” takes.")
        % {"site": getattr(settings, "WAGTAIL_SITE_NAME", ""), "category": category},
        None,
        [address],
        # By this the entry is found.
        headers={"Message-ID": make_msgid(domain=str(DNS_NAME))},
    )  # fmt: skip
    message.email_category = category  # type: ignore[attr-defined]
    entries = LogEntry.objects.using(write_alias())
    before = entries.order_by("-pk").values_list("pk", flat=True).first() or 0
    raised = ""
    with _heard(message) as told:
        try:
            message.send()
        except Exception as error:  # a project's own backend raises what it likes
            # Its words may hold what the server echoed, a password for one.
            raised = type(error).__name__
            logger.warning("A test email could not be sent: %s", raised)
    # What is queued is not told of.
    own = entries.filter(pk__gt=before, message_id=message.extra_headers["Message-ID"])
    return Account(told.entry or own.first(), told.words or raised)


@dataclass(slots=True)
class _Told:
    entry: LogEntry | None = None
    words: str = field(default="", repr=False)


@contextmanager
def _heard(message: EmailMessage) -> Iterator[_Told]:
    """What the signals say of ``message`` meanwhile; other threads send as well."""
    told = _Told()

    def hear(**values: Any) -> None:
        sent = values["message"].extra_headers.get("Message-ID")
        if sent == message.extra_headers["Message-ID"]:
            told.entry = values["entry"]
            error = values.get("error")
            if error is not None:
                told.words = (told.entry and told.entry.reason) or log_entries.words_of(error)

    both = (signals.message_sent, signals.message_failed)
    for signal in both:
        signal.connect(hear, weak=False)
    try:
        yield told
    finally:
        for signal in both:
            signal.disconnect(hear)
