"""Raise alerts when a settings set fails, works again, or needs attention.

There is one alert per set and cause in ``conf.ALERT_INTERVAL`` seconds. Alerts are in the site's
language, because the request in which the failure happens may use another one.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from django.utils.translation import gettext as _

from wagtail_smtp import signals
from wagtail_smtp.alerts import email
from wagtail_smtp.alerts.kinds import AlertKind
from wagtail_smtp.alerts.raising import forget, report
from wagtail_smtp.categories import ALERT
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Attempt
from wagtail_smtp.exceptions import (
    AttemptFailed,
    DestinationRefused,
    LimitReached,
    MessageOutcomeUnknown,
    MessageRefused,
    MessageTooLarge,
    MessageUnsupported,
    SecretError,
)
from wagtail_smtp.runtime import error_logging, project

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
    attempts = tuple(attempts)
    # Activating a language takes longer than looking for a reason to write.
    if any(attempt.recovered or attempt.error is not None for attempt in attempts):
        _report_attempts(attempts)


@project.in_site_language()
def _report_attempts(attempts: Sequence[Attempt]) -> None:
    failed = [item for item in attempts if item.error and _concerns_server(item.error)]
    avoid = [item.key for item in failed if item.key]
    # The one that sent it, if any did.
    backup = next((item.via for item in attempts if item.outcome is not None), "")
    for attempt in attempts:
        if attempt.recovered:
            _recovered(attempt)
        if attempt.error is not None and attempt in failed:
            _failed(attempt, attempt.error, avoid, backup)


def _concerns_server(error: Exception) -> bool:
    """Whether the server or its settings failed, not this message, its recipients or a limit."""
    if isinstance(error, LimitReached):
        return False
    if isinstance(error, AttemptFailed):
        is_of_message = isinstance(error, MessageRefused | MessageTooLarge | MessageUnsupported)
        return not is_of_message and error.phase != "rcpt"
    return isinstance(error, SecretError | DestinationRefused)


def _failed(attempt: Attempt, error: Exception, avoid: Sequence[str], backup: str) -> None:
    cause = error.phase if isinstance(error, AttemptFailed) else type(error).__name__
    names = {"name": attempt.via, "backup": backup}
    kind = AlertKind.FAILING
    subject = _("Email problem: “%(name)s” is failing")
    if isinstance(error, MessageOutcomeUnknown):
        text = _(
            "We sent a message through “%(name)s” but got no confirmation, so it may or may not "
            "have arrived. It will not be resent automatically."
        )
    elif backup:
        kind = AlertKind.FAILOVER
        subject = _("Email problem: “%(name)s” is failing, “%(backup)s” is used instead")
        text = _(
            "Email could not be sent through “%(name)s”. The message was sent through its backup, "
            "“%(backup)s”."
        )
    else:
        text = _("Email could not be sent through “%(name)s”. If there is a backup, it is used.")
    report(
        kind,
        f"{_carrier(attempt)}.{cause}",
        subject % names,
        text % names,
        str(error),
        _("You won't be alerted about this problem again for %d minutes.")
        % (conf.ALERT_INTERVAL // 60),
        not_through=avoid,
        opens=_condition(attempt),
    )


def _recovered(attempt: Attempt) -> None:
    report(
        AlertKind.RECOVERED,
        f"{_carrier(attempt)}.recovered",
        _("Email: “%(name)s” is working again") % {"name": attempt.via},
        _("Email is being sent through “%(name)s” again.") % {"name": attempt.via},
        interval=0,
        ends=_condition(attempt),
    )


def _carrier(attempt: Attempt) -> str:
    """Identify the set by its key, because it can be renamed."""
    return attempt.key or "standard"


def _condition(attempt: Attempt) -> str:
    return f"{_carrier(attempt)}.failing"


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
    """Drop alerts that have not been raised yet, and forget those that were; for tests."""
    _refused_tokens.clear()
    _store_percent.clear()
    forget()


def note_store_usage(percent: int) -> None:
    """Note how full the message store is, in percent; 100 means that a message didn't fit.

    The next :func:`send_pending` reports it, because the message is being stored right now.
    """
    _store_percent.append(percent)


def _report_store_usage(percent: int) -> None:
    is_full = percent >= 100
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
    report(
        AlertKind.STORE,
        f"store full {is_full}",
        subject,
        text,
        advice,
        interval=_FULL_INTERVAL if is_full else _NEARLY_FULL_INTERVAL,
    )


def send_pending() -> None:
    """Send the alerts that were noted."""
    if _store_percent or _refused_tokens:
        _send_pending()


@project.in_site_language()
def _send_pending() -> None:
    with suppress(IndexError):
        _report_store_usage(_store_percent.pop())
    while _refused_tokens:
        key, name, why = _refused_tokens.popleft()
        report(
            AlertKind.EXPIRING,
            f"{key}.token",
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
    report(
        AlertKind.WAITING,
        f"waits {why}",
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
    report(
        AlertKind.GIVEN_UP,
        f"given up {is_unknown}",
        _("Email problem: a message could not be delivered"),
        text % {"entry": entry, "subject": subject},
    )


def too_large(address: str | None, subject: str, body: str) -> None:
    """Email about a message that is too large to ``address``, or to ADMINS."""
    to = [address] if address else email.admins()
    if not to:
        return
    try:
        email.build(subject, body, to).send()
    except Exception:
        error_logging.failure(logger, "An alert could not be sent: %s", subject)
