"""Sending limits and quotas that are reached or nearly reached, by set."""

from collections.abc import Iterator
from datetime import datetime

from django.utils.translation import gettext as _

from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.diagnostics import usage
from wagtail_smtp.diagnostics.conditions.base import DAILY, Condition, shown_time, where


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
            where(each.name),
        ),
    )


def _quota(each: usage.Usage, until: datetime) -> Condition:
    time = shown_time(until)
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
            where(each.name),
        ),
    )
