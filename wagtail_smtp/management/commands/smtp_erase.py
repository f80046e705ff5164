"""manage.py smtp_erase ADDRESS: remove the data about one email address."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp.maintenance.erase import Erasure
from wagtail_smtp.management import EmailCommand


class Command(EmailCommand):
    """Erase a person's data, as privacy laws require on request."""

    help = (
        "Erase one email address from the delivery log, stored messages and the outbox. Uses of "
        "the address in the configuration are only listed."
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
            f"Log entries deleted: {done['deleted']}",
            f"Log entries kept without the address, for their other recipients: {done['kept']}",
            f"Stored messages deleted: {done['messages']}",
            f"Outbox messages cancelled: {done['cancelled']}",
            f"Suppressed addresses of which only a hash is kept: {done['suppressed']}",
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
        if erasure.remaining:
            numbers = ", ".join(map(str, erasure.remaining))
            raise CommandError(
                f"Not erased yet: entries {numbers}. Their messages are being sent, or are in the "
                "outbox for other recipients too. Cancel them in the delivery log or wait until "
                "they are sent. Then run this command again."
            )
