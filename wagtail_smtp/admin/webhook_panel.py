"""*Delivery reports* on the form of a set whose provider reports."""

from django.urls import reverse
from wagtail.admin.panels import Panel

from wagtail_smtp.admin import permissions
from wagtail_smtp.admin.reports import PAGE, address_of
from wagtail_smtp.tracking import proof
from wagtail_smtp.tracking.providers import PROVIDERS


class ReportsPanel(Panel):
    """Says whether reports are taken, and leads to where that is set up."""

    class BoundPanel(Panel.BoundPanel):
        """The panel of one set."""

        template_name = "wagtail_smtp/reports/panel.html"

        def is_shown(self):
            return (
                super().is_shown()
                and self.instance.pk is not None
                and self.instance.transport in PROVIDERS
                and self.request.user.has_perm(permissions.CHANGE_SETS)
            )

        def get_context_data(self, parent_context=None):
            provider = PROVIDERS[self.instance.transport]
            known = proof.of_set(self.instance)
            return super().get_context_data(parent_context) | {
                "provider": provider,
                "address": address_of(self.instance, self.request),
                "is_ready": known is not None,
                "lacks_key": known is not None and provider.needs_key and not known.key,
                "page": reverse(PAGE, args=[self.instance.pk]),
            }
