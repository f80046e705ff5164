"""Failures of the last day: the one to warn about, and the number for the home page."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from wagtail.admin.site_summary import SummaryItem

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.caching import cached
from wagtail_smtp.admin.delivery.failures import WORKS, count_since
from wagtail_smtp.admin.labels import via_label
from wagtail_smtp.admin.log.query import Criteria, find
from wagtail_smtp.live.db import schema
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State

#: How far back failures count, here and on the home page.
LAST_DAY = timedelta(hours=24)
#: The states of failures.NOT_SENT that affect more than one message or recipient. Messages that
#: are too large have their own notification.
STATES = (State.FAILED, State.UNKNOWN, State.BLOCKED)
#: How many of the newest failures of each state are examined.
_EXAMINED = 100
#: Seconds for which the result is cached: it takes several queries on every page.
_CACHED = 30
_KEY = "wagtail_smtp.banner.trouble"


@dataclass(frozen=True)
class RecentFailure:
    """The newest message that failed; ``via`` is empty if no transport was used."""

    state: str
    via: str
    at: datetime

    def __str__(self):
        values = {
            "via": via_label(self.via),
            "time": date_format(timezone.template_localtime(self.at), "DATETIME_FORMAT"),
        }
        if self.via:
            text = _("Last failure on %(time)s: email could not be sent through “%(via)s”.")
        else:
            text = _("Last failure on %(time)s: email could not be sent.")
        return text % values


def latest_failure():
    """Return the newest failure of the last day without a later success by its set, or None."""
    return cached(_KEY, _CACHED, _find)


def _find():
    since = timezone.now() - LAST_DAY
    numbers = [
        number
        for state in STATES
        for number in find(Criteria(state=state, since=since), _EXAMINED).numbers
    ]
    newest = {}
    entries = LogEntry.objects.using(write_alias()).filter(pk__in=numbers)
    for entry in entries.not_made_up_for().order_by("-pk"):
        newest.setdefault(entry.via, entry)
    for entry in newest.values():
        if not _works_again(entry):
            return RecentFailure(entry.state, entry.via, entry.created_at)
    return None


def _works_again(entry):
    later = LogEntry.objects.using(write_alias()).filter(pk__gt=entry.pk, state__in=WORKS)
    # A blocked message had no transport, so any sent message shows that it works again.
    return (later.filter(via=entry.via) if entry.via else later).exists()


class FailedEmailItem(SummaryItem):
    """How many messages failed recently, on the admin's home page."""

    order = 900
    template_name = "wagtail_smtp/summary.html"

    def is_shown(self):
        return self.request.user.has_perm(permissions.VIEW_LOG) and schema.is_migrated()

    def get_context_data(self, parent_context):
        return {"failed": count_since(timezone.now() - LAST_DAY)}
