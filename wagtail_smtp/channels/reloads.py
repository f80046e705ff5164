"""Tell channels that settings were made live. ADMINS get no email: they do it themselves."""

from typing import Any

from django.utils.translation import gettext as _
from wagtail.admin.utils import get_user_display_name

from wagtail_smtp import alerts, signals
from wagtail_smtp.alerts import AlertKind
from wagtail_smtp.channels.channel import wants
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.live.publish import changes_to
from wagtail_smtp.live.resolve import version_configuration
from wagtail_smtp.models import ConfigurationVersion
from wagtail_smtp.runtime import project

#: How many changes are listed.
_LISTED = 10


def connect() -> None:
    """Connect to the signal of a reload."""
    signals.configuration_reloaded.connect(_report, dispatch_uid="wagtail_smtp.channels")


def _report(number: int, user: Any, **kwargs: Any) -> None:
    if not wants(AlertKind.LIVE):
        return
    with project.in_site_language():
        who = get_user_display_name(user) if user is not None else _("the command line")
        alerts.report(
            AlertKind.LIVE,
            f"live {number}",
            _("Email settings: version %d is live") % number,
            _("It was made live by %s.") % who,
            "\n".join(_changes(number)),
            interval=0,
        )


def _changes(number: int) -> list[str]:
    """What is different from the version before, without any values."""
    rows = ConfigurationVersion.objects.using(db_connections.write_alias())
    version = rows.filter(number=number).first()
    if version is None:
        return []
    before = rows.filter(number__lt=number).order_by("-number").first()
    found = changes_to(version_configuration(before), version_configuration(version))
    return [change.summary for change in found[:_LISTED]]
