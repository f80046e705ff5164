"""Notices about settings without effect, each with a button or link that fixes it."""

from dataclasses import dataclass

from django.urls import reverse
from django.utils import timezone

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import cached
from wagtail_smtp.admin.delivery.failures import LAST_DAY, of_sets
from wagtail_smtp.admin.labels import category_label
from wagtail_smtp.admin.sets.overview import Overview
from wagtail_smtp.config.values import Configuration
from wagtail_smtp.delivery.active_redirect import Notice, notices
from wagtail_smtp.models import SettingsSet

URLS = "wagtailsnippets_wagtail_smtp_settingsset"


@dataclass(frozen=True)
class Shown:
    """One notice; ``put_first_url`` is posted to, ``kind`` says what the link leads to."""

    text: str
    status: str
    kind: str
    put_first_url: str = ""
    url: str = ""


def shown(configuration: Configuration, user, *, saved: Configuration | None = None, key=""):
    """The notices of a configuration for ``user``.

    Args:
        saved: the sets as they are saved, if ``configuration`` is something else. What is fixed
            there only waits for a reload.
        key: of the only set to show notices of.
    """
    still = notices(configuration if saved is None else saved)
    told = [notice for notice in notices(configuration) if not key or notice.key in ("", key)]
    may_change = user.has_perm(permissions.CHANGE_SETS)
    pks = {}
    if may_change and told:
        pks = {str(k): pk for k, pk in SettingsSet.objects.values_list("key", "pk")}
    return [_shown(notice, pks.get(notice.key), user, notice not in still) for notice in told]


def _shown(notice: Notice, pk, user, fixed: bool) -> Shown:
    text = notice.text(category_label)
    status = "critical" if notice.kind == "redirect" else "warning"
    if fixed and user.has_perm(permissions.RELOAD):
        return Shown(text, status, "reload", url=reverse("wagtail_smtp_reload:index"))
    if notice.reason == "method":
        if not user.has_perm(permissions.CHANGE_METHOD):
            return Shown(text, status, "")
        url = reverse("wagtail_smtp_delivery:index") + "#method"
        return Shown(text, status, "method", url=url)
    if pk is None:
        return Shown(text, status, "")
    if notice.first_would_help:
        return Shown(text, status, "first", put_first_url=reverse(f"{URLS}:put_first", args=[pk]))
    return Shown(text, status, "order", url=reverse(f"{URLS}:list"))


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
