"""manage.py smtp_erase ADDRESS: remove what log and outbox hold about one address."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from wagtail_smtp.maintenance.erase import Erasure
from wagtail_smtp.management.base import EmailCommand


class Command(EmailCommand):
    """For requests to be forgotten."""

    help = (
        "Remove or anonymise all that delivery log, stored messages and outbox hold about one "
        "address. Where it stands in the configuration is only told."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address")
        parser.add_argument(
            "--dry-run", action="store_true", help="Tell what would be done, and do nothing."
        )

    def handle(self, *args: Any, address: str, dry_run: bool, **options: Any) -> None:
        try:
            erasure = Erasure(address, dry_run=dry_run)
        except ValueError as error:
            raise CommandError(str(error)) from error
        erasure.run()
        done = erasure.counts
        self.stdout.write("Nothing was changed; this would be:" if dry_run else "Done:")
        for line in (
            f"Log entries made anonymous: {done['entries']}",
            f"Recipients among them: {done['recipients']}",
            f"Stored messages deleted: {done['messages']}",
            f"Messages in the outbox cancelled: {done['cancelled']}",
            f"Messages in the outbox that leave without this recipient: {done['rewritten']}",
        ):
            self.stdout.write(f"- {line}")
        if done["unreadable"]:
            self.stdout.write(
                self.style.WARNING(
                    f"{done['unreadable']} stored messages can't be decrypted, so their headers "
                    "were not looked at."
                )
            )
        for place in erasure.configured():
            self.stdout.write(self.style.WARNING(f"Still in the configuration: {place}"))
        if erasure.sending:
            numbers = ", ".join(map(str, erasure.sending))
            raise CommandError(
                f"Being sent just now and left as they are: entries {numbers}. Run this again in "
                "a while."
            )
