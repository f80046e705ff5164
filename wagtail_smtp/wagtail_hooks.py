"""Hook registrations only."""

from django.contrib.auth.models import Permission
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from wagtail import hooks
from wagtail.snippets.models import register_snippet

from wagtail_smtp.admin.menu import EmailGroup
from wagtail_smtp.admin.settings_sets import NoBulkDelete

register_snippet(EmailGroup)
# After Wagtail's own, which it takes the place of.
hooks.register("register_bulk_action", NoBulkDelete, order=1000)


@hooks.register("register_log_actions")
def register_log_actions(actions):
    """Name the plugin's entries in Wagtail's audit log."""
    actions.register_action("wagtail_smtp.reload", gettext_lazy("Reload"), _reload_message)
    actions.register_action(
        "wagtail_smtp.reorder", gettext_lazy("Move"), gettext_lazy("Moved in the order")
    )


def _reload_message(data):
    return _("Version %s made live") % data.get("number", "")


@hooks.register("register_permissions")
def register_permissions():
    """Offer in the group editor what the snippet doesn't offer by itself."""
    return Permission.objects.filter(
        content_type__app_label="wagtail_smtp",
        codename__in=[
            "redirect_mail",
            "reload_application",
            "view_configurationversion",
            "change_deliverysettings",
        ],
    )
