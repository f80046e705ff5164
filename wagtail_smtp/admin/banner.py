"""The banner on every page of the admin: the most severe of what somebody should know."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass

from django.db import connections, transaction
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.caching import cached
from wagtail_smtp.admin.delivery import store_usage
from wagtail_smtp.admin.delivery.recent_failures import latest_failure
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration
from wagtail_smtp.delivery.active_redirect import active_redirect
from wagtail_smtp.delivery.routing import FORCED
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import current, draft_configuration
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.publish import changes_to
from wagtail_smtp.models import DeliverySettings

logger = logging.getLogger(__name__)

DELIVERY = "wagtail_smtp_delivery:index"
RELOAD = "wagtail_smtp_reload:index"
LOG = "wagtail_smtp_log:index"
SETS = "wagtailsnippets_wagtail_smtp_settingsset:list"

#: Report addresses that are named; the *Email delivery* page names all.
NAMED = 3
#: Seconds for which counted changes hold. A change made in the admin shows at once.
_WAITING_HOLDS = 60


@dataclass(frozen=True)
class Banner:
    """What is shown; ``status`` is Wagtail's word for how bad it is."""

    kind: str
    text: str
    status: str = "warning"
    url: str = ""
    link: str = ""


def banner_for(request):
    """The banner for this page and its reader, or None."""
    user = getattr(request, "user", None)
    if user is None or not user.has_perm("wagtailadmin.access_admin"):
        return None
    try:
        return _find(request) if conf.BANNERS else None
    except Exception:  # whatever is wrong with the email settings, the page must be shown
        logger.warning("The banner about email can't be shown", exc_info=True)
        return None


def _find(request):
    connection = connections[write_alias()]
    with transaction.atomic(connection.alias) if connection.in_atomic_block else nullcontext():
        try:
            live = current()
        except ConfigurationUnavailable:
            return _unavailable(request.user)
        return _redirect(live, request.user) or _other(live, request)


def _unavailable(user):
    if not permissions.may_see(user):
        return None
    text = _("No email leaves, because the email settings in use can't be read.")
    return Banner("unavailable", text, "critical", reverse(DELIVERY), _("Details"))


def _redirect(live, user):
    redirect = active_redirect(live.configuration)
    if redirect is None:
        return None
    status = "critical" if redirect.is_blocked else "warning"
    if not permissions.may_see(user):
        return Banner("redirect", without_addresses(redirect), status)
    text = (without_addresses if redirect.is_blocked else _with_addresses)(redirect)
    return Banner("redirect", text, status, reverse(DELIVERY), _("Details"))


def without_addresses(redirect):
    """What a redirect does, for those who may not see where it leads."""
    if redirect.is_blocked:
        if redirect.is_all and not redirect.addresses:
            return _("No email leaves: it is redirected, but no usable address is given.")
        return _("Some email doesn't leave: it is redirected, but no usable address is given.")
    if redirect.is_all:
        return _("All email is redirected: none reaches its own recipients.")
    return _("Some email is redirected and doesn't reach its own recipients.")


def _with_addresses(redirect):
    shown = ", ".join(redirect.addresses[:NAMED])
    more = len(redirect.addresses) - NAMED
    if more > 0:
        shown = _("%(addresses)s and %(more)d more") % {"addresses": shown, "more": more}
    if redirect.sources == (FORCED,):
        return _("The project's settings redirect all email to %s.") % shown
    values = {"addresses": shown, "names": ", ".join(redirect.sources)}
    if redirect.is_all:
        return _("All email is redirected to %(addresses)s, by “%(names)s”.") % values
    return _("Some email is redirected to %(addresses)s, by “%(names)s”.") % values


def _other(live, request):
    store = _store(request)
    if store is not None and store.status == "critical":
        return store
    return _waiting(live, request) or _failed(request) or store


def _store(request):
    user = request.user
    if request.path == reverse(DELIVERY):
        return None  # its status line says it
    if not (user.has_perm(permissions.VIEW_LOG) or permissions.may_see(user)):
        return None
    usage = store_usage.warning()
    if usage is None:
        return None
    status = "critical" if usage.is_full else "warning"
    return Banner("store", usage.text, status, reverse(DELIVERY), _("Details"))


def _waiting(live, request):
    url = reverse(RELOAD)
    # These pages say it themselves.
    told = (url, reverse(SETS), reverse(DELIVERY))
    if request.path in told or not request.user.has_perm(permissions.RELOAD):
        return None
    number = _count_waiting(live)
    if not number:
        return None
    text = ngettext(
        "%d change of the email settings is not live yet.",
        "%d changes of the email settings are not live yet.",
        number,
    )
    return Banner("waiting", text % number, "info", url, _("Review and reload"))


def _count_waiting(live):
    # Whoever changes something counts this up (models.delivery_settings), so one query tells
    # whether what was counted still holds. Read first: what changes meanwhile is counted anew.
    counter = DeliverySettings.objects.filter(pk=1).values_list("lock_counter", flat=True).first()
    key = f"wagtail_smtp.banner.waiting.{live.identity}.{counter}"
    before = live.configuration if live.identity else Configuration()
    return cached(key, _WAITING_HOLDS, lambda: len(changes_to(before, draft_configuration())))


def _failed(request):
    user = request.user
    if request.path in (reverse(LOG), reverse(DELIVERY)):
        return None  # these say it themselves
    may_view_log = user.has_perm(permissions.VIEW_LOG)
    trouble = latest_failure() if may_view_log or permissions.may_see(user) else None
    if trouble is None:
        return None
    if may_view_log:
        url, link = f"{reverse(LOG)}?state={trouble.state}", _("Show failed email")
    else:
        url, link = reverse(DELIVERY), _("Details")
    return Banner("failed", str(trouble), "critical", url, link)
