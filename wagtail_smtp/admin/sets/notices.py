"""Notices about settings without effect, each with a button or link that fixes it."""

from dataclasses import dataclass

from django.urls import reverse

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.labels import category_label
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
