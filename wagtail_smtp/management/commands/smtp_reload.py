"""manage.py smtp_reload: make the saved settings live."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp import live
from wagtail_smtp.delivery.explain import notices
from wagtail_smtp.exceptions import RedirectWouldEnd, ReloadRefused
from wagtail_smtp.management import EmailCommand


class Command(EmailCommand):
    """Do the same as *Reload application* in the admin."""

    help = "Make the settings saved in the admin live in every process of the site."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--end-redirect",
            action="store_true",
            help="Confirm that email which is redirected now may reach real people again.",
        )

    def handle(self, *args: Any, end_redirect: bool, **options: Any) -> None:
        try:
            plan = live.preview()
            version = live.reload(token=plan.token, end_redirect=end_redirect, reason="smtp_reload")
        except RedirectWouldEnd as error:
            raise CommandError(f"{error} To confirm this, add --end-redirect.") from error
        except ReloadRefused as error:
            lines = [str(error), *(f"- {problem}" for problem in error.problems)]
            raise CommandError("\n".join(lines)) from error
        if version is None:
            self.stdout.write("The saved settings are already live. Nothing changed.")
            return
        for change in plan.changes:
            self.stdout.write(f"- {change}")
        self.stdout.write(self.style.SUCCESS(f"Version {version.number} is live."))
        for notice in notices(plan.target):
            self.stdout.write(self.style.WARNING(str(notice)))
