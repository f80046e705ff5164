"""manage.py smtp_erase ADDRESS: remove the data about one email address."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp.maintenance.erase import Erasure
from wagtail_smtp.management.base import EmailCommand


class Command(EmailCommand):
    """Erase a person's data, as privacy laws require on request."""

    help = (
        "Remove or anonymise all data about one email address in the delivery log, stored "
        "messages and the outbox. Uses of the address in the configuration are only listed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", help="The email address to erase.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Show what would be done without doing it."
        )

    def handle(self, *args: Any, address: str, dry_run: bool, **options: Any) -> None:
        try:
            erasure = Erasure(address, dry_run=dry_run)
        except ValueError as error:
            raise CommandError(str(error)) from error
        erasure.run()
        done = erasure.counts
        self.stdout.write("Nothing was changed. This would be done:" if dry_run else "Done:")
        for line in (
            f"Log entries anonymised: {done['entries']}",
            f"Recipients in them: {done['recipients']}",
            f"Stored messages deleted: {done['messages']}",
            f"Outbox messages cancelled: {done['cancelled']}",
            f"Outbox messages that will be sent without this recipient: {done['rewritten']}",
        ):
            self.stdout.write(f"- {line}")
        if done["unreadable"]:
            self.stdout.write(
                self.style.WARNING(
                    f"{done['unreadable']} stored messages can't be decrypted, so their headers "
                    "were not checked."
                )
            )
        for place in erasure.configured():
            self.stdout.write(self.style.WARNING(f"Still in the configuration: {place}"))
        if erasure.sending:
            numbers = ", ".join(map(str, erasure.sending))
            raise CommandError(
                f"Not erased because they are being sent now: entries {numbers}. Run this command "
                "again in a few minutes."
            )
