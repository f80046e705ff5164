"""What people call the categories."""

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.transports import standard

_BUILT_IN = {
    "security": _("Security (password resets, codes)"),
    "notification": _("Notifications (workflow, comments)"),
    "form": _("Form pages"),
    "error": _("Error reports"),
    "alert": _("Alerts"),
    "test": _("Test emails"),
    "other": _("All other mail"),
}


def category_label(slug: str) -> str:
    """The category's name for people; an unknown one is its own."""
    return str(conf.CATEGORIES.get(slug) or _BUILT_IN.get(slug, slug))


def category_choices():
    """Every category the site has, with its name for people."""
    return [(slug, category_label(slug)) for slug in dict.fromkeys([*BUILT_IN, *conf.CATEGORIES])]


def via_label(name: str) -> str:
    """What people call who carried a message: a set's name, or the site's own server."""
    return str(_("The site's own server")) if name == standard.NAME else name
