"""Overdue messages: no worker is delivering the outbox."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp import live
from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.diagnostics.conditions.base import DAILY, Condition
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import expressions
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import OutboxMessage

#: If a message is overdue for longer than this, no worker is delivering the outbox.
OVERDUE = timedelta(minutes=15)
#: Overdue messages that are counted.
_COUNTED = 1000
#: Of messages in the outbox: security, and all others.
_PRIORITIES = (0, 1)


def overdue_outbox() -> Iterator[Condition]:
    """Messages that have been due for a while, although the outbox isn't held."""
    if environments.is_holding(live.current().held_from):
        return
    due, now = _overdue()
    if not due:
        return
    minutes = int((now - min(due)).total_seconds() // 60)
    number = len(due)
    text = ngettext(
        "%(number)s message in the outbox is overdue by %(minutes)d minutes. It is kept.",
        "%(number)s messages in the outbox are overdue, the oldest by %(minutes)d minutes. They "
        "are kept.",
        number,
    )
    shown = number_format(number) if number < _COUNTED else _("At least %s") % number_format(number)
    yield Condition(
        AlertKind.WAITING,
        "outbox",
        DAILY,
        _("The outbox is not being processed"),
        (
            text % {"number": shown, "minutes": minutes},
            _(
                "Ask a developer to check that a worker is running: “manage.py smtp_outbox "
                "--work”, or the worker of your task queue. If one is running, it is too slow, or "
                "its server doesn't respond."
            ),
            _("“Email delivery” in the admin and “manage.py smtp_status” show what is waiting."),
        ),
    )


def _overdue() -> tuple[list[datetime], datetime]:
    """When overdue messages were due, up to a number, and the database's time."""
    rows = OutboxMessage.objects.using(write_alias()).filter(
        state=OutboxMessage.State.WAITING,
        due_at__lt=expressions.now(-OVERDUE.total_seconds()),
        environment__in=environments.own_names(),
    )
    found: list[tuple[datetime, datetime]] = []
    # The index begins with state and priority, so it finds the oldest of each priority.
    for priority in _PRIORITIES:
        oldest = rows.filter(priority=priority).order_by("due_at", "id")
        left = _COUNTED - len(found)
        found += oldest.values_list("due_at", expressions.now())[:left]
    now = found[0][1] if found else timezone.now()
    return [due for due, _now in found], now
