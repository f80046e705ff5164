"""The columns of the listing: Wagtail's columns with cells formatted in Python.

Wagtail renders one or two templates for each cell, which took most of the page's time. The HTML
here is the same; a test compares the two.
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
    """Plain text from the accessor."""

    def render_cell_html(self, instance, parent_context):
        return format_html("<td{}>{}</td>", _class(self.classname), self.get_value(instance))


class Title(tables.TitleColumn):
    """A link with an id that labels the row's checkbox."""

    def render_cell_html(self, instance, parent_context):
        return format_html(
            '<td class="title"><div class="title-wrapper">'
            '<a href="{}"><span id="{}">{}</span></a></div></td>',
            self.get_link_url(instance, parent_context),
            self.get_title_id(instance, parent_context),
            self.get_value(instance),
        )


class Time(tables.DateColumn):
    """The time since then; the exact time is in a tooltip."""

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
    """The checkbox that selects the row."""

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
