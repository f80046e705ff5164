"""Hook registrations only."""

from django.contrib.auth.models import Permission
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from wagtail import hooks
from wagtail.admin.viewsets.base import ViewSetGroup
from wagtail.log_actions import LogFormatter
from wagtail.snippets.models import register_snippet

from wagtail_smtp.admin.delivery.failures import FailedEmailItem
from wagtail_smtp.admin.delivery.page import DeliveryViewSet
from wagtail_smtp.admin.log.actions import ResendSelected
from wagtail_smtp.admin.log.listing import LogViewSet
from wagtail_smtp.admin.notify_user_chooser import NotifyUserViewSet
from wagtail_smtp.admin.reload import ReloadViewSet, VersionsViewSet
from wagtail_smtp.admin.sets import consent
from wagtail_smtp.admin.sets.viewset import NoBulkDelete, SettingsSetViewSet
from wagtail_smtp.admin.sets.webhook import TrackingViewSet
from wagtail_smtp.admin.troubleshooting import TroubleshootingViewSet


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


register_snippet(EmailGroup)
# After Wagtail's own, which it replaces.
hooks.register("register_bulk_action", NoBulkDelete, order=1000)
hooks.register("register_bulk_action", ResendSelected)
hooks.register("register_admin_viewset", NotifyUserViewSet)
hooks.register("register_admin_viewset", TrackingViewSet)
hooks.register("register_admin_urls", consent.urlpatterns)


@hooks.register("construct_homepage_summary_items")
def add_to_summary(request, items):
    """Show on the admin's home page how many messages were not sent."""
    items.append(FailedEmailItem(request))


@hooks.register("register_log_actions")
def register_log_actions(actions):
    """Name the plugin's entries in Wagtail's audit log."""
    actions.register_action("wagtail_smtp.reload")(_Reload)
    actions.register_action("wagtail_smtp.test_connection")(_TestConnection)
    actions.register_action("wagtail_smtp.send_test_email")(_SendTestEmail)
    actions.register_action(
        "wagtail_smtp.reorder", gettext_lazy("Move"), gettext_lazy("Changed the order")
    )
    for name, (label, message) in _LOG_ACTIONS.items():
        actions.register_action(f"wagtail_smtp.{name}", label, message)


_LOG_ACTIONS = {
    "view_message": (gettext_lazy("View message"), gettext_lazy("Viewed the message")),
    "view_source": (gettext_lazy("View source"), gettext_lazy("Viewed the message source")),
    "download_message": (
        gettext_lazy("Download message"),
        gettext_lazy("Downloaded the message"),
    ),
    "download_attachment": (
        gettext_lazy("Download attachment"),
        gettext_lazy("Downloaded an attachment"),
    ),
    "resend": (gettext_lazy("Resend"), gettext_lazy("Resent the message")),
    "try_now": (gettext_lazy("Try now"), gettext_lazy("Requested an immediate attempt")),
    "cancel": (gettext_lazy("Cancel sending"), gettext_lazy("Cancelled the message")),
    "test_delivery": (gettext_lazy("Send test email"), gettext_lazy("Sent a test email")),
    "report_secret": (
        gettext_lazy("New tracking secret"),
        gettext_lazy("Created a new secret for delivery tracking"),
    ),
    "report_key": (
        gettext_lazy("Tracking key"),
        gettext_lazy("Changed the signing key for delivery tracking"),
    ),
    "connect": (
        gettext_lazy("Connect"),
        gettext_lazy("Started the consent at the identity provider"),
    ),
    "consent": (gettext_lazy("Consent"), gettext_lazy("Connected with OAuth 2")),
    "export": (gettext_lazy("Export"), gettext_lazy("Exported the delivery log")),
}


class _Reload(LogFormatter):
    label = gettext_lazy("Reload")

    def format_message(self, log_entry):
        return _("Version %s made live") % log_entry.data.get("number", "")


class _TestConnection(LogFormatter):
    label = gettext_lazy("Test connection")

    def format_message(self, log_entry):
        return _("Tested the connection to %s") % log_entry.data.get("server", "")


class _SendTestEmail(LogFormatter):
    label = gettext_lazy("Send test email")

    def format_message(self, log_entry):
        # The entry is written before the attempt, so that every test has one.
        recipients = ", ".join(log_entry.data.get("recipients", ()))
        address = log_entry.data.get("address", "")
        if recipients == address:
            return _("Tried to send a test email to %s") % address
        text = _("Tried to send a test email to %(address)s, redirected to %(recipients)s")
        return text % {"address": address, "recipients": recipients}


@hooks.register("register_permissions")
def register_permissions():
    """Offer all permissions of the plugin in the group editor."""
    return Permission.objects.filter(content_type__app_label="wagtail_smtp")
