"""What the plugin's pages show while its database tables are missing or out of date."""

import logging
from functools import wraps

from django.core.cache import cache
from django.shortcuts import render
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from wagtail.admin.staticfiles import versioned_static
from wagtail.utils.urlpatterns import decorate_urlpatterns

from wagtail_smtp.live.db import connections
from wagtail_smtp.runtime import error_logging


def requires_tables(viewset):
    """Class decorator for a viewset: explain what to do instead of failing with a 500 error."""
    own = viewset.get_urlpatterns

    @wraps(own)
    def get_urlpatterns(self):
        return decorate_urlpatterns(own(self), explain_missing_tables)

    viewset.get_urlpatterns = get_urlpatterns
    return viewset


def explain_missing_tables(view):
    """The same as :func:`requires_tables`, as a decorator for one view."""

    @wraps(view)
    def wrapped(request, *args, **kwargs):
        if connections.is_migrated():
            return view(request, *args, **kwargs)
        context = {"page_title": _("Email"), "header_icon": "mail"}
        # 503 tells monitoring and proxies that this is temporary.
        return render(request, "wagtail_smtp/before_migrate.html", context, status=503)

    return wrapped


#: Wagtail's ``versioned_static()``, called when a page is rendered. With a manifest storage, an
#: earlier call would fail in ``collectstatic``, which has yet to write the manifest.
static_file = lazy(versioned_static, str)


logger = logging.getLogger(__name__)

#: Marks a missing key, because None can be cached.
_NOTHING = object()


def cached(key, seconds, query):
    """Return what ``query()`` returned at most ``seconds`` ago, or call it now."""
    with error_logging.without_cache(logger):
        known = cache.get(key, _NOTHING)
        if known is not _NOTHING:
            return known
    new = query()
    with error_logging.without_cache(logger):
        cache.set(key, new, seconds)
    return new
