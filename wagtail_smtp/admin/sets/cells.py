"""What the listing of sets shows of each by itself."""

from django.utils.html import format_html
from django.utils.translation import gettext as _

from wagtail_smtp.models import SettingsSet
from wagtail_smtp.transports.esp.catalog import label


def transport(item):
    """How its mail leaves."""
    return "SMTP" if item.transport == "smtp" else _("Provider")


def host(item):
    """Where its mail goes."""
    if item.transport != "smtp":
        return label(item.transport)
    if item.authentication == SettingsSet.Authentication.DEFAULT:
        return _("the site's own server")
    return format_html("<bdi>{}:{}</bdi>", item.host, item.port)


def sender(item):
    """Whom its mail is from."""
    name, address = item.sender_name, item.sender_address
    shown = f"{name} <{address}>" if name and address else name or address
    return format_html("<bdi>{}</bdi>", shown) if shown else ""
