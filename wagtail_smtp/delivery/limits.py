"""Keep to a set's sending limits, and to the quotas that its server reports."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from django.db import Error

from wagtail_smtp.categories import ALERT, SECURITY
from wagtail_smtp.causes import quota
from wagtail_smtp.config.limits import Limits, Refusal
from wagtail_smtp.config.values import Outcome, Recipient, SettingsSetConfig
from wagtail_smtp.exceptions import (
    AttemptFailed,
    EmailDeliveryError,
    LimitReached,
    MessageOutcomeUnknown,
    MessageUnsupported,
)
from wagtail_smtp.live import usage
from wagtail_smtp.live.usage import Reservation
from wagtail_smtp.transports.base import Pause, Transport

logger = logging.getLogger(__name__)

#: Seconds that a message waits for the rate: of a worker, and if its caller waits.
_PATIENCE_OF_WORKER, _PATIENCE = 5.0, 1.0
#: Errors of a database that can't be written.
_UNAVAILABLE = (Error, TimeoutError, RuntimeError)
#: Seconds until a message asks again whether its recipients can be counted.
_WAIT_FOR_DATABASE = 60
#: Categories that are sent even if they can't be counted. Alerts are few, and may be about this.
_UNCOUNTED = frozenset({SECURITY, ALERT})


def send(
    candidate: SettingsSetConfig,
    transport: Transport,
    number: int,
    sending: Callable[[], Outcome],
    *,
    category: str,
    version: int,
    is_worker: bool,
) -> Outcome:
    """Send within the limits of ``candidate``: count ``number`` recipients, call ``sending``.

    A set without limits is treated in the same way while it is paused. Recipients that certainly
    don't have the message are given back.

    Raises:
        LimitReached: there is no room, so it was not sent.
        MessageUnsupported: it has more recipients than the limit.
        Exception: as ``sending`` does.
    """
    if not candidate.key:
        _require_open(candidate.name, transport, category)
        return sending()
    reservation = _reserve(candidate, number, category, version, is_worker)
    accepted = 0
    try:
        if reservation is not None and reservation.wait:
            time.sleep(reservation.wait)
        accepted = number  # unless something proves that it wasn't
        if category != SECURITY:
            transport.availability.pause = None  # it is over
        outcome = sending()
        accepted = _accepted(outcome.recipients) if outcome.recipients else number
        return outcome
    except EmailDeliveryError as error:
        accepted = _accepted_despite(error, number)
        raise
    finally:
        if reservation is not None:
            _end(reservation, accepted)


def _reserve(
    candidate: SettingsSetConfig, number: int, category: str, version: int, is_worker: bool
) -> Reservation | None:
    is_security = category == SECURITY
    limits = usage.allowed(candidate, category)
    try:
        found = usage.reserve(
            candidate.key,
            limits,
            number,
            None if is_security else version,
            _PATIENCE_OF_WORKER if is_worker else _PATIENCE,
            takes_turn=is_worker,
        )
    except _UNAVAILABLE as error:
        if category in _UNCOUNTED:
            logger.warning("%s: a message is sent without being counted: %r", candidate.name, error)
            return None
        raise LimitReached(
            f"{candidate.name}: what this set sends can't be counted, because the database isn't "
            f"available: {error}",
            retry_after=_WAIT_FOR_DATABASE,
        ) from error
    if isinstance(found, Refusal):
        raise _refused(candidate, found, number, limits)
    return found


def _refused(
    candidate: SettingsSetConfig, refusal: Refusal, number: int, limits: Limits
) -> AttemptFailed:
    name, period = candidate.name, refusal.period
    if refusal.is_too_many:
        return MessageUnsupported(
            f"{name}: the message has {number} recipients, but this set may only send to "
            f"{refusal.limit} per {period}. Send it to fewer people at a time, or raise the limit.",
            phase="limit",
        )
    if period == "quota":
        pause = Pause(refusal.seconds, refusal.code, refusal.reply)
        return _paused(name, pause, refusal.seconds)
    recipients = "recipient" if refusal.limit == 1 else "recipients"
    kept = "" if limits == candidate.limits else " (the rest is kept for security email)"
    return LimitReached(
        f"{name}: the limit of {refusal.limit} {recipients} per {period}{kept} is reached. There "
        f"is room again in about {_duration(refusal.seconds)}.",
        period=period,
        retry_after=refusal.seconds,
    )


def _require_open(name: str, transport: Transport, category: str) -> None:
    """The same for standard delivery, whose pause is only known to this process."""
    pause = transport.availability.pause
    seconds = pause.until - time.monotonic() if pause else 0
    # Security email is tried all the same: part of a quota may be free earlier.
    if pause is not None and seconds > 0 and category != SECURITY:
        raise _paused(name, pause, seconds)
    transport.availability.pause = None


def _paused(name: str, pause: Pause, seconds: float) -> LimitReached:
    return LimitReached(
        f"{name}: the server reported that a quota is used up, so this set is not used for about "
        f"{_duration(seconds)}: {pause.code} {pause.reply}",
        period="quota",
        retry_after=seconds,
        code=pause.code,
        reply=pause.reply,
    )


def learn_from_error(
    candidate: SettingsSetConfig, transport: Transport, error: AttemptFailed, version: int
) -> LimitReached | None:
    """If the server reports that a quota is used up, pause the set and return the error for that.

    It is temporary, whatever the server's code says.
    """
    if isinstance(error, MessageOutcomeUnknown | LimitReached):
        return None
    found = quota.find(error.phase, error.code, error.reply)
    if found is None:
        for item in error.recipients:
            if quota.find(item.phase, item.code, item.reply) is not None:
                return learn_from_error(candidate, transport, _of_recipient(error, item), version)
        return None
    pause = _pause(candidate, transport, found, error.code, error.reply, version)
    learned = _paused(candidate.name, pause, found.seconds)
    learned.is_reported = True
    learned.recipients = tuple(map(_later, error.recipients))
    learned.original = error.original
    return learned


def _of_recipient(error: AttemptFailed, item: Recipient) -> AttemptFailed:
    """The same failure, with the response about one recipient."""
    return AttemptFailed(
        str(error),
        phase=item.phase,
        code=item.code,
        reply=item.reply,
        recipients=error.recipients,
        original=error.original,
    )


def learn_from_outcome(
    candidate: SettingsSetConfig, transport: Transport, outcome: Outcome, version: int
) -> Outcome:
    """The same for recipients that were refused although others were accepted."""
    for item in outcome.not_sent:
        found = quota.find(item.phase, item.code, item.reply)
        if found is not None:
            _pause(candidate, transport, found, item.code, item.reply, version)
            return replace(outcome, recipients=tuple(map(_later, outcome.recipients)))
    return outcome


def _later(item: Recipient) -> Recipient:
    """A recipient that was refused because of a quota can be sent to later."""
    is_of_quota = quota.find(item.phase, item.code, item.reply) is not None
    return replace(item, state="deferred") if item.state == "refused" and is_of_quota else item


def _pause(
    candidate: SettingsSetConfig,
    transport: Transport,
    found: quota.Quota,
    code: int,
    reply: str,
    version: int,
) -> Pause:
    """Pause the set: in this process, and for all others where they look before each message."""
    pause = Pause(time.monotonic() + found.seconds, code, reply)
    transport.availability.pause = pause
    if candidate.key:
        try:
            usage.pause(candidate.key, found.seconds, version, code, reply)
        except _UNAVAILABLE as error:
            logger.warning("%s: a quota is only known to this process: %r", candidate.name, error)
    return pause


def _end(reservation: Reservation, accepted: int) -> None:
    try:
        usage.end(reservation, accepted)
    except _UNAVAILABLE as error:
        # All its recipients go on counting, which protects the account.
        logger.warning("Recipients can't be counted exactly: %r", error)


def _accepted_despite(error: EmailDeliveryError, number: int) -> int:
    """How many recipients may have the message although there was an error."""
    recipients = error.recipients if isinstance(error, AttemptFailed) else ()
    if recipients:
        return _accepted(recipients)
    return 0 if error.retry_is_safe else number


def _accepted(recipients: Sequence[Recipient]) -> int:
    return sum(item.state in ("sent", "unknown") for item in recipients)


def _duration(seconds: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} seconds"
