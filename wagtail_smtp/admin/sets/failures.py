"""Recent failures of settings sets, as their pages show them."""

from django.urls import reverse
from django.utils import timezone

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.caching import cached
from wagtail_smtp.admin.delivery.failures import of_sets
from wagtail_smtp.admin.delivery.recent_failures import LAST_DAY
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.models import SettingsSet

#: Seconds that the result is cached, as for the banner.
_KEPT = 30


def failing(request, item=None):
    """The context of the note about ``item``, or about each set that fails.

    Args:
        item: a settings set; None: all of them.
    """
    user = request.user
    may_see_log = user.has_perm(permissions.VIEW_LOG)
    if not (may_see_log or permissions.may_see(user)):
        return {"notes": []}
    since = timezone.now() - LAST_DAY
    found = cached("wagtail_smtp.failing", _KEPT, lambda: of_sets(Overview.now().live, since))
    sets = SettingsSet.objects.filter(key__in=found) if item is None else [item]
    notes = [(each, found[str(each.key)]) for each in sets if str(each.key) in found]
    return {
        "notes": notes,
        "is_listing": item is None,
        "may_see_log": may_see_log,
        "may_change": user.has_perm(permissions.CHANGE_SETS),
        "log_url": reverse("wagtail_smtp_log:index"),
    }
