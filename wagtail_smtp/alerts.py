"""Email ADMINS when a settings set fails, and when it works again.

There is one alert per set and cause in ``conf.ALERT_INTERVAL`` seconds, limited by
:mod:`wagtail_smtp.runtime.once`. Alerts are in the site's language, because the request in which
the failure happens may use another one.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.translation import gettext as _

from wagtail_smtp import signals
from wagtail_smtp.categories import ALERT
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Attempt
from wagtail_smtp.exceptions import (
    AttemptFailed,
    DestinationRefused,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    MessageUnsupported,
    SecretError,
)
from wagtail_smtp.runtime import error_logging, once, project

logger = logging.getLogger(__name__)

#: Seconds until the next alert that the message store is full, or nearly full.
_FULL_INTERVAL = 3600
_NEARLY_FULL_INTERVAL = 24 * 3600


def connect() -> None:
    """Connect to the signals about sent and failed messages."""
    signals.message_sent.connect(_watch, dispatch_uid="wagtail_smtp.alerts")
    signals.message_failed.connect(_watch, dispatch_uid="wagtail_smtp.alerts")


def _watch(category: str, attempts: Iterable[Attempt], **kwargs: Any) -> None:
    if category == ALERT:
        return  # a failed alert must not cause another alert
    send_pending()
    with project.in_site_language():
        for attempt in attempts:
            if attempt.recovered:
                _recovered(attempt)
            if attempt.error is not None and _concerns_server(attempt.error):
                _failed(attempt, attempt.error)


def _concerns_server(error: Exception) -> bool:
    """Whether the server or its settings failed, not this message or its recipients."""
    if isinstance(error, AttemptFailed):
        is_of_message = isinstance(error, MessageRefused | MessageTooLarge | MessageUnsupported)
        return not is_of_message and error.phase != "rcpt"
    return isinstance(error, SecretError | DestinationRefused)


def _failed(attempt: Attempt, error: Exception) -> None:
    cause = error.phase if isinstance(error, AttemptFailed) else type(error).__name__
    if not _is_due(f"{_carrier(attempt)}.{cause}"):
        return
    if isinstance(error, MessageOutcomeUnknown):
        text = _(
            "We sent a message through “%(name)s” but got no confirmation, so it may or may not "
            "have arrived. It will not be resent automatically."
        )
    else:
        text = _("Email could not be sent through “%(name)s”. If there is a backup, it is used.")
    _send(
        _("Email problem: “%(name)s” is failing") % {"name": attempt.via},
        text % {"name": attempt.via},
        str(error),
        _("You won't be alerted about this problem again for %d minutes.")
        % (conf.ALERT_INTERVAL // 60),
    )
    once.is_first(_key(f"{_carrier(attempt)}.failing"), 7 * 24 * 3600)


def _recovered(attempt: Attempt) -> None:
    # Only the process that removes the mark sends the alert.
    if once.is_undone(_key(f"{_carrier(attempt)}.failing")):
        _send(
            _("Email: “%(name)s” is working again") % {"name": attempt.via},
            _("Email is being sent through “%(name)s” again.") % {"name": attempt.via},
        )


def _carrier(attempt: Attempt) -> str:
    """Identify the set by its key, because it can be renamed."""
    return attempt.key or "standard"


#: Refused tokens not yet reported to ADMINS: key and name of the set, and reason.
_refused_tokens: deque[tuple[str, str, str]] = deque(maxlen=20)


def note_token_refused(key: str, name: str, why: str) -> None:
    """Note that a set's access token could not be renewed, while the old one is still valid.

    The next :func:`send_pending` reports it. A message is being sent now, and an alert through the
    same server would wait for that message's session.
    """
    _refused_tokens.append((key, name, why))


#: Percentage of the message store in use, not yet reported.
_store_percent: deque[int] = deque(maxlen=1)


def clear_pending() -> None:
    """Drop alerts that have not been sent yet; for tests."""
    _refused_tokens.clear()
    _store_percent.clear()


def note_store_usage(percent: int) -> None:
    """Note how full the message store is, in percent; 100 means that a message didn't fit.

    The next :func:`send_pending` reports it, because the message is being stored right now.
    """
    _store_percent.append(percent)


def _report_store_usage(percent: int) -> None:
    is_full = percent >= 100
    if not once.is_first(
        _key(f"store full {is_full}"), _FULL_INTERVAL if is_full else _NEARLY_FULL_INTERVAL
    ):
        return
    if is_full:
        subject = _("Email problem: the message store is full")
        text = _(
            "A message could not be stored. Undelivered messages are no longer kept, and email "
            "can't be queued."
        )
    else:
        subject = _("Email: the message store is %d%% full") % percent
        text = _(
            "Once it is full, undelivered messages are no longer kept and email can't be queued."
        )
    advice = _(
        "Check in the delivery log which messages are kept and why, or ask a developer to raise "
        "WAGTAIL_SMTP['MAX_STORED']."
    )
    _send(subject, text, advice)


@project.in_site_language()
def send_pending() -> None:
    """Send the alerts that were noted."""
    with suppress(IndexError):
        _report_store_usage(_store_percent.pop())
    while _refused_tokens:
        key, name, why = _refused_tokens.popleft()
        if _is_due(f"{key}.token"):
            _send(
                _("Email problem: “%(name)s” will fail soon") % {"name": name},
                _(
                    "The access token of “%(name)s” could not be renewed. Email is still sent "
                    "while the old token is valid, which may be only a few minutes."
                )
                % {"name": name},
                why,
                _("Open the settings set in the admin to see what to do."),
            )


@project.in_site_language()
def messages_waiting(why: str) -> None:
    """Report messages waiting in the outbox because this process or its settings can't send them.

    Args:
        why: the reason; there is one alert per reason.
    """
    if _is_due(f"waits {why}"):
        _send(
            _("Email problem: messages are waiting"),
            _(
                "A worker can't send the messages in the outbox. They are kept and tried again, "
                "so nothing is lost."
            ),
            why,
            _("Check that every process of the site uses the same settings and packages."),
        )


@project.in_site_language()
def given_up(entry: int, subject: str, *, is_unknown: bool = False) -> None:
    """Report that the outbox has given up on a message.

    Args:
        entry: the number of its log entry.
        is_unknown: whether it may have been delivered.
    """
    if not _is_due(f"given up {is_unknown}"):
        return
    if is_unknown:
        text = _(
            "Message %(entry)d (“%(subject)s”) may or may not have been delivered. It will not be "
            "resent automatically. See the delivery log."
        )
    else:
        text = _(
            "Message %(entry)d (“%(subject)s”) could not be delivered and will not be tried again. "
            "See the delivery log."
        )
    _send(
        _("Email problem: a message could not be delivered"),
        text % {"entry": entry, "subject": subject},
    )


def too_large(address: str | None, subject: str, body: str) -> None:
    """Report a message that is too large to ``address``, or to ADMINS."""
    _send(subject, body, to=[address] if address else None)


def _is_due(what: str) -> bool:
    return once.is_first(_key(what), conf.ALERT_INTERVAL)


def _key(what: str) -> str:
    # Names of sets may contain characters that cache keys can't.
    return f"wagtail_smtp.alert.{hashlib.sha256(what.encode()).hexdigest()[:32]}"


def _send(subject: str, *paragraphs: str, to: Sequence[str] | None = None) -> None:
    if to is None:
        to = [admin if isinstance(admin, str) else admin[1] for admin in settings.ADMINS]
    message = EmailMessage(
        f"{settings.EMAIL_SUBJECT_PREFIX}{subject}",
        "\n\n".join(paragraphs),
        settings.SERVER_EMAIL,
        to,
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.email_category = ALERT  # type: ignore[attr-defined]
    if not to:
        return
    try:
        message.send()
    except Exception:
        error_logging.failure(logger, "An alert could not be sent: %s", subject)
