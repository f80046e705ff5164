"""manage.py smtp_explain CATEGORY: show how email in a category is sent, and why."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp import suppression
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.explain import explain
from wagtail_smtp.management import EmailCommand


class Command(EmailCommand):
    """Explain the routing of a category."""

    help = "Show which settings set would send email in a category now, and why."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("category", help="For example 'form' or 'security'.")

    def handle(self, *args: Any, category: str, **options: Any) -> None:
        known = (*BUILT_IN, *conf.CATEGORIES)
        if category not in known:
            raise CommandError(
                f"There is no category {category!r}. Choose one of: {', '.join(known)}."
            )
        route = explain(category)
        if route.blocked:
            raise CommandError(route.blocked)
        self.stdout.write(f"Email in category {category} is sent with {route.first}: {route.why}.")
        for step in route.steps:
            self.stdout.write(f"- {step.name}: {step.role}")
        if route.redirect is not None:
            to = ", ".join(route.redirect.addresses)
            self.stdout.write(self.style.WARNING(f"Redirected by {route.redirect.source} to {to}."))
        elif category in suppression.NEVER:
            self.stdout.write("Suppressed addresses get it too.")
        else:
            self.stdout.write("Suppressed addresses don't get it.")
