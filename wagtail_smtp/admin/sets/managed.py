"""Sets that the project's settings file manages: their source, and their order."""

from django.utils.translation import gettext as _
from wagtail.admin.ui.tables import Column
from wagtail.admin.ui.tables.orderable import OrderingColumn

from wagtail_smtp.config.values import Configuration
from wagtail_smtp.config_files.sets_file import manager
from wagtail_smtp.live.resolve import saved_sets
from wagtail_smtp.models import SettingsSet


class ManagedOrder(Exception):
    """A move would change the order of the managed sets."""


def check_order(before, after):
    """Check a new order of rows.

    Raises:
        ManagedOrder: it changes the order of the managed sets among themselves.
    """
    old, new = ([row.pk for row in rows if manager(row)] for rows in (before, after))
    if old != new:
        first = next(row for row in after if manager(row))
        raise ManagedOrder(
            _("Nothing was moved: the project's file %s decides the order of its sets.")
            % manager(first)
        )


def may_be_first(item: SettingsSet) -> bool:
    """Whether the set may be moved to the first position."""
    if not manager(item):
        return True
    rows = SettingsSet.objects.exclude(managed_by="").order_by("sort_order", "pk")
    return rows.first() == item


class ManagedOrderingColumn(OrderingColumn):
    """The handles to drag rows; a managed set has a lock instead."""

    cell_template_name = "wagtail_smtp/settings_sets/ordering_cell.html"

    def get_cell_context_data(self, instance, parent_context):
        context = super().get_cell_context_data(instance, parent_context)
        return context | {"managed_by": manager(instance)}


class ManagedColumn(Column):
    """The file that manages a set."""

    cell_template_name = "wagtail_smtp/settings_sets/managed_cell.html"

    def __init__(self):
        super().__init__("managed_by", label=_("Managed by"), accessor=manager)


def changed_by(target: Configuration) -> dict[str, list[str]]:
    """The names of the managed sets that making ``target`` live would change, by their file."""
    wanted = target.by_key()
    found: dict[str, list[str]] = {}
    for row, config in saved_sets():
        now = config if row.enabled else None
        if manager(row) and now != wanted.get(config.key):
            found.setdefault(manager(row), []).append(row.name)
    return found
