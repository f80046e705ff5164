"""Messages that failed lately, and whether what they failed on still fails."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from wagtail_smtp.admin.caching import cached
from wagtail_smtp.admin.delivery.failures import WORKS
from wagtail_smtp.admin.labels import via_label
from wagtail_smtp.admin.log.query import Criteria, find
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry
from wagtail_smtp.models.choices import State

#: How far back failures count, here and on the home page.
RECENT = timedelta(hours=24)
#: Of what was not sent (failures.NOT_SENT), that which concerns more than one message or
#: recipient. Of too large ones somebody is told.
STATES = (State.FAILED, State.UNKNOWN, State.BLOCKED)
#: The newest failures of each state that are looked at.
_LOOKED_AT = 100
#: Seconds for which the answer holds: it costs some queries, and it is asked for on every page.
_HOLDS = 30
_KEY = "wagtail_smtp.banner.trouble"


@dataclass(frozen=True)
class RecentFailure:
    """The newest message that failed; ``via`` is empty where nobody carried it."""

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
    """The newest failure of the last day that no success by the same server followed, or None."""
    return cached(_KEY, _HOLDS, _find)


def _find():
    since = timezone.now() - RECENT
    numbers = [
        number
        for state in STATES
        for number in find(Criteria(state=state, since=since), _LOOKED_AT).numbers
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
    # What was blocked had no server; anything that left says that it works again.
    return (later.filter(via=entry.via) if entry.via else later).exists()
