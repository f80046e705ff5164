"""*Troubleshooting*: every cause that tests and the log can report, with its fix."""

from django.urls import path
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from wagtail.admin.menu import MenuItem
from wagtail.admin.views.generic.base import WagtailAdminTemplateMixin
from wagtail.admin.viewsets.base import ViewSet

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import requires_tables
from wagtail_smtp.diagnostics.explain import GROUPS, GUIDES


class TroubleshootingView(WagtailAdminTemplateMixin, TemplateView):
    """The page. It contains nothing about this site, so every admin user may read it."""

    template_name = "wagtail_smtp/troubleshooting.html"
    page_title = gettext_lazy("Troubleshooting")
    header_icon = "help"
    extra_context = {"groups": GROUPS, "guides": GUIDES}

    def get_breadcrumbs_items(self):
        return [*self.breadcrumbs_items, {"url": "", "label": self.get_page_title()}]


class TroubleshootingMenuItem(MenuItem):
    """Shown to users who see another page of the group."""

    def is_shown(self, request):
        return permissions.may_see_delivery(request.user)


@requires_tables
class TroubleshootingViewSet(ViewSet):
    """Registers the page."""

    name = "wagtail_smtp_troubleshooting"
    url_prefix = "email/troubleshooting"
    icon = "help"
    menu_label = gettext_lazy("Troubleshooting")
    menu_item_class = TroubleshootingMenuItem

    def get_urlpatterns(self):
        return [path("", self.construct_view(TroubleshootingView), name="index")]
