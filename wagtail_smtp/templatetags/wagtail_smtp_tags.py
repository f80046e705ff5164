"""Template tags of the plugin's own templates."""

from django import template

from wagtail_smtp.admin.banner import banner_for

register = template.Library()


@register.inclusion_tag("wagtail_smtp/banner.html", takes_context=True)
def wagtail_smtp_banner(context):
    """The banner for whoever looks at the page."""
    return {"banner": banner_for(context.get("request"))}
