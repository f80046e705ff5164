"""The state of a site's email: what is live, what is waiting and what has failed."""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.db.models import Count, QuerySet
from django.utils import timezone

from wagtail_smtp import live
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.config_files.drift import Drift, drift
from wagtail_smtp.delivery.explain.notices import Notice, notices
from wagtail_smtp.delivery.explain.redirects import redirecting
from wagtail_smtp.delivery.explain.routes import is_used
from wagtail_smtp.delivery.log import stored_message
from wagtail_smtp.diagnostics import usage
from wagtail_smtp.diagnostics.conditions.expiring import expiring
from wagtail_smtp.diagnostics.conditions.mailboxes import unread_mailboxes
from wagtail_smtp.diagnostics.conditions.outbox import OVERDUE
from wagtail_smtp.diagnostics.conditions.rates import unusual_rates
from wagtail_smtp.diagnostics.usage import Usage
from wagtail_smtp.exceptions import ConfigurationUnavailable, SecretError
from wagtail_smtp.live import consents, environments, sites
from wagtail_smtp.live.db import connections, expressions
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import BounceSource, LogEntry, OutboxMessage
from wagtail_smtp.models.bounces import OUTCOMES, STANDARD_INPUT
from wagtail_smtp.models.choices import State
from wagtail_smtp.transports import standard
from wagtail_smtp.transports.esp.catalog import label as transport_label

#: How long failures count as recent.
RECENT = timedelta(hours=1)
#: States that need attention.
_NEED_ATTENTION = (State.FAILED, State.UNKNOWN, State.BLOCKED, State.TOO_LARGE)


@dataclass(frozen=True, slots=True)
class SetStatus:
    """A live settings set, in order.

    Attributes:
        token: the state of its OAuth 2 token; empty if it has none.
        redirect: which email its redirect applies to; empty if the redirect is off.
        usage: how much of its sending limits is used; None if it has none.
    """

    name: str
    server: str
    categories: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    backup: bool = False
    redirects_to: tuple[str, ...] = ()
    token: str = ""
    is_used: bool = True
    redirect: Literal["", "all", "some", "none"] = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class FailedMessage:
    """A message that needs attention."""

    entry: int
    at: datetime
    state: str
    via: str
    reason: str


@dataclass(frozen=True, slots=True)
class BounceStatus:
    """The bounces that were read in a live set's mailbox, or from standard input (no ``name``).

    Attributes:
        read_at: when that was last possible; None: never.
        failing_since: since when it isn't possible; None: it is.
        counts: the messages by outcome.
    """

    name: str
    read_at: datetime | None
    failing_since: datetime | None
    failure: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """The whole state.

    Attributes:
        environment: where this command runs; empty: it has no name.
        held_from: the environment that the live version comes from, if it is another one.
        version: 0 if nothing has been made live yet.
        forced_redirect: None if the settings force no redirect.
        overdue: how many seconds the oldest message in the outbox is overdue.
        notices: settings that are on but have no effect.
        waiting_notices: settings that will have no effect after a reload.
        drift: how the saved sets differ from the project's settings file; None: there is none.
        alarms: current problems; empty if there are none.
    """

    environment: str
    held_from: str
    version: int
    since: datetime | None
    method: str
    standard: str
    sets: tuple[SetStatus, ...]
    forced_redirect: tuple[str, ...] | None
    waiting_changes: tuple[str, ...]
    waiting_problems: tuple[str, ...]
    notices: tuple[str, ...]
    waiting_notices: tuple[str, ...]
    outbox: dict[str, int]
    overdue: float
    failures: tuple[FailedMessage, ...]
    alarms: tuple[str, ...]
    bounces: tuple[BounceStatus, ...] = ()
    drift: Drift | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values. The documentation promises their names."""
        content = asdict(self)
        if self.drift is not None:
            content["drift"]["changes"] = [change.summary for change in self.drift.changes]
        return content


def status() -> Status:
    """Collect the current state.

    Raises:
        ReloadRefused: the live version was written by a newer release.
    """
    plan = live.preview()
    waiting, overdue = outbox()
    failures = _failures()
    tokens = consents.states(plan.before.sets)
    used = {each.key: each for each in usage.of_live_sets()}
    # While email is held, only the saved sets matter: they are what a reload makes live.
    active = () if environments.is_holding(plan.held_from) else notices(plan.before)
    return Status(
        environment=conf.environment(),
        held_from=plan.held_from,
        version=plan.live.number if plan.live else 0,
        since=plan.live.created_at if plan.live else None,
        method=plan.before.method if plan.live else "standard",
        standard=standard.description(),
        sets=tuple(
            _set(plan.before, item, tokens.get(item.key), used.get(item.key))
            for item in plan.before.sets
        ),
        forced_redirect=conf.forced_redirect(),
        waiting_changes=tuple(map(str, plan.changes)),
        waiting_problems=tuple(map(str, plan.problems)),
        notices=tuple(map(str, active)),
        waiting_notices=tuple(str(each) for each in notices(plan.target) if each not in active),
        outbox=waiting,
        overdue=overdue,
        failures=failures,
        alarms=tuple(_alarms(plan.held_from, active, tokens.values(), overdue, len(failures))),
        bounces=tuple(_bounces(plan.before)),
        drift=drift(),
    )


def _bounces(live: Configuration) -> Iterator[BounceStatus]:
    names = {uuid.UUID(item.key): item.name for item in live.sets if item.mailbox_host}
    names[STANDARD_INPUT] = ""
    known = BounceSource.objects.in_bulk(list(names), field_name="set_key")
    for key, name in names.items():
        source = known.get(key)
        if source is None and name:
            source = BounceSource(set_key=key)  # it was never read
        if source is not None:
            yield BounceStatus(
                name,
                source.read_at,
                source.failing_since,
                source.failure,
                {each: getattr(source, each) for each in OUTCOMES},
            )


def _alarms(
    held_from: str,
    active: Iterable[Notice],
    tokens: Iterable[consents.TokenState],
    overdue: float,
    failures: int,
) -> Iterator[str]:
    """Yield the problems that need attention now."""
    is_holding = environments.is_holding(held_from)
    if is_holding:
        yield environments.held_text(held_from)
    # Keys may have been removed since the version was made live.
    version = live.live_version()
    yield from map(str, live.preview(version).problems if version else ())
    yield from (str(notice) for notice in active if notice.kind == "redirect")
    for state in tokens:
        if state.refusal is not None:
            yield f"The access token could not be renewed. {state.refusal}"
    server = standard.server()
    if server is not None and not server.is_configured:
        yield "Standard delivery is not configured, so password resets can't be sent."
    if conf.forced_redirect() == ():
        yield "The settings force a redirect but contain no address, so no email is sent."
    if not is_holding:  # else the messages wait for that reason
        if text := _overdue(overdue):
            yield text
        yield from _unsendable()
    percent = stored_message.percent_used()
    if percent >= stored_message.WARN_AT:
        yield (
            f"The message store is {percent}% full. Once it is full, undelivered messages are no "
            "longer kept and email can't be queued."
        )
    for find in (expiring, unusual_rates, unread_mailboxes):
        yield from (f"{each.summary}." for each in find())
    if failures:
        yield f"{failures} messages could not be sent in the last hour."


def _set(
    live: Configuration,
    item: SettingsSetConfig,
    token: consents.TokenState | None,
    used: Usage | None,
) -> SetStatus:
    is_default = item.authentication == "default" and not item.uses_esp
    server = transport_label(item.transport) if item.uses_esp else f"{item.host}:{item.port}"
    return SetStatus(
        name=item.name,
        server=standard.description() if is_default else server,
        categories=item.categories,
        sites=_sites(item),
        backup=item.backup,
        redirects_to=item.report_addresses if item.redirect else (),
        token=token.kind if token else "",
        is_used=is_used(live, item),
        redirect=_redirect(live, item),
        usage=used,
    )


def _sites(item: SettingsSetConfig) -> tuple[str, ...]:
    named = sites.names(sites.known()) if item.sites else {}
    return tuple(sites.label(key, named) for key in item.sites)


def _redirect(live: Configuration, item: SettingsSetConfig) -> Literal["", "all", "some", "none"]:
    if not item.redirect:
        return ""
    does = redirecting(live, item)
    return "all" if does.is_all else "some" if does.kinds else "none"


def outbox() -> tuple[dict[str, int], float]:
    """Messages in the outbox by state, and how many seconds the oldest is overdue.

    Waiting messages of other environments count as held.
    """
    rows = OutboxMessage.objects.using(write_alias()).order_by()
    own = environments.own_names()
    counts: Counter[str] = Counter()
    for state, queued_in, number in rows.values_list("state", "environment").annotate(Count("pk")):
        is_held = state == OutboxMessage.State.WAITING and queued_in not in own
        counts["held" if is_held else state] += number
    waiting = rows.filter(state=OutboxMessage.State.WAITING, environment__in=own)
    # Compare with the database's clock, which sets the due times.
    oldest = waiting.order_by("due_at").values_list("due_at", expressions.now()).first()
    overdue = (oldest[1] - oldest[0]).total_seconds() if oldest else 0.0
    return dict(counts), max(0.0, overdue)


def _unsendable() -> Iterator[str]:
    """Why messages wait in the outbox without any attempt."""
    # An entry without an attempt names no settings set.
    waiting = _waiting().filter(state=State.DEFERRED, via="")
    reasons = waiting.values_list("reason").annotate(n=Count("pk")).order_by("-n")
    for reason, number in reasons[:5]:
        yield f"{number} messages are waiting in the outbox: {reason}"


def _waiting() -> "QuerySet[LogEntry]":
    """Entries of messages that wait in the outbox and aren't held."""
    return LogEntry.objects.using(write_alias()).filter(
        outbox__state=OutboxMessage.State.WAITING,
        outbox__environment__in=environments.own_names(),
    )


def _failures() -> tuple[FailedMessage, ...]:
    entries = LogEntry.objects.using(write_alias())
    recent = entries.filter(created_at__gte=timezone.now() - RECENT, state__in=_NEED_ATTENTION)
    recent = recent.unresolved()
    return tuple(
        FailedMessage(entry.pk, entry.created_at, entry.state, entry.via, entry.reason)
        for entry in recent.order_by("-id")[:100]
    )


def problems(tolerated: int = 0) -> tuple[str, ...]:
    """List current problems; empty if there are none.

    Args:
        tolerated: how many messages may have failed in the last hour, or waited longer than that.
    """
    try:
        if not connections.is_migrated():
            return ("The database tables of wagtail-smtp are missing or out of date.",)
        if text := _configuration():
            # If the configuration can't be used, messages wait and fail for that reason.
            return (text,)
        _counts, overdue = outbox()
        return tuple(filter(None, (_overdue(overdue), _recent_failures(tolerated))))
    except Error:
        return ("The database can't be used.",)


def _configuration() -> str:
    try:
        current = live.current()
        if environments.is_holding(current.held_from):
            return "No email is sent, because the email settings come from another environment."
        for item in current.configuration.sets:
            if is_used(current.configuration, item):
                current.transport(item)
    except ConfigurationUnavailable:
        return "The email configuration can't be read."
    except SecretError:
        return "A stored password can't be read."
    except ImproperlyConfigured:
        return "The project's settings are not valid. Run 'manage.py check'."
    return ""


def _overdue(seconds: float) -> str:
    if seconds <= OVERDUE.total_seconds():
        return ""
    minutes = f"{seconds / 60:.0f} minutes"
    return f"Queued email is not being sent: the oldest message is {minutes} overdue."


def _recent_failures(tolerated: int) -> str:
    entries = LogEntry.objects.using(write_alias())
    since = timezone.now() - RECENT
    failed = entries.filter(created_at__gte=since, state__in=(State.FAILED, State.UNKNOWN))
    # A message that waits for a sending limit does what it should.
    waiting = _waiting().filter(created_at__lt=since, state=State.DEFERRED)
    waiting = waiting.exclude(cause="limit-reached")
    number = failed.unresolved().count() + waiting.count()
    if number <= tolerated:
        return ""
    return f"{number} messages failed in the last hour or have been waiting for longer."
