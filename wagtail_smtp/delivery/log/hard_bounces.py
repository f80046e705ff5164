"""Suppress addresses after hard bounces and complaints.

An event of an email provider, or of another source of bounces, says itself whether it suppresses
its address. Of a mail server's responses, only those count that certainly mean that there is no
such mailbox. Redirected mail neither uses nor changes the list.
"""

import logging
import re
import smtplib
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import Error

from wagtail_smtp import suppression
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.live.db import autonomous, connections
from wagtail_smtp.live.db.expressions import same
from wagtail_smtp.models import (
    DeliveryEvent,
    LogEntry,
    LogRecipient,
    SuppressedAddress,
    SuppressionReason,
)
from wagtail_smtp.models.choices import RecipientState
from wagtail_smtp.runtime import error_logging

logger = logging.getLogger(__name__)

#: RFC 3463 and the IANA registry of enhanced status codes: bad destination mailbox, mailbox has
#: moved without a forwarding address, and RFC 7505: the domain accepts no email. Exchange uses
#: 5.1.10 for a recipient that it doesn't find. Not 5.1.0 or 5.1.2, which may be about a rule or
#: about DNS, 5.2.1 and 5.2.2, which end, or 5.4.x and 5.7.x, which are about the sender.
_NO_SUCH_MAILBOX = re.compile(r"5\.1\.(?:1|6|10)(?![.\d])")
#: Words in responses that use these codes for something else.
_OTHER_REASON = re.compile(
    r"relay|denied|permitted|policy|block|spam|reputation|sender|verif|authenticat", re.IGNORECASE
)
_ADDRESS = re.compile(r"\S+@\S+")
#: The newest recipients of an address or domain in the log that are looked at.
_LOOK = 50


def is_no_such_mailbox(code: int, response: str) -> bool:
    """Whether a mail server's response to a recipient certainly means that it doesn't exist.

    Args:
        response: its text, which starts with the enhanced status code.
    """
    if code < 500 or not _NO_SUCH_MAILBOX.match(response):
        return False
    # An address may contain such a word.
    return not _OTHER_REASON.search(_ADDRESS.sub("", response))


def after_events(rows: Sequence[DeliveryEvent]) -> None:
    """Suppress the addresses of events that are new. Database errors are logged.

    Only recipients in the log count: other applications may use the same account.
    """
    wanted = {row.recipient_id: row for row in rows if row.suppresses and row.recipient_id}
    if not wanted:
        return
    recipients = _recipients().filter(
        pk__in=list(wanted), role=LogRecipient.Role.ENVELOPE, entry__redirected_by=""
    )
    try:
        for recipient in recipients:
            row = wanted[recipient.pk]
            if _applies(row.suppresses, recipient):
                suppression.suppress(
                    recipient.address,
                    row.suppresses,
                    detail=row.reason,
                    entry=recipient.entry_id,
                )
    except (Error, ValueError):
        logger.exception("Addresses that bounced could not be suppressed.")


def _applies(reason: str, recipient: LogRecipient) -> bool:
    if reason == SuppressionReason.COMPLAINED:
        return conf.SUPPRESS_COMPLAINTS
    return reason != SuppressionReason.BOUNCED or _has_bounced_enough(recipient)


def after_delivery(delivery: DeliveryResult, entry: LogEntry | None) -> None:
    """Suppress recipients that a mail server doesn't know. Never raises.

    This is written in an autonomous transaction: the address doesn't exist, even if the caller
    rolls back.
    """
    if entry is None or delivery.route.redirect is not None or not conf.SUPPRESS_AFTER_BOUNCES:
        return
    unknown = dict(_unknown(delivery))
    if not unknown:
        return

    def write() -> list[SuppressedAddress]:
        rows = _recipients().filter(entry=entry.pk, state=RecipientState.REFUSED)
        found = [
            suppression.new_row(
                row.address, SuppressionReason.BOUNCED, detail=unknown[row.address], entry=entry
            )
            for row in rows
            if row.address in unknown and _accepts_others(row, entry) and _has_bounced_enough(row)
        ]
        return [row for row in found if suppression.add(row)]

    try:
        for row in autonomous.write(write, connections.write_alias()):
            suppression.announce(row)
    except Exception:
        error_logging.failure(logger, "Addresses that don't exist could not be suppressed.")


def _unknown(delivery: DeliveryResult) -> Iterator[tuple[str, str]]:
    """Recipients that the server doesn't know, as they are logged, with its response."""
    for attempt in delivery.attempts:
        result: Any = attempt.outcome or attempt.error
        for item in getattr(result, "recipients", ()):
            if item.phase == "rcpt" and is_no_such_mailbox(item.code, item.reply):
                yield suppression.normalize(item.address), f"{item.code} {item.reply}"
        refused = getattr(attempt.error, "original", None)
        if isinstance(refused, smtplib.SMTPRecipientsRefused):
            for address, (code, reply) in refused.recipients.items():
                text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
                if is_no_such_mailbox(code, text):
                    yield suppression.normalize(address), f"{code} {text}"


def _accepts_others(recipient: LogRecipient, entry: LogEntry) -> bool:
    """Whether the server lately accepted another address of the same domain.

    A server that has lost its mailboxes, or wrongly believes that it has a domain, refuses all of
    them with the same response. So the newest message to others in the domain counts.
    """
    others = _recipients().filter(
        same("domain", recipient.domain),
        role=LogRecipient.Role.ENVELOPE,
        state__in=(RecipientState.SENT, RecipientState.REFUSED),
    )
    rows = others.order_by("-entry", "-pk").values_list("entry", "address", "state")[:_LOOK]
    states: dict[int, set[str]] = {}
    for key, address, state in rows:
        if address != recipient.address:
            states.setdefault(key, set()).add(state)
    entries = LogEntry.objects.using(connections.write_alias()).through(entry.carrier)
    through = set(
        entries.filter(pk__in=list(states), redirected_by="").values_list("pk", flat=True)
    )
    newest = max(through, default=0)
    return RecipientState.SENT in states.get(newest, ())


def _has_bounced_enough(recipient: LogRecipient) -> bool:
    """Whether the address has bounced often enough, this message included."""
    needed = conf.SUPPRESS_AFTER_BOUNCES
    if needed <= 1:
        return needed == 1
    rows = (
        _recipients().filter(same("address", recipient.address)).order_by("-entry", "-pk")[:_LOOK]
    )
    found = {recipient.entry_id}
    found.update(
        row.entry_id
        for row in rows
        if row.state == RecipientState.REFUSED and is_no_such_mailbox(row.code, row.reply)
    )
    events = DeliveryEvent.objects.using(connections.write_alias()).filter(
        recipient__in=[row.pk for row in rows], suppresses=SuppressionReason.BOUNCED
    )
    found.update(events.values_list("entry", flat=True))
    return len(found) >= needed


def _recipients() -> Any:
    return LogRecipient.objects.using(connections.write_alias())
