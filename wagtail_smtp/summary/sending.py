"""Send summaries: each to its recipient once, in a thread that no request waits for.

A recipient is claimed before the message is sent. If that fails, the message is in the delivery
log like any other, and the others get theirs an hour later.
"""

import logging
import smtplib
import threading
import time
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import get_script_prefix, set_script_prefix
from django.utils import timezone, translation

from wagtail_smtp import live
from wagtail_smtp.categories import NOTIFICATION
from wagtail_smtp.diagnostics.figures import Figures, Period
from wagtail_smtp.exceptions import MessageRefused
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import connections
from wagtail_smtp.maintenance import periodic
from wagtail_smtp.runtime import error_logging
from wagtail_smtp.runtime.project import address_of, language_of
from wagtail_smtp.summary import subscriptions
from wagtail_smtp.summary.content import Summary, summary

logger = logging.getLogger(__name__)

#: Seconds after which one run sends no more; the next run does the rest.
_SECONDS = 60
#: Seconds until the others are tried after a message failed.
_PAUSE = 3600
#: Errors that concern one recipient.
_OF_RECIPIENT = (MessageRefused, smtplib.SMTPRecipientsRefused)


class _Numbers(dict[Period, Figures]):
    """The figures of each period, counted once."""

    def __missing__(self, period: Period) -> Figures:
        self[period] = period.figures()
        return self[period]


def collect(frequency: str) -> Summary:
    """Return the latest summary, as for someone who may see the log."""
    period = subscriptions.latest_period(frequency)
    return summary(period, period.figures(), period.before.figures(), may_see_log=True)


def text_of(content: Summary) -> str:
    """The summary as plain text."""
    return _render("email.txt", content)


def message_for(content: Summary, address: str) -> EmailMultiAlternatives:
    """The summary as an email, in the language that is active."""
    sender = getattr(settings, "WAGTAILADMIN_NOTIFICATION_FROM_EMAIL", None)
    message = EmailMultiAlternatives(
        content.subject,
        text_of(content),
        sender or settings.DEFAULT_FROM_EMAIL,
        [address],
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(_render("email.html", content), "text/html")
    message.email_category = NOTIFICATION  # type: ignore[attr-defined]
    return message


def _render(name: str, content: Summary) -> str:
    return render_to_string(f"wagtail_smtp/summary_email/{name}", {"summary": content})


def send_due() -> int:
    """Send the summaries that are due, and return their number.

    Nothing is sent while email is held, because this may be a copy of another site's database.
    """
    if environments.holds(live.current().held_from, NOTIFICATION):
        return 0
    sent, numbers = 0, _Numbers()
    until = time.monotonic() + _SECONDS
    for subscription, period in subscriptions.due():
        # When the process ends, Python waits for this thread.
        if time.monotonic() > until or not threading.main_thread().is_alive():
            break
        if not subscriptions.claim(subscription, period):
            continue
        user = subscriptions.user_of(subscription)
        try:
            if user is not None and subscriptions.may_receive(user):
                sent += _send(user, period, numbers)
        except Exception as error:
            error_logging.failure(
                logger, "The summary for user %s was not sent.", subscription.user_id
            )
            if not isinstance(error, _OF_RECIPIENT):
                periodic.postpone(TASK, _PAUSE)
                break
    return sent


def _send(user: Any, period: Period, numbers: _Numbers) -> int:
    with (
        translation.override(language_of(user)),
        timezone.override(timezone.get_default_timezone()),
    ):
        content = summary(
            period,
            numbers[period],
            numbers[period.before],
            may_see_log=user.has_perm(subscriptions.VIEW_LOG),
            is_subscribed=True,
        )
        message = message_for(content, address_of(user))
    return message.send()


_thread: threading.Thread | None = None


def start() -> None:
    """Send what is due in a thread: a web worker must not wait for a mail server that hangs."""
    global _thread
    if (_thread is not None and _thread.is_alive()) or not subscriptions.is_any_due():
        return
    # Links begin with the prefix of this thread's requests.
    prefix = get_script_prefix()
    _thread = threading.Thread(target=_run, args=(prefix,), name="wagtail_smtp summary")
    _thread.start()


def _run(prefix: str) -> None:
    try:
        set_script_prefix(prefix)
        send_due()
    except Exception:
        # No one was claimed, so nothing is lost.
        logger.warning("No summary could be sent. It will be tried again.", exc_info=True)
    finally:
        connections.close_all()


#: One process of the site looks every five minutes whether a summary is due.
TASK = periodic.Task("summaries", 300, start)


def connect() -> None:
    """Send summaries from this process."""
    periodic.add_task(TASK)
