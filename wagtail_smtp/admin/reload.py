"""Reload: show what would change, ask, and make it live."""

from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin import messages
from wagtail.admin.menu import MenuItem
from wagtail.admin.views.generic.base import WagtailAdminTemplateMixin
from wagtail.admin.viewsets.base import ViewSet

from wagtail_smtp import live
from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.labels import category_label
from wagtail_smtp.admin.missing_tables import requires_tables
from wagtail_smtp.admin.sets import notices
from wagtail_smtp.delivery.explain import RouteChange, compare
from wagtail_smtp.exceptions import ReloadOutdated, ReloadRefused
from wagtail_smtp.live.diff import field_label
from wagtail_smtp.models import ConfigurationVersion, SettingsSet

EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"
LIST = "wagtailsnippets_wagtail_smtp_settingsset:list"


@dataclass(frozen=True)
class ReloadProblem:
    """A problem where it can be mended: the set, the field as people call it, and its form."""

    set_name: str
    field: str
    message: str
    url: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the table: where mail of a category goes now, and then."""

    label: str
    change: RouteChange


class ReloadView(permissions.RequirePermission, WagtailAdminTemplateMixin, TemplateView):
    """The sets as they stand become the live configuration."""

    permission = permissions.RELOAD
    template_name = "wagtail_smtp/reload.html"
    page_title = gettext_lazy("Reload application")
    page_subtitle = gettext_lazy("Start using these settings; nothing restarts.")
    header_icon = "rotate"

    def get_breadcrumbs_items(self):
        return [*self.breadcrumbs_items, {"url": "", "label": self.get_page_title()}]

    def get_version(self):
        """The earlier version to make live again; None: the sets as they stand."""

    def get_context_data(self, **kwargs):
        context = super().get_context_data(**kwargs)
        version = self.get_version()
        try:
            plan = live.preview(version)
        except ReloadRefused as error:
            return context | {"refusal": str(error)}
        started = plan.redirect.started
        return context | {
            "plan": plan,
            "concerns": self._concerns(plan.problems),
            "routes": [
                Row(category_label(change.category), change)
                for change in compare(plan.before, plan.target)
            ],
            # What an earlier version has is not changed by moving a set.
            "notices": notices.shown(
                plan.target, AnonymousUser() if version else self.request.user
            ),
            "version": version,
            "action_url": self.request.path,
            "sets_url": self._sets_url(),
            "not_permitted": started and not self.request.user.has_perm(permissions.REDIRECT),
        }

    def _sets_url(self):
        # Those who may reload may not see the listing by that alone.
        may = self.request.user.has_perm
        listing = any(
            map(may, (permissions.VIEW_SETS, permissions.CHANGE_SETS, permissions.ADD_SETS))
        )
        return reverse(LIST) if listing else reverse("wagtail_smtp_delivery:index")

    def _concerns(self, problems):
        urls = {}
        # What is wrong with an earlier version isn't mended by editing a set.
        if self.get_version() is None and self.request.user.has_perm(permissions.CHANGE_SETS):
            sets = SettingsSet.objects.filter(name__in=[p.set_name for p in problems])
            urls = {item.name: reverse(EDIT, args=[item.pk]) for item in sets}
        return [
            ReloadProblem(
                problem.set_name,
                field_label(problem.field) if problem.field else "",
                str(problem.message),
                urls.get(problem.set_name, ""),
            )
            for problem in problems
        ]

    def post(self, request, *args, **kwargs):
        options = {
            "token": request.POST.get("token", ""),
            "end_redirect": bool(request.POST.get("end_redirect")),
            "may_redirect": request.user.has_perm(permissions.REDIRECT),
        }
        version = self.get_version()
        try:
            if version is None:
                made = live.reload(request.user, **options)
            else:
                made = live.make_live(version, request.user, **options)
        except ReloadOutdated as error:
            messages.warning(request, f"{error} " + _("This is how it stands now."))
            return HttpResponseRedirect(request.path)
        except ReloadRefused as error:
            messages.error(request, str(error))
            return self.render_to_response(self.get_context_data(error=error))
        if made is None:
            messages.success(request, _("Everything was in use already."))
        else:
            messages.success(
                request, _("Version %d is live. All mail uses it from now on.") % made.number
            )
        return HttpResponseRedirect(reverse("wagtail_smtp_delivery:index"))


class MakeLiveView(ReloadView):
    """An earlier version becomes live again, and the sets become as they were in it."""

    page_title = gettext_lazy("Make live again")
    page_subtitle = ""
    header_icon = "history"

    def get_version(self):
        return get_object_or_404(ConfigurationVersion, number=self.kwargs["number"])

    def get_page_subtitle(self):
        return str(self.get_version())


class ReloadMenuItem(MenuItem):
    """Shown to those who may reload."""

    def is_shown(self, request):
        return request.user.has_perm(permissions.RELOAD)


@requires_tables
class ReloadViewSet(ViewSet):
    """Registers the reload pages."""

    name = "wagtail_smtp_reload"
    url_prefix = "email/reload"
    icon = "rotate"
    menu_label = gettext_lazy("Reload application")
    menu_name = "smtp-reload"
    menu_item_class = ReloadMenuItem

    def get_urlpatterns(self):
        return [
            path("", self.construct_view(ReloadView), name="index"),
            path("version/<int:number>/", self.construct_view(MakeLiveView), name="make_live"),
        ]
