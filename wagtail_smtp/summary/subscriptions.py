"""Who gets the summary, for which days, and when: each user once for each period."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils import timezone

from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.diagnostics.figures import Period
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import retry
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import SummarySubscription
from wagtail_smtp.runtime.project import address_of

#: When the summary of the days before is due, in the site's time zone.
_DUE_AT = time(7)
#: To see the numbers in the log. The others show the state of the settings.
VIEW_LOG = "wagtail_smtp.view_logentry"
#: Who may get a summary: those who see its numbers on *Email delivery*.
PERMISSIONS = (
    VIEW_LOG,
    "wagtail_smtp.view_settingsset",
    "wagtail_smtp.change_settingsset",
    "wagtail_smtp.reload_application",
    "wagtail_smtp.change_deliverysettings",
    "wagtail_smtp.view_configurationversion",
)

Frequency = SummarySubscription.Frequency


def may_receive(user: Any) -> bool:
    """Whether the user may get a summary, and can: an address may be invalid."""
    may = user.is_active and any(map(user.has_perm, PERMISSIONS))
    return may and is_email_address(address_of(user))


def latest_period(frequency: str, now: datetime | None = None) -> Period:
    """The last day, or week from Monday to Sunday, whose summary is due at ``now`` or earlier."""
    now = now or timezone.now()
    if timezone.is_aware(now):
        now = timezone.localtime(now, timezone.get_default_timezone())
    today = now.date() if now.time() >= _DUE_AT else now.date() - timedelta(days=1)
    if frequency == Frequency.DAILY:
        yesterday = today - timedelta(days=1)
        return Period(yesterday, yesterday)
    monday = today - timedelta(days=today.weekday())
    return Period(monday - timedelta(days=7), monday - timedelta(days=1))


def frequency_of(user: Any) -> str:
    """How often this environment sends the user a summary; empty: never."""
    return chosen_by(user)[0]


def chosen_by(user: Any) -> tuple[str, str]:
    """How often this environment sends the user a summary, and which other one sends them one.

    At least one of them is empty.
    """
    row = _rows().filter(user=user).first()
    elsewhere = environments.origin(row.environment) if row else ""
    return (row.frequency if row and not elsewhere else "", elsewhere)


def choose(user: Any, frequency: str) -> None:
    """Send the user a summary ``weekly`` or ``daily`` from here; empty: never.

    The first one is about a period that isn't over yet.
    """
    rows = _rows()
    if not frequency:
        rows.filter(user=user).delete()
        return
    rows.update_or_create(
        user=user,
        defaults={
            "frequency": frequency,
            "environment": conf.environment(),
            "sent_until": latest_period(frequency).last,
        },
    )


def due(now: datetime | None = None) -> Iterator[tuple[SummarySubscription, Period]]:
    """Yield the subscriptions that are due, with the period to summarise.

    Periods that were missed, because no process ran, are left out.
    """
    for frequency in Frequency:
        period = latest_period(frequency, now)
        for subscription in _due(frequency, period.last).order_by("pk"):
            yield subscription, period


def is_any_due() -> bool:
    """Whether a subscription is due."""
    return any(_due(each, latest_period(each).last).exists() for each in Frequency)


def claim(subscription: SummarySubscription, period: Period) -> bool:
    """Return True for one caller of all processes, which then sends the summary.

    If it dies before that, the summary of this period is not sent.
    """
    rows = _due(subscription.frequency, period.last).filter(pk=subscription.pk)
    return bool(retry.repeated(lambda: rows.update(sent_until=period.last), rows.db))


def user_of(subscription: SummarySubscription) -> Any:
    """The user; None if the project's manager hides them."""
    return get_user_model()._default_manager.filter(pk=subscription.user_id).first()


def _rows() -> "QuerySet[SummarySubscription]":
    return SummarySubscription.objects.using(write_alias())


def _own() -> "QuerySet[SummarySubscription]":
    """Without those that came with a copied database."""
    return _rows().filter(environment__in=environments.own_names())


def _due(frequency: str, last: date) -> "QuerySet[SummarySubscription]":
    return _own().filter(frequency=frequency, sent_until__lt=last)
