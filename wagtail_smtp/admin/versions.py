"""*Versions*: what was live when, who made it live, what changed, and how to go back."""

from dataclasses import dataclass, replace
from itertools import pairwise

from django.urls import path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from wagtail.admin.menu import MenuItem
from wagtail.admin.ui.tables import Column, DateColumn, TitleColumn, UserColumn
from wagtail.admin.views import generic
from wagtail.admin.viewsets.base import ViewSet

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import requires_tables
from wagtail_smtp.live.diff import difference
from wagtail_smtp.live.resolve import version_configuration
from wagtail_smtp.models import ConfigurationVersion, SettingsSet

#: Changes named in the summary line.
NAMED = 3


@dataclass(frozen=True)
class Changed:
    """What a version changed: a summary line, and details if they say more."""

    line: str
    details: tuple[str, ...] = ()
    reason: str = ""


class ChangesColumn(Column):
    """The summary line, with details that unfold."""

    cell_template_name = "wagtail_smtp/version_changes.html"


class VersionsView(permissions.RequirePermission, generic.BaseListingView):
    """The stored versions, the live one first."""

    model = ConfigurationVersion
    page_title = gettext_lazy("Versions")
    header_icon = "history"
    index_url_name = "wagtail_smtp_versions:index"
    index_results_url_name = "wagtail_smtp_versions:results"
    results_template_name = "wagtail_smtp/versions_results.html"
    table_classname = "listing wsmtp-cards"
    default_ordering = "-number"
    paginate_by = 50

    def get_base_queryset(self):
        return ConfigurationVersion.objects.select_related("created_by__wagtail_userprofile")

    def get_breadcrumbs_items(self):
        return [*self.breadcrumbs_items, {"url": "", "label": self.get_page_title()}]

    @cached_property
    def kept(self):
        """The version before each stored version, by number, newest first."""
        versions = list(ConfigurationVersion.objects.order_by("-number"))
        return {version.number: before for version, before in pairwise([*versions, None])}

    @cached_property
    def newest(self):
        return next(iter(self.kept), None)

    @cached_property
    def columns(self):
        return [
            TitleColumn(
                "version", label=_("Version"), accessor=str, classname="w-whitespace-nowrap"
            ),
            DateColumn("created_at", label=_("Made live")),
            UserColumn("created_by", label=_("By")),
            ChangesColumn(
                "changes", label=_("What changed"), accessor=self._what_changed, width="50%"
            ),
            Column("state", label=_("State"), accessor=self._state),
        ]

    def _state(self, version):
        if version.number == self.newest:
            return _("Live")
        if url := self._make_live_url(version):
            link = '<a class="button button-small button-secondary" href="{}">{}</a>'
            return format_html(link, url, _("Make live again"))
        return ""

    def _make_live_url(self, version):
        if version.number == self.newest or not self.request.user.has_perm(permissions.RELOAD):
            return None
        return reverse("wagtail_smtp_reload:make_live", args=(version.number,))

    def _what_changed(self, version):
        return replace(self._changed(version), reason=version.reason)

    def _changed(self, version):
        before = self.kept.get(version.number)
        if before is None and version.number > 1:
            return Changed(_("The previous version is no longer stored"))
        try:
            old, new = version_configuration(before), version_configuration(version)
            changes = difference(old, new, self._known(version, old, new))
        except ValueError:
            return Changed(_("Saved by a newer release of wagtail-smtp"))
        return _summary(changes)

    @cached_property
    def _keys(self):
        """The keys of each stored version's sets, by version number."""
        kept = [*self.kept]
        versions = ConfigurationVersion.objects.filter(number__in=kept)
        return {
            number: {item.get("key") for item in content.get("sets", ())}
            for number, content in versions.values_list("number", "content")
        }

    @cached_property
    def _present(self):
        return {str(key) for key in SettingsSet.objects.values_list("key", flat=True)}

    def _known(self, version, old, new):
        """Keys of the sets that this version only enabled or disabled."""
        there_before, there_after = set(), set(self._present)
        for number, keys in self._keys.items():
            if number < version.number:
                there_before |= keys
            elif number > version.number:
                there_after |= keys
        came, went = new.by_key().keys() - old.by_key(), old.by_key().keys() - new.by_key()
        return (came & there_before) | (went & there_after)


def _summary(changes):
    if not changes:
        return Changed(_("No changes"))
    line = "; ".join(change.summary for change in changes[:NAMED])
    if len(changes) > NAMED:
        line = _("%(changes)s and %(more)d more") % {
            "changes": line,
            "more": len(changes) - NAMED,
        }
    details = tuple(map(str, changes))
    return Changed(line, details if "; ".join(details) != line else ())


class VersionsMenuItem(MenuItem):
    """Shown to users who may see the configuration."""

    def is_shown(self, request):
        return permissions.may_see(request.user)


@requires_tables
class VersionsViewSet(ViewSet):
    """Registers the list of versions."""

    name = "wagtail_smtp_versions"
    url_prefix = "email/versions"
    icon = "history"
    menu_label = gettext_lazy("Versions")
    menu_name = "smtp-versions"
    menu_item_class = VersionsMenuItem

    def get_urlpatterns(self):
        return [
            path("", self.construct_view(VersionsView), name="index"),
            path("results/", self.construct_view(VersionsView, results_only=True), name="results"),
        ]
