"""The item about failed email on the admin's home page."""

from django.utils import timezone
from wagtail.admin.site_summary import SummaryItem

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.delivery.failures import count_since
from wagtail_smtp.admin.delivery.recent_failures import RECENT
from wagtail_smtp.live.db import schema


class NotSentItem(SummaryItem):
    """How many messages failed recently, for users who may see the log."""

    order = 900
    template_name = "wagtail_smtp/summary.html"

    def is_shown(self):
        return self.request.user.has_perm(permissions.VIEW_LOG) and schema.is_migrated()

    def get_context_data(self, parent_context):
        return {"not_sent": count_since(timezone.now() - RECENT)}
