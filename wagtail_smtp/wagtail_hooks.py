"""Hook registrations only."""

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from wagtail import hooks


@hooks.register("register_log_actions")
def register_log_actions(actions):
    """Name the plugin's entries in Wagtail's audit log."""
    actions.register_action("wagtail_smtp.reload", gettext_lazy("Reload"), _reload_message)


def _reload_message(data):
    return _("Version %s made live") % data.get("number", "")
