"""The banner on every admin page: the most severe problem that the reader should know."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import DELIVERY, LOG, RELOAD, SETS, cached
from wagtail_smtp.admin.delivery.failures import latest_failure
from wagtail_smtp.admin.delivery.status import store_warning
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration
from wagtail_smtp.delivery.explain.redirects import active_redirect
from wagtail_smtp.delivery.routing import FORCED
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import current, draft_configuration, environments
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.publish import changes_to
from wagtail_smtp.models import DeliverySettings

logger = logging.getLogger(__name__)

#: Report emails the banner names; the *Email delivery* page names all of them.
NAMED = 3
#: Seconds for which the number of waiting changes is cached. A change made in the admin shows
#: immediately.
_WAITING_CACHED = 60


@dataclass(frozen=True)
class Banner:
    """One banner; ``status`` is the status of Wagtail's help block: how severe it is."""

    kind: str
    text: str
    status: str = "warning"
    url: str = ""
    link: str = ""


def banner_for(request):
    """Return the banner for this page and user, or None."""
    user = getattr(request, "user", None)
    if user is None or not user.has_perm("wagtailadmin.access_admin"):
        return None
    try:
        return _find(request) if conf.BANNERS else None
    except Exception:  # a problem with the email settings must not break the page
        logger.warning("The email banner can't be shown", exc_info=True)
        return None


def _find(request):
    connection = connections[write_alias()]
    with transaction.atomic(connection.alias) if connection.in_atomic_block else nullcontext():
        try:
            live = current()
            held_from = live.held_from
        except ConfigurationUnavailable:
            return _unavailable(request.user)
        except ImproperlyConfigured as error:
            # Such as the name of the environment; the project's developers know what to do.
            text = _("No email is being sent: %s") % error
            return Banner("unavailable", text, "critical")
        redirect = _redirect(live, request.user)
        if held_from:
            return _held(held_from, redirect, request)
        return redirect or _other(live, request)


def _unavailable(user):
    if not permissions.may_see(user):
        return None
    text = _("No email is being sent: the live email settings can't be read.")
    return Banner("unavailable", text, "critical", reverse(DELIVERY), _("Details"))


def _held(held_from, redirect, request):
    """The live version comes from another environment, so this database may be a copy."""
    url, link = "", ""
    if request.user.has_perm(permissions.RELOAD):
        url, link = reverse(RELOAD), _("Reload application")
    elif permissions.may_see(request.user):
        url, link = reverse(DELIVERY), _("Details")
    if request.path == url:
        url = ""
    if environments.is_holding(held_from):
        return Banner("held", environments.held_text(held_from), "critical", url, link)
    # Here a redirect is forced, which a reload doesn't end.
    text = f"{environments.origin_text(held_from)} {redirect.text}"
    return Banner("held", text, redirect.status, url, link)


def _redirect(live, user):
    redirect = active_redirect(live.configuration)
    if redirect is None:
        return None
    status = "critical" if redirect.is_blocked else "warning"
    if not permissions.may_see(user):
        return Banner("redirect", redirect.without_addresses, status)
    text = redirect.without_addresses if redirect.is_blocked else _with_addresses(redirect)
    return Banner("redirect", text, status, reverse(DELIVERY), _("Details"))


def _with_addresses(redirect):
    shown = ", ".join(redirect.addresses[:NAMED])
    more = len(redirect.addresses) - NAMED
    if more > 0:
        shown = _("%(addresses)s and %(more)d more") % {"addresses": shown, "more": more}
    if redirect.sources == (FORCED,):
        return _("The project's settings redirect all email to %s.") % shown
    values = {"addresses": shown, "names": ", ".join(redirect.sources)}
    if redirect.is_all:
        return _("All email is redirected to %(addresses)s by “%(names)s”.") % values
    return _("Some email is redirected to %(addresses)s by “%(names)s”.") % values


def _other(live, request):
    store = _store(request)
    if store is not None and store.status == "critical":
        return store
    return _waiting(live, request) or _failed(request) or store


def _store(request):
    user = request.user
    if request.path == reverse(DELIVERY):
        return None  # its status lines show this
    if not (user.has_perm(permissions.VIEW_LOG) or permissions.may_see(user)):
        return None
    store = store_warning()
    if store is None:
        return None
    status = "critical" if store.tone == "bad" else "warning"
    return Banner("store", store.text, status, reverse(DELIVERY), _("Details"))


def _waiting(live, request):
    url = reverse(RELOAD)
    # These pages show it themselves.
    own_pages = (url, reverse(SETS), reverse(DELIVERY))
    if request.path in own_pages or not request.user.has_perm(permissions.RELOAD):
        return None
    number = _count_waiting(live)
    if not number:
        return None
    text = ngettext(
        "%d change to the email settings is not live yet.",
        "%d changes to the email settings are not live yet.",
        number,
    )
    return Banner("waiting", text % number, "info", url, _("Review and reload"))


def _count_waiting(live):
    # Every change increments this counter (models.configuration), so one query is enough to
    # see whether the cached number is current. Read it first: a later change gets a new key.
    counter = DeliverySettings.objects.filter(pk=1).values_list("lock_counter", flat=True).first()
    key = f"wagtail_smtp.banner.waiting.{live.identity}.{counter}"
    before = live.configuration if live.identity else Configuration()
    return cached(key, _WAITING_CACHED, lambda: len(changes_to(before, draft_configuration())))


def _failed(request):
    user = request.user
    if request.path in (reverse(LOG), reverse(DELIVERY)):
        return None  # these pages show it themselves
    may_view_log = user.has_perm(permissions.VIEW_LOG)
    failure = latest_failure() if may_view_log or permissions.may_see(user) else None
    if failure is None:
        return None
    if may_view_log:
        url, link = f"{reverse(LOG)}?state={failure.state}", _("View failed email")
    else:
        url, link = reverse(DELIVERY), _("Details")
    return Banner("failed", str(failure), "critical", url, link)
