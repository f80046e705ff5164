"""Labels of categories and of what sends email."""

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
    "other": _("All other email"),
}


def category_label(slug: str) -> str:
    """Return the category's label; for an unknown category, the slug itself."""
    return str(conf.CATEGORIES.get(slug) or _BUILT_IN.get(slug, slug))


def category_choices():
    """Return each category of the site with its label."""
    return [(slug, category_label(slug)) for slug in dict.fromkeys([*BUILT_IN, *conf.CATEGORIES])]


def via_label(name: str) -> str:
    """Return the label of what sent a message: a set's name or *Standard delivery*."""
    return str(_("Standard delivery")) if name == standard.NAME else name
