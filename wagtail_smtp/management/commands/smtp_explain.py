"""manage.py smtp_explain CATEGORY [--site HOSTNAME]: show how such email is sent, and why."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp import suppression
from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import OTHER_SITE, Configuration
from wagtail_smtp.delivery.explain.routes import explain
from wagtail_smtp.live import current, sites
from wagtail_smtp.management import EmailCommand


class Command(EmailCommand):
    """Explain the routing of a category."""

    help = "Show which settings set would send email in a category now, and why."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("category", help="For example 'form' or 'security'.")
        parser.add_argument(
            "--site",
            default="",
            metavar="HOSTNAME",
            help="A site in Wagtail, with its port if several have the hostname. Default: the "
            "default site.",
        )

    def handle(self, *args: Any, category: str, site: str, **options: Any) -> None:
        known = (*BUILT_IN, *conf.CATEGORIES)
        if category not in known:
            raise CommandError(
                f"There is no category {category!r}. Choose one of: {', '.join(known)}."
            )
        live = current()
        found = _site(site, live.configuration)
        key = found.key if found is not None else OTHER_SITE
        route = explain(category, live.configuration, live.held_from, key)
        if route.blocked:
            raise CommandError(route.blocked)
        what = f"Email in category {category}"
        if found is not None:
            what += f" of {found.address}"
        self.stdout.write(f"{what} is sent with {route.first}: {route.why}.")
        for step in route.steps:
            self.stdout.write(f"- {step.name}: {step.role}")
        if route.redirect is not None:
            to = ", ".join(route.redirect.addresses)
            self.stdout.write(self.style.WARNING(f"Redirected by {route.redirect.source} to {to}."))
        elif category in suppression.NEVER:
            self.stdout.write("Suppressed addresses get it too.")
        else:
            self.stdout.write("Suppressed addresses don't get it.")


def _site(address: str, configuration: Configuration) -> sites.KnownSite | None:
    """The site to explain: the given one, or the default one if sites make a difference."""
    if address:
        try:
            return sites.find(address, sites.known())
        except ValueError as error:
            raise CommandError(str(error)) from error
    return sites.default() if configuration.uses_sites else None
