"""Settings of processes that tests start; the environment chooses the database."""

import django

from tests.settings import *  # noqa: F403

ADMINS = ["admin@example.com"] if django.VERSION >= (6, 0) else [("Admin", "admin@example.com")]
ROOT_URLCONF = "tests.processes.programs.site"


class _NoMigrations:
    """The tables straight from the models: all migrations of Wagtail take many seconds."""

    def __contains__(self, app: str) -> bool:
        return True

    def __getitem__(self, app: str) -> None:
        return None


MIGRATION_MODULES = _NoMigrations()
