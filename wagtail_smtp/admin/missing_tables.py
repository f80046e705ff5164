"""What the plugin's pages show while its database tables are missing or out of date."""

from functools import wraps

from django.shortcuts import render
from django.utils.translation import gettext as _
from wagtail.utils.urlpatterns import decorate_urlpatterns

from wagtail_smtp.live.db import schema


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
        if schema.is_migrated():
            return view(request, *args, **kwargs)
        context = {"page_title": _("Email"), "header_icon": "mail"}
        # 503 tells monitoring and proxies that this is temporary.
        return render(request, "wagtail_smtp/before_migrate.html", context, status=503)

    return wrapped
