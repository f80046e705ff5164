"""Hook registrations only."""

from django.contrib.auth.models import Permission
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from wagtail import hooks
from wagtail.admin.viewsets.base import ViewSetGroup
from wagtail.log_actions import LogFormatter
from wagtail.snippets.models import register_snippet

from wagtail_smtp.admin.alerts import AlertsViewSet
from wagtail_smtp.admin.deliverability import DeliverabilityViewSet
from wagtail_smtp.admin.delivery.failures import FailedEmailItem, TroubleshootingViewSet
from wagtail_smtp.admin.delivery.page import DeliveryViewSet
from wagtail_smtp.admin.delivery.summary import SummaryPanel
from wagtail_smtp.admin.log.actions import ResendSelected
from wagtail_smtp.admin.log.viewset import LogViewSet
from wagtail_smtp.admin.notify_user_chooser import NotifyUserViewSet
from wagtail_smtp.admin.reload import ReloadViewSet, VersionsViewSet
from wagtail_smtp.admin.sets import consent
from wagtail_smtp.admin.sets.viewset import NoBulkDelete, SettingsSetViewSet
from wagtail_smtp.admin.sets.webhook import TrackingViewSet
from wagtail_smtp.admin.suppressed.pages import RemoveSelected
from wagtail_smtp.admin.suppressed.viewset import SuppressedViewSet


class EmailGroup(ViewSetGroup):
    """All pages of the plugin."""

    items = (
        DeliveryViewSet,
        AlertsViewSet,
        DeliverabilityViewSet,
        SettingsSetViewSet,
        LogViewSet,
        SuppressedViewSet,
        VersionsViewSet,
        ReloadViewSet,
        TroubleshootingViewSet,
    )
    menu_label = _("Email")
    menu_name = "email"
    menu_icon = "mail"
    menu_order = 8000


register_snippet(EmailGroup)
# After Wagtail's own, which it replaces.
hooks.register("register_bulk_action", NoBulkDelete, order=1000)
hooks.register("register_bulk_action", ResendSelected)
hooks.register("register_bulk_action", RemoveSelected)
hooks.register("register_admin_viewset", NotifyUserViewSet)
hooks.register("register_admin_viewset", TrackingViewSet)
hooks.register("register_admin_urls", consent.urlpatterns)
hooks.register("register_account_settings_panel", SummaryPanel)


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
    actions.register_action("wagtail_smtp.release_held")(_ReleaseHeld)
    actions.register_action("wagtail_smtp.delete_held")(_DeleteHeld)
    for name, (label, message) in _SUPPRESSED_ACTIONS.items():
        actions.register_action(f"wagtail_smtp.{name}")(_of_several(label, message))
    for name, (label, message) in _LOG_ACTIONS.items():
        actions.register_action(f"wagtail_smtp.{name}", label, message)


_LOG_ACTIONS = {
    "reorder": (_("Move"), _("Changed the order")),
    "view_message": (_("View message"), _("Viewed the message")),
    "view_source": (_("View source"), _("Viewed the message source")),
    "download_message": (_("Download message"), _("Downloaded the message")),
    "download_attachment": (_("Download attachment"), _("Downloaded an attachment")),
    "resend": (_("Resend"), _("Resent the message")),
    "try_now": (_("Try now"), _("Requested an immediate attempt")),
    "cancel": (_("Cancel sending"), _("Cancelled the message")),
    "release": (_("Release"), _("Released the held message")),
    "delete": (_("Delete"), _("Deleted the held message")),
    "check_dns": (_("Check DNS"), _("Checked the DNS of the senders' domains")),
    "test_alert": (_("Send a test alert"), _("Sent a test alert")),
    "test_delivery": (_("Send test email"), _("Sent a test email")),
    "tracking_secret": (_("New tracking secret"), _("Created a new secret for delivery tracking")),
    "tracking_key": (_("Tracking key"), _("Changed the signing key for delivery tracking")),
    "connect": (_("Connect"), _("Started the consent at the identity provider")),
    "consent": (_("Consent"), _("Connected with OAuth 2")),
    "export": (_("Export"), _("Exported the delivery log")),
    "suppress": (_("Suppress"), _("Suppressed the address")),
    "allow": (_("Remove"), _("Removed the address from the suppression list")),
}

#: Actions on several suppressed addresses, with their number.
_SUPPRESSED_ACTIONS = {
    "suppress_several": (_("Suppress"), _("Suppressed addresses: %d")),
    "allow_several": (_("Remove"), _("Addresses removed from the suppression list: %d")),
    "import_suppressed": (_("Import"), _("Suppressed addresses from a file: %d")),
    "export_suppressed": (_("Export"), _("Exported suppressed addresses: %d")),
}


def _of_several(name, text):
    class Formatter(LogFormatter):
        label = name

        def format_message(self, log_entry):
            return str(text) % log_entry.data.get("number", 0)

    return Formatter


class _Reload(LogFormatter):
    label = _("Reload")

    def format_message(self, log_entry):
        return gettext("Version %s made live") % log_entry.data.get("number", "")


class _TestConnection(LogFormatter):
    label = _("Test connection")

    def format_message(self, log_entry):
        text = gettext("Tested the connection to %s") % log_entry.data.get("server", "")
        return text + _with_references(log_entry)


class _SendTestEmail(LogFormatter):
    label = _("Send test email")

    def format_message(self, log_entry):
        # The entry is written before the attempt, so that every test has one.
        recipients = ", ".join(log_entry.data.get("recipients", ()))
        address = log_entry.data.get("address", "")
        values = {"address": address, "recipients": recipients}
        text = gettext("Tried to send a test email to %(address)s, redirected to %(recipients)s")
        if recipients == address:
            text = gettext("Tried to send a test email to %(address)s")
        return text % values + _with_references(log_entry)


def _with_references(log_entry):
    """The variables and files whose value a test may have sent."""
    names = ", ".join(log_entry.data.get("references", ()))
    return f" ({names})" if names else ""


class _ReleaseHeld(LogFormatter):
    label = _("Release all")

    def format_message(self, log_entry):
        number = log_entry.data.get("number", 0)
        text = ngettext("Released %d held message", "Released %d held messages", number)
        return text % number


class _DeleteHeld(LogFormatter):
    label = _("Delete all")

    def format_message(self, log_entry):
        number = log_entry.data.get("number", 0)
        text = ngettext("Deleted %d held message", "Deleted %d held messages", number)
        return text % number


@hooks.register("register_permissions")
def register_permissions():
    """Offer all permissions of the plugin in the group editor."""
    return Permission.objects.filter(content_type__app_label="wagtail_smtp")
