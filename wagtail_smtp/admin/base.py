"""Base classes of the plugin's admin pages: URL names, permissions, breadcrumbs, menu items."""

import logging
from functools import wraps
from typing import Any

from django import forms
from django.contrib.auth.mixins import PermissionRequiredMixin
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.http import HttpRequest
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from wagtail.admin import messages
from wagtail.admin.menu import MenuItem
from wagtail.admin.staticfiles import versioned_static
from wagtail.admin.views.generic.base import WagtailAdminTemplateMixin
from wagtail.admin.viewsets.base import ViewSet

from wagtail_smtp.admin import permissions
from wagtail_smtp.conf import conf
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.live import current, environments
from wagtail_smtp.live.db import connections
from wagtail_smtp.runtime import error_logging

#: Names of the URLs that other modules link to.
DELIVERY = "wagtail_smtp_delivery:index"
LOG = "wagtail_smtp_log:index"
LOG_ENTRY = "wagtail_smtp_log:entry"
HELD = "wagtail_smtp_log:held"
SUPPRESSED = "wagtail_smtp_suppressed:index"
SUPPRESSED_ADDRESS = "wagtail_smtp_suppressed:address"
RELOAD = "wagtail_smtp_reload:index"
MAKE_LIVE = "wagtail_smtp_reload:make_live"
VERSIONS = "wagtail_smtp_versions:index"
TROUBLESHOOTING = "wagtail_smtp_troubleshooting:index"
SETS = "wagtailsnippets_wagtail_smtp_settingsset:list"
ADD_SET = "wagtailsnippets_wagtail_smtp_settingsset:add"
EDIT_SET = "wagtailsnippets_wagtail_smtp_settingsset:edit"
PUT_FIRST = "wagtailsnippets_wagtail_smtp_settingsset:put_first"


#: Base of mixins for Wagtail's views: their attributes, which have no types, count as Any.
WagtailView: Any = object


class RequiresPermission(PermissionRequiredMixin):
    """View mixin for a page that needs permissions.

    Attributes:
        permission_required: a permission, or a tuple of permissions that are all needed.
        any_permission_required: permissions of which one is enough, in addition to the above.
    """

    permission_required: str | tuple[str, ...] = ()
    any_permission_required: tuple[str, ...] = ()
    request: HttpRequest

    def has_permission(self):
        user = self.request.user
        return super().has_permission() and permissions.has_any(user, self.any_permission_required)


class AdminPage(RequiresPermission, WagtailAdminTemplateMixin):
    """Base of the plugin's pages; combine it with ``TemplateView`` or a generic view of Wagtail."""

    def get_parents(self):
        """Return label and URL of each page above this one, for the breadcrumbs."""
        return []

    def get_breadcrumbs_items(self):
        trail = [*self.get_parents(), (self.get_page_title(), "")]
        return [*self.breadcrumbs_items, *({"label": label, "url": url} for label, url in trail)]


class RequiresTables(ViewSet):
    """Viewset mixin: explain what to do while tables are missing, instead of failing with a 500."""

    def construct_view(self, view_class, **kwargs):
        return explain_missing_tables(super().construct_view(view_class, **kwargs))


class EmailViewSet(RequiresTables):
    """Base of the plugin's viewsets.

    Attributes:
        any_permission_required: the menu item is shown to users with one of these. The views have
            separate permissions.
    """

    any_permission_required: tuple[str, ...] = ()

    @property
    def menu_item_class(self):
        needed = self.any_permission_required

        class EmailMenuItem(MenuItem):
            def is_shown(self, request):
                return permissions.has_any(request.user, needed)

        return EmailMenuItem


def set_parents(item):
    """The parents of a page about a settings set."""
    return [(_("SMTP settings"), reverse(SETS)), (item.name, reverse(EDIT_SET, args=[item.pk]))]


def reload_buttons(request):
    """The link to the reload page in a message, for users who may open it."""
    if not request.user.has_perm(permissions.RELOAD):
        return []
    return [messages.button(reverse(RELOAD), _("Review and reload"))]


def environment_problem():
    """Why the name of this environment is not valid; empty if it is. The banner says so too."""
    try:
        conf.environment()
    except ImproperlyConfigured as error:
        return str(error)
    return ""


def is_email_held():
    """Whether email is held because the live version comes from another environment."""
    try:
        return environments.is_holding(current().held_from)
    except (ConfigurationUnavailable, ImproperlyConfigured):
        return False  # the banner says what is wrong


def validate_address(address):
    """Validator of form fields for addresses that email is sent to."""
    if not is_email_address(address):
        raise ValidationError(_("Enter a valid email address."))


class SecretField(forms.CharField):
    """An optional password or key. It is write-only: a saved one is never rendered."""

    def __init__(self, **kwargs):
        attrs = {"autocomplete": "new-password"}
        widget = forms.PasswordInput(attrs=attrs, render_value=False)
        super().__init__(required=False, max_length=4096, widget=widget, **kwargs)


def explain_missing_tables(view):
    """Decorator for one view, see :class:`RequiresTables`."""

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
