"""Base class of the management commands."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from wagtail_smtp.config.values import Configuration
from wagtail_smtp.delivery.explain.notices import notices
from wagtail_smtp.exceptions import EmailDeliveryError, RedirectWouldEnd, ReloadRefused
from wagtail_smtp.live.db import connections
from wagtail_smtp.models import ConfigurationVersion
from wagtail_smtp.outbox import held


class EmailCommand(BaseCommand):
    """Needs the plugin's tables, and reports the plugin's errors without a traceback."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command.

        Raises:
            CommandError: the database can't be used, ``migrate`` hasn't been run, a reload is
                refused, or the live configuration or a saved secret can't be used.
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
        except RedirectWouldEnd as error:
            raise CommandError(f"{error} To confirm this, add --end-redirect.") from error
        except ReloadRefused as error:
            lines = [str(error), *(f"- {problem}" for problem in error.problems)]
            raise CommandError("\n".join(lines)) from error
        except EmailDeliveryError as error:
            raise CommandError(str(error)) from error

    def show_live(self, version: ConfigurationVersion, target: Configuration) -> None:
        """Say that a version is live, which of its settings have no effect, and what is held."""
        self.stdout.write(self.style.SUCCESS(f"Version {version.number} is live."))
        for notice in notices(target):
            self.stdout.write(self.style.WARNING(str(notice)))
        if number := held.rows().count():
            text = f"Held messages in the outbox: {number}. See 'manage.py smtp_outbox --help'."
            self.stdout.write(self.style.WARNING(text))
