"""Whether the database already has the tables that this code expects.

During a deployment, new code may run before ``migrate``.
"""

from importlib import import_module
from pkgutil import iter_modules

from django.conf import settings
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from wagtail_smtp.live.db.connections import write_alias

APP = "wagtail_smtp"

#: Databases that were complete. They stay so while this process runs.
_complete: set[str] = set()


def is_migrated() -> bool:
    """Whether the last migration of the plugin is applied: one query, until it is.

    Raises:
        django.db.Error: the database can't be asked.
    """
    alias = write_alias()
    # Test runners and projects may create the tables in another way.
    if alias in _complete or APP in settings.MIGRATION_MODULES:
        return True
    applied = MigrationRecorder(connections[alias]).applied_migrations()
    if (APP, _last()) in applied:
        _complete.add(alias)
    return alias in _complete


def forget_tables() -> None:
    """Ask again, as a new process would."""
    _complete.clear()


def _last() -> str:
    """The name of the last migration; the plugin's migrations form a chain."""
    package = import_module(f"{APP}.migrations")
    return max(module.name for module in iter_modules(package.__path__))
