"""Whether a candidate can carry a message as what it is."""

from django.core.mail import EmailMessage
from django.utils.translation import gettext as _

from wagtail_smtp.configuration import SettingsSetConfig
from wagtail_smtp.delivery.candidates import Route
from wagtail_smtp.exceptions import MessageUnsupported
from wagtail_smtp.transports import standard

#: What only a provider can make a message of: each recipient's own, from a template. Even an
#: empty one makes a message for each recipient, who would see each other otherwise.
NEEDS_PROVIDER = (
    "template_id",
    "merge_data",
    "merge_global_data",
    "merge_headers",
    "merge_metadata",
)


def require(message: EmailMessage, item: SettingsSetConfig | None, way: Route) -> None:
    """Refuse to send half of a message: over SMTP nothing fills in templates.

    Raises:
        MessageUnsupported: phase ``unsupported``.
    """
    found = [name for name in NEEDS_PROVIDER if getattr(message, name, None) is not None]
    if not found or (item is not None and item.is_provider):
        return
    if item is None and (len(way.candidates) == 1 or standard.server() is None):
        return  # the project's own affair, as it was before the plugin
    raise MessageUnsupported(
        _("“%(set)s” sends by SMTP, where nothing fills in a provider's template: %(what)s.")
        % {"set": item.name if item else standard.NAME, "what": ", ".join(found)},
        phase="unsupported",
    )
