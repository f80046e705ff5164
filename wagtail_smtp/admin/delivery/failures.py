"""Messages that were not sent recently, with causes and fixes, and the page with all causes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin.site_summary import SummaryItem

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import EDIT_SET, TROUBLESHOOTING, AdminPage, EmailViewSet, cached
from wagtail_smtp.admin.labels import carrier_label, category_label, local_time, state_tag
from wagtail_smtp.causes import GROUPS, GUIDES, by_slug
from wagtail_smtp.diagnostics.figures import NOT_SENT
from wagtail_smtp.live.db import connections
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, SettingsSet
from wagtail_smtp.models.choices import State

#: The states among them that a server or its settings may have caused.
_OF_SERVERS = (State.FAILED, State.UNKNOWN)
#: The cause of messages that a set's limit kept from being sent: no server failed.
LIMIT = "limit-reached"
#: States that show that sending works again.
WORKS = (State.SENT, State.PARTLY_SENT)
#: How many failures are listed, and how old they may be.
LISTED = 10
RECENT = timedelta(days=7)


@dataclass(frozen=True)
class FailedEntry:
    """A message that wasn't sent, with its cause."""

    entry: LogEntry

    @property
    def cause(self):
        return by_slug(self.entry.cause)

    @property
    def category(self):
        return category_label(self.entry.category)

    @property
    def via(self):
        return carrier_label(self.entry)

    @property
    def state(self):
        return state_tag(self.entry.state)

    @property
    def url(self):
        """The URL of the cause's description."""
        return problem_url(self.cause)


@dataclass(frozen=True)
class ListedFailure(FailedEntry):
    """A failure in the list; ``set_url`` is the form of its settings set, if that still exists."""

    set_url: str = ""


def problem_url(cause):
    """Return the URL of the cause's description in the admin, or an empty string."""
    return f"{reverse(TROUBLESHOOTING)}#{cause.slug}" if cause else ""


def last_failures():
    """Return the newest failures of the last week that were not resent successfully."""
    since = timezone.now() - RECENT
    # Not from a replica, which may not have the failure of a test email yet.
    entries = LogEntry.objects.using(write_alias())
    keys = []
    for state in NOT_SENT:
        # One query per state: a combined query would sort all matching entries.
        newest = entries.filter(state=state).unresolved().order_by("-id")
        keys += [key for key, at in newest.values_list("pk", "created_at")[:LISTED] if at >= since]
    found = list(entries.filter(pk__in=sorted(keys)[-LISTED:]).order_by("-pk"))
    sets = SettingsSet.objects.filter(key__in={each.set_key for each in found if each.set_key})
    urls = {str(key): reverse(EDIT_SET, args=[pk]) for key, pk in sets.values_list("key", "pk")}
    return [ListedFailure(each, urls.get(str(each.set_key), "")) for each in found]


@dataclass(frozen=True)
class SetFailures:
    """How many messages a set failed to send in the last day, and the newest failure."""

    count: int
    newest: FailedEntry


def of_sets(since):
    """Return :class:`SetFailures` by the key of each set that failed and has sent nothing since.

    Three queries, however many sets there are, and one more for each set that fails.
    """
    entries = LogEntry.objects.using(write_alias())
    rows = entries.since(since).filter(state__in=_OF_SERVERS).exclude(cause=LIMIT)
    rows = rows.exclude(set_key=None).unresolved().order_by()
    counted = rows.values_list("set_key").annotate(count=Count("pk"), newest=Max("pk"))
    found = {newest: count for _key, count, newest in counted}
    failing = {}
    for entry in entries.filter(pk__in=found):
        if not _works_again(entry):
            failing[str(entry.set_key)] = SetFailures(found[entry.pk], FailedEntry(entry))
    return failing


def count_since(since: datetime) -> int:
    """Count messages since then that failed and were not resent successfully."""
    entries = LogEntry.objects.using(write_alias()).since(since)
    return entries.filter(state__in=NOT_SENT).unresolved().count()


#: How far back failures count, here and on the home page.
LAST_DAY = timedelta(hours=24)
#: The states of NOT_SENT that affect more than one message or recipient. Messages that
#: are too large have their own notification.
STATES = (State.FAILED, State.UNKNOWN, State.BLOCKED)
#: How many of the newest failures of each state are examined.
_EXAMINED = 100
#: Seconds for which the result is cached: it takes several queries on every page.
_CACHED = 30
_KEY = "wagtail_smtp.banner.trouble"


@dataclass(frozen=True)
class LatestFailure:
    """The newest message that failed; ``via`` is the carrier's label, empty if none was used."""

    state: str
    via: str
    at: datetime

    def __str__(self):
        values = {
            "via": self.via,
            "time": date_format(local_time(self.at), "DATETIME_FORMAT"),
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
    recent = LogEntry.objects.using(write_alias()).since(since).order_by("-pk")
    numbers = [
        number
        for state in STATES
        for number in recent.filter(state=state)
        .exclude(cause=LIMIT)
        .values_list("pk", flat=True)[:_EXAMINED]
    ]
    newest: dict[str, LogEntry] = {}
    entries = LogEntry.objects.using(write_alias()).filter(pk__in=numbers)
    for entry in entries.unresolved().order_by("-pk"):
        newest.setdefault(entry.carrier, entry)
    for entry in newest.values():
        if not _works_again(entry):
            return LatestFailure(entry.state, carrier_label(entry), entry.created_at)
    return None


def _works_again(entry):
    later = LogEntry.objects.using(write_alias()).filter(pk__gt=entry.pk, state__in=WORKS)
    # A blocked message had no transport, so any sent message shows that it works again.
    return (later.through(entry.carrier) if entry.carrier else later).exists()


class FailedEmailItem(SummaryItem):
    """How many messages failed recently, on the admin's home page."""

    order = 900
    template_name = "wagtail_smtp/summary.html"

    def is_shown(self):
        return self.request.user.has_perm(permissions.VIEW_LOG) and connections.is_migrated()

    def get_context_data(self, parent_context):
        return {"failed": count_since(timezone.now() - LAST_DAY)}


class TroubleshootingView(AdminPage, TemplateView):
    """The page. It contains nothing about this site, so every admin user may read it."""

    template_name = "wagtail_smtp/troubleshooting.html"
    page_title = gettext_lazy("Troubleshooting")
    header_icon = "help"
    extra_context = {"groups": GROUPS, "guides": GUIDES}


class TroubleshootingViewSet(EmailViewSet):
    """Registers the page."""

    name = "wagtail_smtp_troubleshooting"
    url_prefix = "email/troubleshooting"
    icon = "help"
    menu_label = gettext_lazy("Troubleshooting")
    any_permission_required = permissions.SEE_DELIVERY

    def get_urlpatterns(self):
        return [path("", self.construct_view(TroubleshootingView), name="index")]
