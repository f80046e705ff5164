"""Cells of the listing that depend on one set only."""

from django.utils.html import format_html
from django.utils.translation import gettext as _

from wagtail_smtp.models import SettingsSet
from wagtail_smtp.transports.esp.catalog import label


def transport(item):
    """How its email is sent."""
    return "SMTP" if item.transport == "smtp" else _("Email provider")


def host(item):
    """The server or email provider."""
    if item.transport != "smtp":
        return label(item.transport)
    if item.authentication == SettingsSet.Authentication.DEFAULT:
        return _("standard delivery")
    return format_html("<bdi>{}:{}</bdi>", item.host, item.port)


def sender(item):
    """The sender of its email."""
    name, address = item.sender_name, item.sender_address
    shown = f"{name} <{address}>" if name and address else name or address
    return format_html("<bdi>{}</bdi>", shown) if shown else ""
