"""*Problems and remedies*: every cause a test may name, with what to do; what remedies link to."""

from django.urls import path
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin.menu import MenuItem
from wagtail.admin.views.generic.base import WagtailAdminTemplateMixin
from wagtail.admin.viewsets.base import ViewSet

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.missing_tables import requires_tables
from wagtail_smtp.diagnostics.explain import GROUPS, GUIDES


class ProblemsView(WagtailAdminTemplateMixin, TemplateView):
    """The documentation of the causes; it tells nothing of this site, so all may read it."""

    template_name = "wagtail_smtp/problems.html"
    page_title = gettext_lazy("Problems and remedies")
    header_icon = "help"
    extra_context = {"groups": GROUPS, "guides": GUIDES}

    def get_breadcrumbs_items(self):
        return [*self.breadcrumbs_items, {"url": "", "label": self.get_page_title()}]


class ProblemsMenuItem(MenuItem):
    """For those who see anything else of the group; the page itself tells nothing of the site."""

    def is_shown(self, request):
        return permissions.may_see_delivery(request.user)


@requires_tables
class ProblemsViewSet(ViewSet):
    """Registers the page."""

    name = "wagtail_smtp_problems"
    url_prefix = "email/problems"
    icon = "help"
    menu_label = gettext_lazy("Problems")
    menu_item_class = ProblemsMenuItem

    def get_urlpatterns(self):
        return [path("", self.construct_view(ProblemsView), name="index")]
