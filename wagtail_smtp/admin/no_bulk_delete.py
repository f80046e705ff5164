"""Deleting several sets at once serves nobody."""

from django.http import Http404
from wagtail.snippets.bulk_actions.snippet_bulk_action import SnippetBulkAction

from wagtail_smtp.models import SettingsSet


class NoBulkDelete(SnippetBulkAction):
    """Takes the place of Wagtail's: it shows names to anybody, and the listing has no boxes."""

    display_name = aria_label = ""
    action_type = "delete"
    models = [SettingsSet]

    def dispatch(self, *args, **kwargs):
        raise Http404
