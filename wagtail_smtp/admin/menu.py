"""The menu group *Email*."""

from django.utils.translation import gettext_lazy
from wagtail.admin.viewsets.base import ViewSetGroup

from wagtail_smtp.admin.delivery.page import DeliveryViewSet
from wagtail_smtp.admin.log.viewset import LogViewSet
from wagtail_smtp.admin.reload import ReloadViewSet
from wagtail_smtp.admin.sets.viewset import SettingsSetViewSet
from wagtail_smtp.admin.troubleshooting import TroubleshootingViewSet
from wagtail_smtp.admin.versions import VersionsViewSet


class EmailGroup(ViewSetGroup):
    """All pages of the plugin."""

    items = (
        DeliveryViewSet,
        SettingsSetViewSet,
        LogViewSet,
        VersionsViewSet,
        ReloadViewSet,
        TroubleshootingViewSet,
    )
    menu_label = gettext_lazy("Email")
    menu_name = "email"
    menu_icon = "mail"
    menu_order = 8000
