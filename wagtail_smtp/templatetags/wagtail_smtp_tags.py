"""Template tags of the plugin's own templates."""

import re

from django import template
from django.utils.html import format_html, format_html_join

from wagtail_smtp.admin.banner import banner_for
from wagtail_smtp.admin.sets.overview import failing
from wagtail_smtp.conf import conf

register = template.Library()

#: A URL in a text, without the punctuation that follows it.
_ADDRESS = re.compile(r"""(https://[^\s<>"]*[^\s<>".,;:!?)\]'”’])""")


@register.filter
def wagtail_smtp_links(text):
    """Turn the https:// URLs in ``text`` into links.

    Not Django's ``urlize``: it also links host names, with http:// unless the project sets
    ``URLIZE_ASSUME_HTTPS``, and warns about that (Django 6.1).
    """
    parts = _ADDRESS.split(str(text))
    return format_html_join("", "{}", ((_link(part, i % 2),) for i, part in enumerate(parts)))


def _link(part, is_address):
    if is_address:
        return format_html('<a href="{0}" rel="noopener noreferrer">{0}</a>', part)
    return part


@register.simple_tag
def wagtail_smtp_documentation(page):
    """Return the address of a page of the documentation, such as ``how-to/oauth.html``."""
    return conf.documentation(page)


@register.inclusion_tag("wagtail_smtp/banner.html", takes_context=True)
def wagtail_smtp_banner(context):
    """Render the banner for the user of this page."""
    return {"banner": banner_for(context.get("request"))}


@register.inclusion_tag("wagtail_smtp/settings_sets/failing.html", takes_context=True)
def wagtail_smtp_failing(context, item=None):
    """Render the recent failures of the settings set ``item``, or of all sets."""
    return {**failing(context["request"], item), "request": context["request"]}
