"""manage.py smtp_explain CATEGORY: which server would carry such mail, and why."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.delivery.explain import explain
from wagtail_smtp.exceptions import ConfigurationUnavailable
from wagtail_smtp.management.base import EmailCommand


class Command(EmailCommand):
    """Explain where mail of a category goes."""

    help = "Show which server would carry mail of a category now, and why."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("category", help="For example 'form' or 'security'.")

    def handle(self, *args: Any, category: str, **options: Any) -> None:
        known = (*BUILT_IN, *conf.CATEGORIES)
        if category not in known:
            raise CommandError(
                f"There is no category {category!r}. The site has: {', '.join(known)}."
            )
        try:
            told = explain(category)
        except ConfigurationUnavailable as error:
            raise CommandError(str(error)) from error
        if told.blocked:
            raise CommandError(told.blocked)
        self.stdout.write(f"Mail of category {category} leaves by {told.first}: {told.why}.")
        for step in told.steps:
            self.stdout.write(f"- {step.name}: {step.part}")
        if told.redirect is not None:
            to = ", ".join(told.redirect.addresses)
            self.stdout.write(self.style.WARNING(f"Redirected by {told.redirect.source} to {to}."))
