"""Template tags of the plugin's own templates."""

import re

from django import template
from django.utils.html import format_html, format_html_join

from wagtail_smtp.admin.banner import banner_for
from wagtail_smtp.admin.sets.failures import failing

register = template.Library()

#: An address in a text, without the punctuation that ends its sentence.
_ADDRESS = re.compile(r"""(https://[^\s<>"]*[^\s<>".,;:!?)\]'”’])""")


@register.filter
def wagtail_smtp_links(text):
    """Make links of the addresses in ``text`` that begin with https://, and of nothing else.

    Django's ``urlize`` also takes names of servers for pages, at http:// unless the project sets
    ``URLIZE_ASSUME_HTTPS``, and warns of that (Django 6.1).
    """
    parts = _ADDRESS.split(str(text))
    return format_html_join("", "{}", ((_link(part, i % 2),) for i, part in enumerate(parts)))


def _link(part, is_address):
    if is_address:
        return format_html('<a href="{0}" rel="noopener noreferrer">{0}</a>', part)
    return part


@register.inclusion_tag("wagtail_smtp/banner.html", takes_context=True)
def wagtail_smtp_banner(context):
    """The banner for whoever looks at the page."""
    return {"banner": banner_for(context.get("request"))}


@register.inclusion_tag("wagtail_smtp/settings_sets/failing.html", takes_context=True)
def wagtail_smtp_failing(context, item=None):
    """What the settings set ``item``, or any of them, failed to send lately."""
    return {**failing(context["request"], item), "request": context["request"]}
