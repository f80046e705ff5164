"""Mail to ADMINS when a set's server fails, and when it can be reached again.

One alert for a set and cause in ``conf.ALERT_INTERVAL`` seconds, counted by
:mod:`wagtail_smtp.runtime.once`. They are written in the site's language, since the request that
meets the failure may be in another.
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

#: Seconds until ADMINS are told again that the store of messages is full, or nearly.
_FULL_AGAIN = 3600
_FILLS_AGAIN = 24 * 3600


def connect() -> None:
    """Listen to what becomes of messages."""
    signals.message_sent.connect(_watch, dispatch_uid="wagtail_smtp.alerts")
    signals.message_failed.connect(_watch, dispatch_uid="wagtail_smtp.alerts")


def _watch(category: str, attempts: Iterable[Attempt], **kwargs: Any) -> None:
    if category == ALERT:
        return  # an alert about an alert would never end
    tell()
    with project.of_site():
        for attempt in attempts:
            if attempt.recovered:
                _recovered(attempt.via)
            if attempt.error is not None and _concerns_server(attempt.error):
                _failed(attempt.via, attempt.error)


def _concerns_server(error: Exception) -> bool:
    """Whether the server or its settings failed, not this message or its recipients."""
    if isinstance(error, AttemptFailed):
        is_of_message = isinstance(error, MessageRefused | MessageTooLarge | MessageUnsupported)
        return not is_of_message and error.phase != "rcpt"
    return isinstance(error, SecretError | DestinationRefused)


def _failed(via: str, error: Exception) -> None:
    cause = error.phase if isinstance(error, AttemptFailed) else type(error).__name__
    if not _is_first(f"{via}.{cause}"):
        return
    if isinstance(error, MessageOutcomeUnknown):
        text = _(
            "A message was handed over to “%(name)s”, but whether it was delivered is not known. "
            "It is not sent again by itself."
        )
    else:
        text = _(
            "Email could not be sent through “%(name)s”. Where a backup is set up, it is used."
        )
    _send(
        _("Email: “%(name)s” fails") % {"name": via},
        "\n\n".join(
            (
                text % {"name": via},
                str(error),
                _("You will not be told of this cause again for %d minutes.")
                % (conf.ALERT_INTERVAL // 60),
            )
        ),
    )
    once.is_first(_key(f"{via}.failing"), 7 * 24 * 3600)


def _recovered(via: str) -> None:
    # Whoever removes the mark tells of it: one process of all.
    if once.is_undone(_key(f"{via}.failing")):
        _send(
            _("Email: “%(name)s” works again") % {"name": via},
            _("Email leaves through “%(name)s” again.") % {"name": via},
        )


#: Refused tokens that ADMINS are still to be told of: set, and why.
_refused: deque[tuple[str, str]] = deque(maxlen=20)


def token_refused(via: str, why: str) -> None:
    """Note that a set's access token could not be renewed, while the old one is still valid.

    ADMINS are told with the next :func:`tell`: a message is on its way, and an alert about its
    server would wait for the session that it holds.
    """
    _refused.append((via, why))


#: Percent of the room for stored messages that is used, to be told.
_filling: deque[int] = deque(maxlen=1)


def forget() -> None:
    """Forget what was noted and not told yet; for tests."""
    _refused.clear()
    _filling.clear()


def store_fills(percent: int) -> None:
    """Note how full the store of messages is; 100: a message found no room.

    Told with the next :func:`tell`: the message is being stored just now.
    """
    _filling.append(percent)


def _store_fills(percent: int) -> None:
    is_full = percent >= 100
    if not once.is_first(_key(f"store full {is_full}"), _FULL_AGAIN if is_full else _FILLS_AGAIN):
        return
    if is_full:
        subject = _("Email: the message store is full")
        text = _(
            "A message could not be stored. Undelivered messages are not kept any more, and email "
            "can't be queued."
        )
    else:
        subject = _("Email: the message store is %d%% full") % percent
        text = _("Once it is full, undelivered messages are not kept and email can't be queued.")
    advice = _(
        "Find out in the delivery log which messages are kept and why, or ask a developer to raise "
        "WAGTAIL_SMTP['MAX_STORED']."
    )
    _send(subject, f"{text}\n\n{advice}")


@project.in_site_language
def tell() -> None:
    """Tell ADMINS of what was noted."""
    with suppress(IndexError):
        _store_fills(_filling.pop())
    while _refused:
        via, why = _refused.popleft()
        if _is_first(f"{via}.token"):
            _send(
                _("Email: “%(name)s” will fail soon") % {"name": via},
                "\n\n".join(
                    (
                        _(
                            "The access token of “%(name)s” could not be renewed. Email leaves as "
                            "long as the old one is valid, which may be for minutes only."
                        )
                        % {"name": via},
                        why,
                        _("Open the settings set in the admin: it says what to do."),
                    )
                ),
            )


@project.in_site_language
def waits(why: str) -> None:
    """Tell that messages wait in the outbox because a process, or the settings, can't send them.

    Args:
        why: the same for all that wait for the same.
    """
    if _is_first(f"waits {why}"):
        _send(
            _("Email: messages are waiting"),
            "\n\n".join(
                (
                    _(
                        "A worker can't send the messages in the outbox. They are kept and tried "
                        "again, so nothing is lost."
                    ),
                    why,
                    _("Check that every process of the site has the same settings and packages."),
                )
            ),
        )


@project.in_site_language
def given_up(entry: int, subject: str, *, is_unknown: bool = False) -> None:
    """Tell that the outbox doesn't try a message any more.

    Args:
        entry: number of its log entry.
        is_unknown: it may have been delivered.
    """
    if not _is_first(f"given up {is_unknown}"):
        return
    if is_unknown:
        text = _(
            "Message %(entry)d (“%(subject)s”) may or may not have been delivered. It is not sent "
            "again by itself; see the delivery log."
        )
    else:
        text = _(
            "Message %(entry)d (“%(subject)s”) could not be delivered and is not tried any more; "
            "see the delivery log."
        )
    _send(_("Email: a message was given up"), text % {"entry": entry, "subject": subject})


def too_large(address: str | None, subject: str, body: str) -> None:
    """Tell the person with that address, or ADMINS, of a message that is too large."""
    _send(subject, body, [address] if address else None)


def _is_first(what: str) -> bool:
    return once.is_first(_key(what), conf.ALERT_INTERVAL)


def _key(what: str) -> str:
    # Names of sets hold characters that cache keys can't.
    return f"wagtail_smtp.alert.{hashlib.sha256(what.encode()).hexdigest()[:32]}"


def _send(subject: str, body: str, to: Sequence[str] | None = None) -> None:
    if to is None:
        to = [admin if isinstance(admin, str) else admin[1] for admin in settings.ADMINS]
    message = EmailMessage(
        f"{settings.EMAIL_SUBJECT_PREFIX}{subject}",
        body,
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
