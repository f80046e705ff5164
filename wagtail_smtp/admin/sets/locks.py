"""What the project decides in a set's form: locked fields, and a text that says what decides."""

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext as _

from wagtail_smtp.conf import conf
from wagtail_smtp.config_files.sets_file import manager


class CategoryChoices(forms.CheckboxSelectMultiple):
    """A choice of categories. Those that always use standard delivery can't be selected."""

    def create_option(self, name, value, label, selected, *args, **kwargs):
        if value in conf.STANDARD_CATEGORIES:
            label = format_lazy(
                "{} – {}",
                label,
                _("always standard delivery (%s)") % conf.source("STANDARD_CATEGORIES"),
            )
        option = super().create_option(name, value, label, selected, *args, **kwargs)
        if value in conf.STANDARD_CATEGORIES and not selected:
            option["attrs"]["disabled"] = True
        return option


def redirect_note():
    """Say that the project redirects all email; empty if it doesn't."""
    forced = conf.forced_redirect()
    if forced is None:
        return ""
    return _(
        "This has no effect now: %(source)s redirects all email to %(addresses)s, whatever is "
        "chosen here."
    ) % {"source": conf.source("REDIRECT_ALL_TO"), "addresses": ", ".join(forced) or "–"}


def managed_text(item):
    """Say which file manages a set; empty if the set is managed in the admin."""
    file = manager(item)
    if not file:
        return ""
    return _(
        "“%(name)s” is managed by the file %(file)s (%(source)s), so you can't change it here. "
        "You can test it. To change it, ask a developer to change the file."
    ) % {"name": item.name, "file": file, "source": conf.source("SETS_FILE")}


def lock_all(form):
    """Disable every field of the form and of its report emails; their saved values stay.

    Fields that only change something are removed.
    """
    for name in ("remove_password", "remove_keys"):
        form.fields.pop(name, None)
    for each in (form, *(child for formset in form.formsets.values() for child in formset.forms)):
        for field in each.fields.values():
            if not field.widget.is_hidden:
                field.disabled = True
