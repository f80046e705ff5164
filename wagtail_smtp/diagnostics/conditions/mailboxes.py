"""Mailboxes whose bounces are not being read."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from wagtail_smtp import live
from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.diagnostics.conditions.base import DAILY, Condition, shown_time, where
from wagtail_smtp.models import BounceSource

#: How long a mailbox may be unreadable, or not be read, before that is reported.
UNREAD_AFTER, UNREAD_DAY = timedelta(hours=1), timedelta(days=1)


def unread_mailboxes() -> Iterator[Condition]:
    """Mailboxes of live sets that haven't been read for a while."""
    current = live.current()
    if current.held_from or current.configuration.method == "standard":
        return
    items = {item.key: item for item in current.configuration.sets if item.mailbox_host}
    sources = BounceSource.objects.in_bulk([*map(uuid.UUID, items)], field_name="set_key")
    for key, item in items.items():
        source = sources.get(uuid.UUID(key))
        since = source.failing_since if source else None
        if since is not None and timezone.now() - since > UNREAD_AFTER:
            yield _unreadable_mailbox(item.name, key, since, source.failure if source else "")
        elif _has_worker_stopped(source):
            yield _unread_mailbox(item.name, key)


def _has_worker_stopped(source: BounceSource | None) -> bool:
    """Whether no process has tried to read a mailbox for a day."""
    if source is not None and source.failing_since is not None:
        return False
    version = live.live_version()
    # If it was never read, it may have been added with the live version.
    dates = [version.created_at] if version else []
    if source is not None and source.read_at is not None:
        dates.append(source.read_at)
    return bool(dates) and timezone.now() - max(dates) > UNREAD_DAY


def _unreadable_mailbox(name: str, key: str, since: datetime, failure: str) -> Condition:
    values = {"name": name, "since": shown_time(since)}
    return Condition(
        AlertKind.BOUNCES,
        f"bounces {key}",
        DAILY,
        _("The bounces of “%(name)s” can't be read") % values,
        (
            _("Its mailbox can't be read since %(since)s. Bounces stay in it.") % values,
            _("Open the set and choose “Test only”, which names the cause."),
            failure or where(name),
        ),
    )


def _unread_mailbox(name: str, key: str) -> Condition:
    return Condition(
        AlertKind.BOUNCES,
        f"bounces {key}",
        DAILY,
        _("The bounces of “%s” are not being read") % name,
        (
            _("No process has read its mailbox for a day. Bounces stay in it."),
            _(
                "Ask a developer to check that “manage.py smtp_bounces --work” is running, or that "
                "cron runs “manage.py smtp_bounces”."
            ),
            where(name),
        ),
    )
