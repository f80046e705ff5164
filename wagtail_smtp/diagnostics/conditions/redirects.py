"""Redirects that have been in effect for a long time."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp import live
from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.explain.redirects import Redirecting, redirecting
from wagtail_smtp.delivery.kinds import described
from wagtail_smtp.diagnostics.conditions.base import WEEKLY, Condition, where
from wagtail_smtp.live import environments
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.resolve import version_configuration
from wagtail_smtp.models import ConfigurationVersion

#: How long a redirect may be in effect before it is reported.
REDIRECT_AFTER = timedelta(days=1)


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
                where(item.name),
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
