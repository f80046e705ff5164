"""manage.py smtp_summary [--daily] [--to ADDRESS | --send]: the summary of the last week or day."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.management import EmailCommand
from wagtail_smtp.models import SummarySubscription
from wagtail_smtp.runtime import project
from wagtail_smtp.summary import sending

Frequency = SummarySubscription.Frequency


class Command(EmailCommand):
    """Print or send the summary."""

    help = (
        "Print the summary of the last week. --to sends it to one address. --send sends each "
        "summary that is due now to the users who chose it; the site also does this automatically."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--daily", action="store_true", help="Of the last day, not week.")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--to", metavar="ADDRESS", help="Send it to this address.")
        what.add_argument("--send", action="store_true", help="Send what is due now.")

    def handle(self, *args: Any, daily: bool, to: str | None, send: bool, **options: Any) -> None:
        if to and not is_email_address(to):
            raise CommandError(f"{to!r} is not an email address.")
        if send:
            self.stdout.write(f"Summaries sent: {sending.send_due()}.")
            return
        with project.in_site_language():
            content = sending.collect(Frequency.DAILY if daily else Frequency.WEEKLY)
            if to:
                sending.message_for(content, to).send()
                self.stdout.write(
                    self.style.SUCCESS(f"The summary is on its way to {to}. See the delivery log.")
                )
            else:
                self.stdout.write(sending.text_of(content))
