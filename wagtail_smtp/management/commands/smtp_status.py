"""manage.py smtp_status: what is live, what waits, where mail is redirected."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from wagtail_smtp import live
from wagtail_smtp.conf import conf
from wagtail_smtp.exceptions import ReloadRefused
from wagtail_smtp.transports import standard


class Command(BaseCommand):
    """Print the state of the live configuration."""

    help = "Show which email configuration is live and which changes wait for a reload."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            plan = live.preview()
        except ReloadRefused as error:
            raise CommandError(str(error)) from error
        if plan.live is None:
            self.stdout.write("Nothing was made live yet: all mail leaves by standard delivery.")
        else:
            since = plan.live.created_at.isoformat(timespec="seconds")
            self.stdout.write(f"Version {plan.live.number} is live since {since}.")
            self.stdout.write(f"Delivery method: {plan.before.method}")
        for position, item in enumerate(plan.before.sets, start=1):
            backup = ", backup" if item.backup else ""
            only = f", only for {', '.join(item.categories)}" if item.categories else ""
            where = (
                standard.description()
                if item.authentication == "default"
                else f"{item.host}:{item.port}"
            )
            self.stdout.write(f"{position}. {item.name} ({where}){only}{backup}")
            if item.redirect:
                self.stdout.write(f"   redirects to {', '.join(item.report_addresses)}")
        self.stdout.write(f"Standard delivery: {standard.description()}")
        forced = conf.forced_redirect()
        if forced is not None:
            to = ", ".join(forced) or "nobody: no mail leaves"
            self.stdout.write(self.style.WARNING(f"All mail is redirected by settings to {to}."))
        if plan.changes:
            self.stdout.write(f"Not live yet ({len(plan.changes)}):")
            for change in plan.changes:
                self.stdout.write(f"- {change}")
        for problem in plan.problems:
            self.stdout.write(self.style.ERROR(f"Problem: {problem}"))
