"""What a summary says, in the language that is active. Nothing in it names a recipient or subject.

It is sent by email, so it leaves the site. The links lead to the admin, which asks for a login.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.urls import NoReverseMatch, reverse
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp import live
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.explain.redirects import active_redirect
from wagtail_smtp.diagnostics.conditions.expiring import expiring
from wagtail_smtp.diagnostics.conditions.outbox import OVERDUE
from wagtail_smtp.diagnostics.figures import NOT_SENT, CauseCount, Figures, Period
from wagtail_smtp.diagnostics.status import outbox
from wagtail_smtp.live import environments, sites
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import DeliveryEvent
from wagtail_smtp.models.choices import Reported, State
from wagtail_smtp.models.log import STANDARD

#: How many causes, settings sets and sites are listed.
LISTED = 5
_LOG = "wagtail_smtp_log:index"
_DELIVERY = "wagtail_smtp_delivery:index"
_CAUSES = "wagtail_smtp_troubleshooting:index"
_ACCOUNT = "wagtailadmin_account"


@dataclass(frozen=True, slots=True)
class Row:
    """A number of this period and of the one before.

    Attributes:
        slug: identifies it.
        url: the delivery log with these messages; empty: there is no such page, or no permission.
        is_part: whether it is a part of the number above it.
    """

    slug: str
    label: str
    number: int
    before: int
    url: str = ""
    is_part: bool = False

    @property
    def shown(self) -> str:
        """The number, as people of the active language write it."""
        return shown(self.number)

    @property
    def shown_before(self) -> str:
        """The same for the number of the period before."""
        return shown(self.before)


@dataclass(frozen=True, slots=True)
class Problem:
    """A cause with its fix, and the number of messages that were not sent for it."""

    slug: str
    number: int
    title: str
    advice: str
    url: str

    @property
    def shown(self) -> str:
        """How many messages, as text."""
        return _messages(self.number)


@dataclass(frozen=True, slots=True)
class Summary:
    """A summary of a day or a week.

    Attributes:
        site: its name, with that of the environment unless it is production's.
        problems, more: the most frequent causes, and how many messages have other ones.
        carriers: settings sets with the number of messages that they did not send, as text.
        sites: sites with the numbers of their messages, as text; empty unless there are several.
        notes: what is unusual now, such as a redirect, and what is waiting.
        expiring: what expires soon.
        account_url: where the reader can turn it off; empty: the site's address isn't known.
        is_subscribed: whether the reader chose to get it.
    """

    site: str
    period: Period
    figures: Figures
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    more: int
    carriers: tuple[tuple[str, str], ...]
    sites: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    expiring: tuple[str, ...]
    delivery_url: str
    account_url: str
    is_subscribed: bool

    @property
    def is_daily(self) -> bool:
        """Whether it is about one day."""
        return self.period.first == self.period.last

    @property
    def days(self) -> str:
        """The day, or the first and the last one."""
        first, last = (date_format(d, "DATE_FORMAT") for d in (self.period.first, self.period.last))
        return (
            first if self.is_daily else _("%(first)s to %(last)s") % {"first": first, "last": last}
        )

    @property
    def subject(self) -> str:
        """The most important numbers, so that a good summary needn't be opened."""
        values = {
            "site": self.site,
            "sent": shown(self.figures.sent),
            "unsent": shown(self.figures.not_sent),
        }
        text = _("Email from %(site)s: %(sent)s sent, %(unsent)s not sent") % values
        return " ".join(text.split())

    @property
    def more_text(self) -> str:
        """How many messages have other causes; empty if none."""
        text = ngettext(
            "%s message has another cause.", "%s messages have other causes.", self.more
        )
        return text % shown(self.more) if self.more else ""


def summary(
    period: Period, now: Figures, before: Figures, *, may_see_log: bool, is_subscribed: bool = False
) -> Summary:
    """Put a summary together.

    Args:
        now, before: the figures of the period and of the one before.
        may_see_log: whether the reader may open the delivery log, so that links to it are of use.
    """
    listed = now.causes[:LISTED]
    return Summary(
        site=_site(),
        period=period,
        figures=now,
        rows=tuple(_rows(period, now, before, may_see_log)),
        problems=tuple(map(_problem, listed)),
        more=now.not_sent - sum(each.count for each in listed),
        carriers=tuple(
            (_("Standard delivery") if each.key == STANDARD else each.name, _messages(each.count))
            for each in now.carriers[:LISTED]
        ),
        sites=tuple(_sites(now)),
        notes=tuple(_notes()),
        expiring=tuple(f"{each.summary}." for each in expiring()),
        delivery_url=_admin(_DELIVERY),
        account_url=_admin(_ACCOUNT, fragment="tab-notifications"),
        is_subscribed=is_subscribed,
    )


def _sites(now: Figures) -> Iterator[tuple[str, str]]:
    named = sites.names(sites.known()) if now.sites else {}
    for each in now.sites[:LISTED]:
        numbers = {"sent": shown(each.sent), "unsent": shown(each.not_sent)}
        yield sites.label(each.key, named), _("%(sent)s sent, %(unsent)s not sent") % numbers


def shown(number: int) -> str:
    """A number as people of the active language write it."""
    return number_format(number, force_grouping=True)


def _messages(number: int) -> str:
    return ngettext("%s message", "%s messages", number) % shown(number)


def _site() -> str:
    name = str(getattr(settings, "WAGTAIL_SITE_NAME", "") or "") or _("your site")
    here = conf.environment()
    return f"{name} ({here})" if here and here != environments.PRODUCTION else name


def _rows(period: Period, now: Figures, before: Figures, may_see_log: bool) -> Iterator[Row]:
    def log(**chosen: str) -> str:
        return _log(period, **chosen) if may_see_log else ""

    yield Row("sent", _("Sent"), now.sent, before.sent, log(state=State.SENT))
    if now.redirected or before.redirected:
        label = _("Redirected to report emails")
        yield Row("redirected", label, now.redirected, before.redirected, is_part=True)
    label = _("Not sent, or not to everyone")
    yield Row("not_sent", label, now.not_sent, before.not_sent)
    for state in NOT_SENT:
        numbers = now.states.get(state, 0), before.states.get(state, 0)
        if any(numbers):
            yield Row(state, str(state.label), *numbers, log(state=state), is_part=True)
    if now.suppressed or before.suppressed:
        label, url = str(State.SUPPRESSED.label), log(state=State.SUPPRESSED)
        yield Row("suppressed", label, now.suppressed, before.suppressed, url)
    if now.held or before.held:
        yield Row("held", _("Held"), now.held, before.held)
    if _is_tracking():
        yield Row("returned", _("Reported as not delivered"), now.returned, before.returned)
        label = str(Reported.COMPLAINED.label)
        yield Row("complained", label, now.complained, before.complained)
    numbers = now.newly_suppressed, before.newly_suppressed
    if any(numbers):
        yield Row("newly_suppressed", _("Addresses newly suppressed"), *numbers)


def _is_tracking() -> bool:
    """Whether an email provider has reported anything lately."""
    return DeliveryEvent.objects.using(write_alias()).exists()


def _problem(found: CauseCount) -> Problem:
    cause = found.cause
    if cause is None:
        advice = _("The delivery log shows what the server said.")
        return Problem(found.slug, found.count, _("Unknown cause"), advice, "")
    url = _admin(_CAUSES, fragment=cause.slug) or cause.page
    return Problem(cause.slug, found.count, str(cause.title), str(cause.advice), url)


def _notes() -> Iterator[str]:
    """Yield what is unusual at this moment."""
    current = live.current()
    is_held = environments.is_holding(current.held_from)
    if is_held:
        yield environments.held_text(current.held_from)
    redirect = active_redirect(current.configuration)
    if redirect is not None:
        yield redirect.without_addresses
    counts, overdue = outbox()
    if overdue > OVERDUE.total_seconds() and not is_held:
        yield _("Messages in the outbox are not being sent.")
    if waiting := counts.get("waiting", 0) + counts.get("sending", 0):
        text = ngettext(
            "%s message is waiting in the outbox.",
            "%s messages are waiting in the outbox.",
            waiting,
        )
        yield text % shown(waiting)
    if held := counts.get("held", 0):
        text = ngettext(
            "%s message in the outbox came with a copied database and is held.",
            "%s messages in the outbox came with a copied database and are held.",
            held,
        )
        yield text % shown(held)


def _log(period: Period, **chosen: str) -> str:
    """The delivery log, filtered."""
    days = {
        "created_at_from": period.first.isoformat(),
        "created_at_to": period.last.isoformat(),
    }
    return _admin(_LOG, chosen | days)


def _admin(name: str, query: Any = None, fragment: str = "") -> str:
    """The address of a page of the admin; empty if it isn't known."""
    base = str(getattr(settings, "WAGTAILADMIN_BASE_URL", "") or "").rstrip("/")
    try:
        path = reverse(name)
    except NoReverseMatch:
        return ""
    if not base:
        return ""
    return base + path + (f"?{urlencode(query)}" if query else "") + (fragment and f"#{fragment}")
