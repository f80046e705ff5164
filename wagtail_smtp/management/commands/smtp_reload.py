"""manage.py smtp_reload: make the saved settings live."""

from typing import Any

from django.core.management.base import CommandParser

from wagtail_smtp import live
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
        plan = live.preview()
        version = live.reload(token=plan.token, end_redirect=end_redirect, reason="smtp_reload")
        if version is None:
            self.stdout.write("The saved settings are already live. Nothing changed.")
            return
        for change in plan.changes:
            self.stdout.write(f"- {change}")
        self.show_live(version, plan.target)
