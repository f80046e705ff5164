"""*Delivery tracking* on the form of a set that uses an email provider."""

from django.urls import reverse
from django.utils.functional import cached_property
from wagtail.admin.panels import Panel

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.sets.webhook import PAGE, address_of
from wagtail_smtp.models import SettingsSet
from wagtail_smtp.tracking import secrets
from wagtail_smtp.tracking.esps import PROVIDERS


class ReportsPanel(Panel):
    """Shows whether tracking is on, and links to its page."""

    class BoundPanel(Panel.BoundPanel):
        """The panel of one set."""

        template_name = "wagtail_smtp/reports/panel.html"

        @cached_property
        def item(self):
            """The set as it is stored: after a mistake the form's holds what was typed."""
            return SettingsSet.objects.filter(pk=self.instance.pk).first()

        def is_shown(self):
            return (
                super().is_shown()
                and self.item is not None
                and self.item.transport in PROVIDERS
                and self.request.user.has_perm(permissions.CHANGE_SETS)
            )

        def get_context_data(self, parent_context=None):
            provider = PROVIDERS[self.item.transport]
            known = secrets.of_set(self.item)
            return super().get_context_data(parent_context) | {
                "provider": provider,
                "address": address_of(self.item, self.request),
                "is_ready": known is not None,
                "lacks_key": known is not None and provider.needs_key and not known.key,
                "page": reverse(PAGE, args=[self.item.pk]),
            }
