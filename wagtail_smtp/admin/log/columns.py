"""The columns of the listing: Wagtail's, with cells that no template is rendered for.

Wagtail renders a template or two for each cell, and that took most of the page's time. What is
written here instead is the same, and a test compares it with what Wagtail would have written.
"""

from django.utils.formats import date_format, get_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timezone import template_localtime
from django.utils.translation import gettext
from wagtail.admin.templatetags.wagtailadmin_tags import timesince_simple
from wagtail.admin.ui import tables


class Text(tables.Column):
    """What the accessor gives."""

    def render_cell_html(self, instance, parent_context):
        return format_html("<td{}>{}</td>", _class(self.classname), self.get_value(instance))


class Title(tables.TitleColumn):
    """A link, named by an element of its own for the row's checkbox."""

    def render_cell_html(self, instance, parent_context):
        return format_html(
            '<td class="title"><div class="title-wrapper">'
            '<a href="{}"><span id="{}">{}</span></a></div></td>',
            self.get_link_url(instance, parent_context),
            self.get_title_id(instance, parent_context),
            self.get_value(instance),
        )


class Time(tables.DateColumn):
    """How long ago it was; the time itself is in a tooltip."""

    def render_cell_html(self, instance, parent_context):
        at = template_localtime(self.get_value(instance))
        return format_html(
            '<td{}><button type="button" class="w-human-readable-date"'
            ' data-controller="w-tooltip" data-w-tooltip-content-value="{}"'
            ' data-w-tooltip-placement-value="top">'
            '<time class="w-human-readable-date__date" datetime="{}">{}</time></button></td>',
            _class(self.classname),
            date_format(at, get_format("DATETIME_FORMAT") or "N j, Y, P"),
            at.isoformat(),
            capfirst(timesince_simple(at)),
        )


class Checkbox(tables.BulkActionsCheckboxColumn):
    """What selects the row."""

    def render_cell_html(self, instance, parent_context):
        return format_html(
            '<td class="bulk-action-checkbox-cell"><input type="checkbox" data-object-id="{}"'
            ' data-bulk-action-checkbox class="bulk-action-checkbox" aria-label="{}"'
            ' aria-describedby="{}"></td>',
            str(instance.pk),
            gettext("Select"),
            self.get_aria_describedby(instance),
        )


def _class(name):
    return format_html(' class="{}"', name) if name else SafeString("")
