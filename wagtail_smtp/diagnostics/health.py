"""Whether the site can send email, for a health page. This connects to no mail server.

Health pages are often public, so the texts contain no address, server or response.
"""

from django.db import Error
from django.utils import timezone

from wagtail_smtp import live
from wagtail_smtp.delivery.active_redirect import is_used
from wagtail_smtp.diagnostics.status import OVERDUE, RECENT, outbox
from wagtail_smtp.exceptions import ConfigurationUnavailable, SecretError
from wagtail_smtp.live.db import schema
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, OutboxMessage
from wagtail_smtp.models.choices import State


def problems(tolerated: int = 0) -> tuple[str, ...]:
    """List what is wrong; empty if all is well.

    Args:
        tolerated: how many messages may have failed in the last hour, or waited longer than that.
    """
    try:
        if not schema.is_migrated():
            return ("The database tables of wagtail-smtp are missing or out of date.",)
        return tuple(filter(None, (_configuration(), _outbox(), _recent_failures(tolerated))))
    except Error:
        return ("The database can't be used.",)


def _configuration() -> str:
    try:
        current = live.current()
        for item in current.configuration.sets:
            if is_used(current.configuration, item):
                current.transport(item)
    except ConfigurationUnavailable:
        return "The email configuration can't be read."
    except SecretError:
        return "A stored password can't be read."
    return ""


def _outbox() -> str:
    _counts, overdue = outbox()
    if overdue <= OVERDUE.total_seconds():
        return ""
    return (
        f"Queued email is not being sent: the oldest message is {overdue / 60:.0f} minutes overdue."
    )


def _recent_failures(tolerated: int) -> str:
    entries = LogEntry.objects.using(write_alias())
    since = timezone.now() - RECENT
    failed = entries.filter(created_at__gte=since, state__in=(State.FAILED, State.UNKNOWN))
    waiting = entries.filter(
        created_at__lt=since, state=State.DEFERRED, outbox__state=OutboxMessage.State.WAITING
    )
    number = failed.not_made_up_for().count() + waiting.count()
    if number <= tolerated:
        return ""
    return f"{number} messages failed in the last hour or have been waiting for longer."
