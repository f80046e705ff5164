"""Template tags of the plugin's own templates."""

from django import template

from wagtail_smtp.admin.banner import banner_for
from wagtail_smtp.admin.set_failures import failing

register = template.Library()


@register.inclusion_tag("wagtail_smtp/banner.html", takes_context=True)
def wagtail_smtp_banner(context):
    """The banner for whoever looks at the page."""
    return {"banner": banner_for(context.get("request"))}


@register.inclusion_tag("wagtail_smtp/settings_sets/failing.html", takes_context=True)
def wagtail_smtp_failing(context, item=None):
    """What the settings set ``item``, or any of them, failed to send lately."""
    return {**failing(context["request"], item), "request": context["request"]}
