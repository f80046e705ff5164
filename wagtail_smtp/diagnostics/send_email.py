"""Send a test email as real email is sent, and find out what became of it."""

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
class EmailTestResult:
    """The outcome of a test email.

    Attributes:
        entry: its log entry; None if the log could not be written, or if the project's email
            doesn't go through the plugin.
        reason: why it was not sent; empty if it was sent or is queued.
    """

    entry: LogEntry | None
    reason: str = ""

    @property
    def is_waiting(self) -> bool:
        """Whether the message is still in the outbox."""
        return self.entry is not None and not self.entry.is_final


def send_test_email(address: str, category: str = TEST) -> EmailTestResult:
    """Send a test email as any other email is sent. Sending errors are returned, not raised.

    Args:
        category: the category to mark the message with.
    """
    message = EmailMessage(
        _("Test email"),
        _("This is a test email from %(site)s. It was sent exactly as email in the category "
          "“%(category)s” is sent.")
        % {"site": getattr(settings, "WAGTAIL_SITE_NAME", ""), "category": category},
        None,
        [address],
        # Used to find the log entry.
        headers={"Message-ID": make_msgid(domain=str(DNS_NAME))},
    )  # fmt: skip
    message.email_category = category  # type: ignore[attr-defined]
    entries = LogEntry.objects.using(write_alias())
    before = entries.order_by("-pk").values_list("pk", flat=True).first() or 0
    raised = ""
    with _listening_for(message) as heard:
        try:
            message.send()
        except Exception as error:  # a project's own backend can raise anything
            # The text may contain what the server echoed, such as a password.
            raised = type(error).__name__
            logger.warning("A test email could not be sent: %s", raised)
    # No signal is sent for a queued message.
    own = entries.filter(pk__gt=before, message_id=message.extra_headers["Message-ID"])
    return EmailTestResult(heard.entry or own.first(), heard.reason or raised)


@dataclass(slots=True)
class _Heard:
    entry: LogEntry | None = None
    reason: str = field(default="", repr=False)


@contextmanager
def _listening_for(message: EmailMessage) -> Iterator[_Heard]:
    """Collect what the signals report about ``message``; other threads may send meanwhile."""
    heard = _Heard()

    def receive(**values: Any) -> None:
        sent = values["message"].extra_headers.get("Message-ID")
        if sent == message.extra_headers["Message-ID"]:
            heard.entry = values["entry"]
            error = values.get("error")
            if error is not None:
                heard.reason = (heard.entry and heard.entry.reason) or log_entries.words_of(error)

    both = (signals.message_sent, signals.message_failed)
    for signal in both:
        signal.connect(receive, weak=False)
    try:
        yield heard
    finally:
        for signal in both:
            signal.disconnect(receive)
