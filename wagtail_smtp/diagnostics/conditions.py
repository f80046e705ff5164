"""Conditions that deserve an alert although no message fails because of them.

Each is found at a limited cost, however many messages are waiting or in the log.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp import live
from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.explain.redirects import Redirecting, redirecting
from wagtail_smtp.delivery.kinds import described
from wagtail_smtp.diagnostics import expiry, refusals, usage
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import expressions
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.resolve import version_configuration
from wagtail_smtp.models import BounceSource, ConfigurationVersion, OutboxMessage

#: If a message is overdue for longer than this, no worker is delivering the outbox.
OVERDUE = timedelta(minutes=15)
#: How long a redirect may be in effect before it is reported.
REDIRECT_AFTER = timedelta(days=1)
#: How long a mailbox may be unreadable, or not be read, before that is reported.
UNREAD_AFTER, UNREAD_DAY = timedelta(hours=1), timedelta(days=1)
#: Seconds in which a condition with the same cause is reported once.
DAILY, WEEKLY = 24 * 3600.0, 7 * 24 * 3600.0
#: A longer time than anything is reported before it expires: each limit is reported once.
_ONCE = 60 * 24 * 3600.0
#: Overdue messages that are counted.
_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong, or soon will be.

    Texts are in the language that is active.

    Attributes:
        kind: of the alert.
        cause: identifies it. It is reported once in ``interval`` seconds.
        summary: what happened, without a full stop.
        paragraphs: what it means, what to do and where to look.
    """

    kind: AlertKind
    cause: str
    interval: float
    summary: str
    paragraphs: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The summary as the subject of an alert."""
        is_problem = self.kind in (AlertKind.WAITING, AlertKind.REFUSALS, AlertKind.BOUNCES)
        return (_("Email problem: %s") if is_problem else _("Email: %s")) % self.summary


def outbox() -> Iterator[Condition]:
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


#: Of messages in the outbox: security, and all others.
_PRIORITIES = (0, 1)


def long_redirects() -> Iterator[Condition]:
    """Redirects of live sets that have been in effect for more than a day.

    Not those forced by the project's settings, and nothing if the live version comes from another
    environment.
    """
    current = live.current()
    if current.held_from or conf.forced_redirect() is not None:
        return
    for item in current.configuration.sets:
        effect = redirecting(current.configuration, item)
        since = _redirecting_since(item.key) if effect.kinds else None
        if since is None or timezone.now() - since <= REDIRECT_AFTER:
            continue
        days = (timezone.now() - since).days
        summary = ngettext(
            "“%(name)s” has been redirecting email for more than %(days)d day",
            "“%(name)s” has been redirecting email for more than %(days)d days",
            days,
        )
        yield Condition(
            AlertKind.REDIRECT,
            f"redirect {item.key} {since.isoformat()}",
            WEEKLY,
            summary % {"name": item.name, "days": days},
            (
                _redirect_effect(effect, item.report_addresses),
                _(
                    "If email should reach its real recipients again, turn off “Redirect to report "
                    "email” in the set, save and reload. While the redirect is on, you get this "
                    "alert every week."
                ),
                _where(item.name),
            ),
        )


def _redirect_effect(effect: Redirecting, addresses: tuple[str, ...]) -> str:
    text = _(
        "Its email goes only to %(addresses)s, not to the real recipients. This applies to "
        "%(what)s."
    )
    what = _("all mail") if effect.is_all else described(effect.parts)
    return text % {"addresses": ", ".join(addresses), "what": what}


def _redirecting_since(key: str) -> datetime | None:
    """When the set's redirect came into effect, without a break until now; None: it isn't.

    Only the versions that are kept are known, and only those of this environment count.
    """
    since: datetime | None = None
    for version in ConfigurationVersion.objects.using(write_alias()).iterator():
        if environments.origin(version.environment):
            break
        try:
            configuration = version_configuration(version)
        except ValueError:  # of a newer release
            break
        item = configuration.by_key().get(key)
        if item is None or not redirecting(configuration, item).kinds:
            break
        since = version.created_at
    return since


def expiring() -> Iterator[Condition]:
    """Certificates, consents and client secrets; each limit of days is reported once."""
    for each in expiry.expiring():
        summary, paragraphs = _EXPIRY[each.kind](each)
        yield Condition(
            AlertKind.EXPIRING,
            f"{each.kind} {each.server or each.key} {each.at:%Y-%m-%d} {each.days}",
            _ONCE,
            summary,
            paragraphs,
        )


def _certificate(each: expiry.Expiry) -> tuple[str, tuple[str, ...]]:
    values = {"server": each.server, "date": _date(each.at), "name": each.name}
    return (
        _("The certificate of %(server)s expires on %(date)s") % values,
        (
            _(
                "“%(name)s” sends through this server. After that day, no email can be sent "
                "through it until the certificate is renewed."
            )
            % values,
            _(
                "If the server is yours, renew its certificate, or check why that doesn't happen "
                "automatically. Otherwise tell its operator. Nothing has to be changed in the "
                "settings."
            ),
            _(
                "To see which certificate the server has now: “Email → SMTP settings”, “%s”, "
                "“Test only”."
            )
            % each.name,
        ),
    )


def _consent(each: expiry.Expiry) -> tuple[str, tuple[str, ...]]:
    values = {"date": _date(each.at), "name": each.name}
    return (
        _("The consent for “%(name)s” ends on %(date)s") % values,
        (
            _(
                "The identity provider lets “%(name)s” send email until then. After that, no email "
                "can be sent through it."
            )
            % values,
            _(
                "Open the set, choose “Connect” and give consent again. With Google, a consent "
                "ends after seven days while the app's publishing status is “Testing”."
            ),
            _where(each.name),
        ),
    )


def _client_secret(each: expiry.Expiry) -> tuple[str, tuple[str, ...]]:
    values = {"date": _date(each.at), "name": each.name}
    return (
        _("The client secret of “%(name)s” expires on %(date)s") % values,
        (
            _("From then on, “%(name)s” gets no access token, and no email can be sent through it.")
            % values,
            _(
                "Create a new client secret at the identity provider. Then enter it in the set, "
                "with its date, save and reload."
            ),
            _where(each.name),
        ),
    )


_EXPIRY = {"certificate": _certificate, "consent": _consent, "secret": _client_secret}


def bounces() -> Iterator[Condition]:
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
    values = {"name": name, "since": date_format(_local(since), "DATETIME_FORMAT")}
    return Condition(
        AlertKind.BOUNCES,
        f"bounces {key}",
        DAILY,
        _("The bounces of “%(name)s” can't be read") % values,
        (
            _("Its mailbox can't be read since %(since)s. Bounces stay in it.") % values,
            _("Open the set and choose “Test only”, which names the cause."),
            failure or _where(name),
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
            _where(name),
        ),
    )


def unusual_rates() -> Iterator[Condition]:
    """Unusually many refusals or complaints, by set, and suppressed addresses, by domain."""
    for rates in refusals.unusual():
        if rates.has_many_refused:
            yield _many_refused(rates)
        if rates.has_many_complaints:
            yield _many_complaints(rates)
    for found in refusals.unusual_suppressions():
        yield _many_suppressed(found)


def _many_refused(rates: refusals.Rates) -> Condition:
    percent = number_format(100 * rates.refused / max(rates.recipients, 1), 0)
    values = _shown(rates, rates.refused) | {"percent": percent}
    return Condition(
        AlertKind.REFUSALS,
        f"refused {rates.key}",
        DAILY,
        _("%(percent)s%% of recipients refuse email from “%(name)s”") % values,
        (
            _(
                "Since %(since)s, “%(name)s” has sent email to %(recipients)s recipients. "
                "%(number)s of them were refused, or the email bounced."
            )
            % values,
            _(
                "Check whether the addresses are real: bots enter fake ones into forms, and old "
                "lists contain many that no longer exist. If the responses mention your domain, "
                "spam or policy, the cause is the sender's DNS records or reputation. Email "
                "providers may suspend your account for this, Amazon SES at 10 percent."
            ),
            _("The delivery log shows each response. Filter it by “Refused” and by “%s”.")
            % rates.name,
        ),
    )


def _many_complaints(rates: refusals.Rates) -> Condition:
    values = _shown(rates, rates.complaints)
    return Condition(
        AlertKind.REFUSALS,
        f"complaints {rates.key}",
        DAILY,
        _("Recipients report email from “%(name)s” as spam") % values,
        (
            _(
                "Since %(since)s, %(number)s recipients have reported email from “%(name)s” as "
                "spam. It was sent to %(recipients)s recipients in that time."
            )
            % values,
            _(
                "Gmail and Yahoo put a sender's email into spam at 0.3 percent. Send only to "
                "people who asked for it, let them unsubscribe with one click, and stop sending to "
                "those who complained."
            ),
            _("In the delivery log, filter by “Reported as spam” to see which messages these are."),
        ),
    )


def _many_suppressed(found: refusals.Suppressions) -> Condition:
    values = {
        "number": number_format(found.number, force_grouping=True),
        "domain": found.domain,
        "since": date_format(_local(found.since), "DATETIME_FORMAT"),
    }
    return Condition(
        AlertKind.REFUSALS,
        f"suppressed {found.domain}",
        DAILY,
        _("%(number)s addresses at %(domain)s were suppressed after bounces") % values,
        (
            _(
                "Since %(since)s, mail servers have said of %(number)s addresses at %(domain)s "
                "that they don't exist. So they get no email any more, except security email such "
                "as password resets."
            )
            % values,
            _(
                "If these people are known to exist, a mail server was wrong, which happens during "
                "outages. Let them get email again: open “Email → Suppressed addresses”, search "
                "for “%(domain)s”, filter by “Hard bounce” and the date, select all that match, "
                "and remove them."
            )
            % values,
            _("Otherwise check where the addresses come from: bots enter fake ones into forms."),
        ),
    )


def sending_limits() -> Iterator[Condition]:
    """Limits that are reached or nearly reached, and quotas that servers report as used up.

    Not the limits per second and minute, where email waits for a moment at most.
    """
    for each in usage.of_live_sets():
        if each.paused_until is not None:
            yield _quota(each, each.paused_until)
        for used in each.limits:
            if used.period != "minute" and (used.is_reached or used.percent >= usage.NEARLY):
                yield _limit(each, used)


def _limit(each: usage.Usage, used: usage.Used) -> Condition:
    values = {"name": each.name, "used": str(used)}
    if used.is_reached:
        summary = _("“%(name)s” has reached its sending limit: %(used)s")
    else:
        summary = _("“%(name)s” has nearly reached its sending limit: %(used)s")
    return Condition(
        AlertKind.LIMIT,
        f"limit {each.key} {used.period} {used.is_reached}",
        DAILY,
        summary % values,
        (
            _(
                "At the limit, email is sent through the next set that applies. If there is none, "
                "queued email waits, and other email fails."
            ),
            _(
                "If your email provider allows more, raise the limit in the set. Otherwise add "
                "another set below it, or find out why the site sends more email than usual."
            ),
            _where(each.name),
        ),
    )


def _quota(each: usage.Usage, until: datetime) -> Condition:
    time = date_format(_local(until), "DATETIME_FORMAT")
    values = {"name": each.name, "time": time, "reply": each.reply}
    return Condition(
        AlertKind.LIMIT,
        f"quota {each.key}",
        DAILY,
        _("“%(name)s” is paused until %(time)s: its server reports that a quota is used up")
        % values,
        (
            _(
                "Until then, email is sent through the set's backups, queued email waits, and "
                "other email fails. The server's response: %(reply)s"
            )
            % values,
            _(
                "Enter your email provider's limits in the set, so that the site keeps to them. To "
                "send more, ask the provider for a higher limit, or add another set."
            ),
            _where(each.name),
        ),
    )


def _shown(rates: refusals.Rates, number: int) -> dict[str, str]:
    return {
        "name": rates.name,
        "since": date_format(_local(rates.since), "DATETIME_FORMAT"),
        "number": number_format(number, force_grouping=True),
        "recipients": number_format(rates.recipients, force_grouping=True),
    }


def _where(name: str) -> str:
    return _("In the admin, open “Email → SMTP settings”, “%s”.") % name


def _date(at: datetime) -> str:
    return date_format(_local(at), "DATE_FORMAT")


def _local(at: datetime) -> datetime:
    """In the site's time zone, not in that of the request in which a task runs."""
    zone = timezone.get_default_timezone()
    return timezone.localtime(at, zone) if timezone.is_aware(at) else at
