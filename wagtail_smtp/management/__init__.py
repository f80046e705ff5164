"""Base class of the management commands."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from wagtail_smtp.exceptions import EmailDeliveryError, ReloadRefused
from wagtail_smtp.live.db import connections


class EmailCommand(BaseCommand):
    """Needs the plugin's tables, and reports the plugin's errors without a traceback."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command.

        Raises:
            CommandError: the database can't be used, ``migrate`` hasn't been run, or the live
                configuration or a saved secret can't be used.
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
        try:
            return super().execute(*args, **options)
        except (EmailDeliveryError, ReloadRefused) as error:
            raise CommandError(str(error)) from error
