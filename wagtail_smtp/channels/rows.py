"""The rows of alerts: one per cause and interval, each delivered by one process at a time.

All functions write in autonomous transactions, so they work wherever an alert was raised. Times are
the database's.
"""

import hashlib
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.db import IntegrityError
from django.db.models import Q, QuerySet
from django.utils import timezone

from wagtail_smtp.alerts import Report
from wagtail_smtp.conf import conf
from wagtail_smtp.live import environments
from wagtail_smtp.live.db import autonomous, expressions
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.models import Alert, Told

#: Seconds for which a process claims an alert. It renews the claim before each channel.
LEASE = 120
#: Seconds after which an alert that was not delivered is too old to be of use.
MAX_AGE = 3600
#: Seconds after which a condition counts as ended, even if no one noticed.
_CONDITION = 7 * 24 * 3600
#: How many rows are deleted in one transaction.
_STEP = 100
#: The longest text that is stored.
_MAX_TEXT = 10_000

T = TypeVar("T")


def rows() -> "QuerySet[Alert]":
    """All alerts, on the database they are written to."""
    return Alert.objects.using(db_connections.write_alias())


def _write(work: Callable[[], T]) -> T:
    return autonomous.write(work, db_connections.write_alias())


def _hash(name: str) -> str:
    """The environment is part of it: a copied database must not silence the copy's own alerts."""
    return hashlib.sha256(f"{conf.environment()}\0{name}".encode()).hexdigest()


def add(report: Report) -> Alert | float | None:
    """Add an alert, claimed by this process.

    Returns:
        The alert. If another one with its cause exists: the number of seconds until there may be
        another. None: its condition isn't open, so there is nothing to tell.

    Raises:
        django.db.Error, TimeoutError, RuntimeError: the database is not available.
    """
    cause = _hash(report.cause) if report.interval else None
    values = {
        "kind": report.kind,
        "cause": cause,
        "condition": _hash(report.opens) if report.opens else "",
        "subject": report.subject[:255],
        "text": report.text[:_MAX_TEXT],
        "repetitions": report.repetitions,
        "environment": conf.environment(),
        "not_through": list(report.not_through),
    }
    try:
        return _write(lambda: _add(report, cause, values))
    except IntegrityError:
        if cause is None or not _write(rows().filter(cause=cause).exists):
            raise
        return report.interval  # another process was faster


def _add(report: Report, cause: str | None, values: dict[str, Any]) -> Alert | float | None:
    if report.ends and not _end(_hash(report.ends)):
        return None
    if cause is not None:
        earlier = rows().filter(cause=cause)
        # Reading first: usually the first process has added it long ago.
        if (until := earlier.values_list("until", flat=True).first()) is not None:
            if earlier.filter(until__gt=expressions.now()).exists():
                return max((until - timezone.now()).total_seconds(), 1.0)
            # Only this one: another process may have replaced it in the meantime.
            earlier.filter(until__lte=expressions.now()).update(cause=None)
    alert = Alert(
        **values,
        token=uuid.uuid4(),
        until=expressions.now(report.interval),
        lease_until=expressions.now(LEASE),
    )
    alert.save(using=db_connections.write_alias(), force_insert=True)
    return alert


def _end(condition: str) -> bool:
    """End a condition; whether it was open. Only one process ends it."""
    since = expressions.now(-_CONDITION)
    opened = rows().filter(condition=condition, created_at__gt=since)
    return opened.exists() and bool(opened.update(condition=""))


def _unclaimed() -> "QuerySet[Alert]":
    """The open alerts of this environment whose process died or gave up."""
    lapsed = Q(lease_until__lt=expressions.now()) | Q(lease_until=None)
    own = environments.own_names()
    return rows().filter(lapsed, state=Alert.State.OPEN, environment__in=own)


def claim() -> Alert | None:
    """Claim an alert that no living process delivers, the oldest first.

    A channel that was being told when its process died may have the alert: it becomes *unknown*.
    """
    too_old = _unclaimed().filter(created_at__lt=expressions.now(-MAX_AGE))
    token = uuid.uuid4()

    def work() -> Alert | None:
        if too_old.exists():
            too_old.update(state=Alert.State.EXPIRED, lease_until=None)
        for key in _unclaimed().order_by("pk").values_list("pk", flat=True)[:_STEP]:
            if _unclaimed().filter(pk=key).update(token=token, lease_until=expressions.now(LEASE)):
                return rows().get(pk=key)
        return None

    alert = _write(work)
    if alert is not None:
        for outcome in alert.outcomes.values():
            if outcome["state"] == Told.TRYING:
                outcome["state"] = str(Told.UNKNOWN)
    return alert


def is_any_unclaimed() -> bool:
    """Whether :func:`claim` would find an alert."""
    return _unclaimed().exists()


def note(alert: Alert, channel: str, state: Told, detail: str = "") -> bool:
    """Record what a channel has, and renew the claim; False if this process has lost the alert."""
    alert.outcomes[channel] = {"state": str(state), "detail": detail}
    return _update(alert, lease_until=expressions.now(LEASE))


def finish(alert: Alert) -> bool:
    """Record that all channels were tried."""
    alert.state = Alert.State.DONE
    return _update(alert, state=Alert.State.DONE, lease_until=None)


def _update(alert: Alert, **values: Any) -> bool:
    if alert.pk is None:
        return True  # it could not be stored
    mine = rows().filter(pk=alert.pk, token=alert.token, state=Alert.State.OPEN)
    return bool(_write(lambda: mine.update(outcomes=alert.outcomes, **values)))


def delete_old() -> int:
    """Delete alerts that are older than the log, in small steps; return their number.

    Those whose interval lasts longer are kept until then.
    """
    days = min(conf.KEEP_LOG_DAYS, 36_500)
    old = rows().filter(
        created_at__lt=timezone.now() - timedelta(days=days), until__lte=expressions.now()
    )
    count = 0
    while keys := list(old.order_by("created_at").values_list("pk", flat=True)[:_STEP]):
        _write(lambda keys=keys: rows().filter(pk__in=keys).delete())  # type: ignore[misc]
        count += len(keys)
        if len(keys) < _STEP:
            break
    return count
