"""*Reload application* and *Versions*: make the saved sets or an earlier version live."""

from dataclasses import dataclass
from itertools import pairwise

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.generic import TemplateView
from wagtail.admin import messages
from wagtail.admin.ui.tables import Column, DateColumn, TitleColumn, UserColumn
from wagtail.admin.views import generic

from wagtail_smtp import live
from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import (
    DELIVERY,
    EDIT_SET,
    HELD,
    MAKE_LIVE,
    SETS,
    VERSIONS,
    AdminPage,
    EmailViewSet,
)
from wagtail_smtp.admin.labels import category_label, named
from wagtail_smtp.admin.sets import managed
from wagtail_smtp.admin.sets.overview import notices
from wagtail_smtp.conf import conf
from wagtail_smtp.config_files.sets_file import manager
from wagtail_smtp.delivery.explain.routes import compare
from wagtail_smtp.exceptions import ReloadOutdated, ReloadRefused
from wagtail_smtp.live import environments
from wagtail_smtp.live.diff import difference, field_label
from wagtail_smtp.live.resolve import version_configuration
from wagtail_smtp.models import ConfigurationVersion, SettingsSet
from wagtail_smtp.outbox import held


class ReloadView(AdminPage, TemplateView):
    """Make the saved sets live."""

    permission_required = permissions.RELOAD
    template_name = "wagtail_smtp/reload.html"
    page_title = gettext_lazy("Reload application")
    page_subtitle = gettext_lazy("Apply your saved changes. Nothing is restarted.")
    header_icon = "rotate"

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
                (category_label(change.category), shown, change)
                for change, shown in named(
                    (change, change.sites)
                    for change in compare(plan.before, plan.target, plan.held_from)
                )
            ],
            **_held(plan.held_from),
            # Moving a set doesn't change an earlier version, so that isn't offered.
            "notices": notices(
                plan.target,
                AnonymousUser() if version else self.request.user,
                is_held=environments.is_holding(plan.held_from),
            ),
            "version": version,
            "managed": managed.changed_by(plan.target) if version else {},
            "action_url": self.request.path,
            "sets_url": self._sets_url(),
            "may_edit": permissions.has_any(
                self.request.user, (permissions.CHANGE_SETS, permissions.ADD_SETS)
            ),
            "not_permitted": started and not self.request.user.has_perm(permissions.REDIRECT),
        }

    def _sets_url(self):
        # The permission to reload doesn't include the listing.
        needed = (permissions.VIEW_SETS, permissions.CHANGE_SETS, permissions.ADD_SETS)
        return reverse(SETS if permissions.has_any(self.request.user, needed) else DELIVERY)

    def _problems(self, problems):
        """Each problem with its field's label and the URL of the form to fix it in."""
        urls = {}
        # Editing a set doesn't fix an earlier version.
        if self.get_version() is None and self.request.user.has_perm(permissions.CHANGE_SETS):
            sets = SettingsSet.objects.filter(name__in=[p.set_name for p in problems])
            # The form of a managed set is locked.
            urls = {
                item.name: reverse(EDIT_SET, args=[item.pk]) for item in sets if not manager(item)
            }
        return [
            (problem, problem.field and field_label(problem.field), urls.get(problem.set_name))
            for problem in problems
        ]

    def post(self, request, *args, **kwargs):
        version = self.get_version()
        args = (request.user,) if version is None else (version, request.user)
        try:
            published = (live.reload if version is None else live.make_live)(
                *args,
                token=request.POST.get("token", ""),
                end_redirect=bool(request.POST.get("end_redirect")),
                may_redirect=request.user.has_perm(permissions.REDIRECT),
            )
        except ReloadOutdated as error:
            messages.warning(request, f"{error} " + _("Check the current changes below."))
            return HttpResponseRedirect(request.path)
        except ReloadRefused as error:
            messages.error(request, str(error))
            return self.render_to_response(self.get_context_data())
        if published is None:
            messages.success(request, _("These settings were already live. Nothing changed."))
        else:
            text = _("Version %d is live. All email now uses it.")
            if _was_held(published):
                text = _("Version %d is live. Email is no longer held.")
            messages.success(request, text % published.number)
            self._tell_held()
        return HttpResponseRedirect(reverse(DELIVERY))

    def _tell_held(self):
        """Tell that messages which came with a copied database are still held, if there are any."""
        if not (number := held.rows().count()):
            return
        text = ngettext(
            "%d message that came with a copied database is still held.",
            "%d messages that came with a copied database are still held.",
            number,
        )
        buttons = []
        if permissions.may_decide_about_held(self.request.user):
            buttons = [messages.button(reverse(HELD), _("Held messages"))]
        messages.warning(self.request, text % number, buttons=buttons)


def _was_held(version):
    """Whether email was held before ``version`` was made live."""
    previous = ConfigurationVersion.objects.filter(number=version.number - 1).first()
    return previous is not None and environments.is_holding(
        environments.origin(previous.environment)
    )


def _held(held_from):
    """The context about a live version that comes from another environment."""
    if not held_from:
        return {}
    return {
        "held": environments.held_text(held_from)
        if environments.is_holding(held_from)
        else environments.origin_text(held_from),
        "environment": conf.environment(),
    }


class MakeLiveView(ReloadView):
    """Make an earlier version live again and restore its sets."""

    page_title = gettext_lazy("Make live again")
    header_icon = "history"

    def get_version(self):
        return get_object_or_404(ConfigurationVersion, number=self.kwargs["number"])

    def get_page_subtitle(self):
        return str(self.get_version())


#: Changes named in the summary line.
NAMED = 3


@dataclass(frozen=True)
class Changed:
    """What a version changed: a summary line, and details if they say more."""

    line: str
    details: tuple[str, ...] = ()


class ChangesColumn(Column):
    """The summary line, with details that unfold."""

    cell_template_name = "wagtail_smtp/version_changes.html"


class VersionsView(AdminPage, generic.BaseListingView):
    """The stored versions, the live one first."""

    any_permission_required = permissions.SEE
    model = ConfigurationVersion
    page_title = gettext_lazy("Versions")
    header_icon = "history"
    index_url_name = VERSIONS
    index_results_url_name = "wagtail_smtp_versions:results"
    results_template_name = "wagtail_smtp/versions_results.html"
    table_classname = "listing wsmtp-cards"
    default_ordering = "-number"
    paginate_by = 50

    def get_base_queryset(self):
        return ConfigurationVersion.objects.select_related("created_by__wagtail_userprofile")

    @cached_property
    def stored(self):
        """All stored versions, not only those on this page, newest first."""
        return list(ConfigurationVersion.objects.order_by("-number"))

    @cached_property
    def previous(self):
        """The version before each stored version, by number."""
        return {version.number: before for version, before in pairwise([*self.stored, None])}

    @cached_property
    def held_from(self):
        """The environment that the live version comes from, if it is another one."""
        try:
            return environments.origin(self.stored[0].environment)
        except ImproperlyConfigured:
            return ""  # the banner shows the error

    @cached_property
    def columns(self):
        environment = Column("environment", label=_("Environment"))
        return [
            TitleColumn(
                "version", label=_("Version"), accessor=str, classname="w-whitespace-nowrap"
            ),
            DateColumn("created_at", label=_("Made live")),
            *([environment] if any(version.environment for version in self.stored) else []),
            UserColumn("created_by", label=_("By")),
            ChangesColumn("changes", label=_("What changed"), accessor=self._changed, width="50%"),
            Column("state", label=_("State"), accessor=self._state),
        ]

    def _state(self, version):
        if version.number == self.stored[0].number:
            if not self.held_from:
                return _("Live")
            return format_html("<bdi>{}</bdi>", _("Live in “%s”") % self.held_from)
        if not self.request.user.has_perm(permissions.RELOAD):
            return ""
        return format_html(
            '<a class="button button-small button-secondary" href="{}">{}</a>',
            reverse(MAKE_LIVE, args=[version.number]),
            _("Make live again"),
        )

    def _changed(self, version):
        before = self.previous.get(version.number)
        if before is None and version.number > 1:
            return Changed(_("The previous version is no longer stored"))
        try:
            old, new = version_configuration(before), version_configuration(version)
            changes = difference(old, new, self._known(version, old, new))
        except ValueError:
            return Changed(_("Saved by a newer release of wagtail-smtp"))
        return _summary(changes)

    @cached_property
    def _set_keys(self):
        """Keys of the saved sets, and those of each stored version's sets, by version number."""
        saved = {str(key) for key in SettingsSet.objects.values_list("key", flat=True)}
        versions = {
            version.number: {item.get("key") for item in version.content.get("sets", ())}
            for version in self.stored
        }
        return saved, versions

    def _known(self, version, old, new):
        """Keys of the sets that this version only switched on or off."""
        saved, versions = self._set_keys
        earlier = set().union(*(keys for n, keys in versions.items() if n < version.number))
        later = saved.union(*(keys for n, keys in versions.items() if n > version.number))
        old_keys, new_keys = old.by_key().keys(), new.by_key().keys()
        return (new_keys - old_keys) & earlier | (old_keys - new_keys) & later


def _summary(changes):
    if not changes:
        return Changed(_("No changes"))
    line = "; ".join(change.summary for change in changes[:NAMED])
    if len(changes) > NAMED:
        more = {"changes": line, "more": len(changes) - NAMED}
        line = _("%(changes)s and %(more)d more") % more
    details = tuple(map(str, changes))
    return Changed(line, details if "; ".join(details) != line else ())


class ReloadViewSet(EmailViewSet):
    """Registers the reload pages."""

    name = "wagtail_smtp_reload"
    url_prefix = "email/reload"
    icon = "rotate"
    menu_label = gettext_lazy("Reload application")
    menu_name = "smtp-reload"
    any_permission_required = (permissions.RELOAD,)

    def get_urlpatterns(self):
        return [
            path("", self.construct_view(ReloadView), name="index"),
            path("version/<int:number>/", self.construct_view(MakeLiveView), name="make_live"),
        ]


class VersionsViewSet(EmailViewSet):
    """Registers the list of versions."""

    name = "wagtail_smtp_versions"
    url_prefix = "email/versions"
    icon = "history"
    menu_label = gettext_lazy("Versions")
    menu_name = "smtp-versions"
    any_permission_required = permissions.SEE

    def get_urlpatterns(self):
        return [
            path("", self.construct_view(VersionsView), name="index"),
            path("results/", self.construct_view(VersionsView, results_only=True), name="results"),
        ]
