"""*Reload application*: show what would change, ask, and make it live."""

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
from wagtail_smtp.admin.base import requires_tables
from wagtail_smtp.admin.labels import category_label
from wagtail_smtp.admin.sets.overview import notices
from wagtail_smtp.delivery.explain import RouteChange, compare
from wagtail_smtp.exceptions import ReloadOutdated, ReloadRefused
from wagtail_smtp.live.diff import field_label
from wagtail_smtp.models import ConfigurationVersion, SettingsSet

EDIT = "wagtailsnippets_wagtail_smtp_settingsset:edit"
LIST = "wagtailsnippets_wagtail_smtp_settingsset:list"


@dataclass(frozen=True)
class ReloadProblem:
    """A problem with the set, the field's label and the URL of the form to fix it in."""

    set_name: str
    field: str
    message: str
    url: str = ""


@dataclass(frozen=True)
class Row:
    """One row of the table: where email of a category goes now and after the reload."""

    label: str
    change: RouteChange


class ReloadView(permissions.RequirePermission, WagtailAdminTemplateMixin, TemplateView):
    """Makes the saved sets the live configuration."""

    permission = permissions.RELOAD
    template_name = "wagtail_smtp/reload.html"
    page_title = gettext_lazy("Reload application")
    page_subtitle = gettext_lazy("Apply your saved changes. Nothing is restarted.")
    header_icon = "rotate"

    def get_breadcrumbs_items(self):
        return [*self.breadcrumbs_items, {"url": "", "label": self.get_page_title()}]

    def get_version(self):
        """The earlier version to make live again; None for the saved sets."""

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
            "problems": self._problems(plan.problems),
            "routes": [
                Row(category_label(change.category), change)
                for change in compare(plan.before, plan.target)
            ],
            # Moving a set doesn't change an earlier version, so that isn't offered.
            "notices": notices(plan.target, AnonymousUser() if version else self.request.user),
            "version": version,
            "action_url": self.request.path,
            "sets_url": self._sets_url(),
            "not_permitted": started and not self.request.user.has_perm(permissions.REDIRECT),
        }

    def _sets_url(self):
        # The permission to reload doesn't include the listing.
        may = self.request.user.has_perm
        listing = any(
            map(may, (permissions.VIEW_SETS, permissions.CHANGE_SETS, permissions.ADD_SETS))
        )
        return reverse(LIST) if listing else reverse("wagtail_smtp_delivery:index")

    def _problems(self, problems):
        urls = {}
        # Editing a set doesn't fix an earlier version.
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
                published = live.reload(request.user, **options)
            else:
                published = live.make_live(version, request.user, **options)
        except ReloadOutdated as error:
            messages.warning(request, f"{error} " + _("Check the current changes below."))
            return HttpResponseRedirect(request.path)
        except ReloadRefused as error:
            messages.error(request, str(error))
            return self.render_to_response(self.get_context_data(error=error))
        if published is None:
            messages.success(request, _("These settings were already live. Nothing changed."))
        else:
            messages.success(
                request, _("Version %d is live. All email now uses it.") % published.number
            )
        return HttpResponseRedirect(reverse("wagtail_smtp_delivery:index"))


class MakeLiveView(ReloadView):
    """Makes an earlier version live again and restores its sets."""

    page_title = gettext_lazy("Make live again")
    page_subtitle = ""
    header_icon = "history"

    def get_version(self):
        return get_object_or_404(ConfigurationVersion, number=self.kwargs["number"])

    def get_page_subtitle(self):
        return str(self.get_version())


class ReloadMenuItem(MenuItem):
    """Shown to users who may reload."""

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
