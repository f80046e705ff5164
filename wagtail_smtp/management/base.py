"""Base class of the management commands."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from wagtail_smtp.live.db import connections


class EmailCommand(BaseCommand):
    """A command that needs the plugin's tables. It reports missing or outdated tables."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command.

        Raises:
            CommandError: the database can't be used, or ``migrate`` hasn't been run.
        """
        try:
            is_migrated = connections.is_migrated()
        except Error as error:
            raise CommandError(f"The database can't be used: {error}") from error
        if not is_migrated:
            raise CommandError(
                "The database tables of wagtail-smtp are missing or out of date. "
                "Run 'manage.py migrate' first."
            )
        return super().execute(*args, **options)
