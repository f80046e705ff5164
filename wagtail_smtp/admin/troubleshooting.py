"""*Troubleshooting*: every cause that tests and the log can report, with its fix."""

from django.urls import path
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.base import AdminPage, EmailViewSet
from wagtail_smtp.causes import GROUPS, GUIDES


class TroubleshootingView(AdminPage, TemplateView):
    """The page. It contains nothing about this site, so every admin user may read it."""

    template_name = "wagtail_smtp/troubleshooting.html"
    page_title = gettext_lazy("Troubleshooting")
    header_icon = "help"
    extra_context = {"groups": GROUPS, "guides": GUIDES}


class TroubleshootingViewSet(EmailViewSet):
    """Registers the page."""

    name = "wagtail_smtp_troubleshooting"
    url_prefix = "email/troubleshooting"
    icon = "help"
    menu_label = gettext_lazy("Troubleshooting")
    any_permission_required = permissions.SEE_DELIVERY

    def get_urlpatterns(self):
        return [path("", self.construct_view(TroubleshootingView), name="index")]
