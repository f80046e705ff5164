"""manage.py smtp_test [--set NAME] [ADDRESS]: try a server out, and explain what fails."""

from typing import Any

from django.core.mail import EmailMessage
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.formats import date_format

from wagtail_smtp.categories import TEST
from wagtail_smtp.diagnostics.failure import Cause
from wagtail_smtp.diagnostics.run import LABELS, Report, try_set
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.models import LogEntry, SettingsSet
from wagtail_smtp.validation import is_email_address


class Command(BaseCommand):
    """Test a settings set, or the way that mail takes now."""

    help = (
        "Send a test email to ADDRESS the way all mail takes now. With --set NAME, try that set's "
        "server stage by stage instead; with ADDRESS as well, send the test email through it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", nargs="?", help="Who gets the test email.")
        parser.add_argument("--set", dest="name", metavar="NAME", help="The name of a set.")

    def handle(self, *args: Any, address: str | None, name: str | None, **options: Any) -> None:
        if address and not is_email_address(address):
            raise CommandError(f"{address!r} is no email address.")
        if name:
            self._test_set(name, address)
        elif address:
            self._send(address)
        else:
            raise CommandError("Name an ADDRESS, or a set with --set NAME.")

    def _test_set(self, name: str, address: str | None) -> None:
        item = SettingsSet.objects.filter(name__iexact=name).first()
        if item is None:
            names = ", ".join(SettingsSet.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no settings set {name!r}. The sets are: {names}.")
        cause: Cause | None = None
        try:
            for report in try_set(item, address):
                self._show(report)
                cause = report.cause
        except EmailDeliveryError as error:
            raise CommandError(str(error)) from error
        if cause is not None:
            raise CommandError(f"{cause.title}. {cause.advice} See {cause.page}.")
        self.stdout.write(self.style.SUCCESS("The server works."))

    def _show(self, report: Report) -> None:
        stage = report.stage
        mark = self.style.ERROR("failed") if stage.error else self.style.SUCCESS("ok")
        line = f"{LABELS[stage.name]}: {mark} ({stage.seconds * 1000:.0f} ms)"
        details = [f"{key} {_plain(value)}" for key, value in stage.details.items() if value]
        said = str(stage.error) if stage.error else stage.words
        self.stdout.write(" – ".join(part for part in (line, *details, said) if part))

    def _send(self, address: str) -> None:
        message = EmailMessage(
            "Test email", "This is a test email, sent by manage.py smtp_test.", None, [address]
        )
        message.email_category = TEST  # type: ignore[attr-defined]
        tests = LogEntry.objects.filter(category=TEST).order_by("-pk")
        before = tests.values_list("pk", flat=True).first() or 0
        try:
            message.send()
        except EmailDeliveryError as error:
            raise CommandError(str(error)) from error
        except Exception as error:  # a project's own backend raises what it likes
            # Its words may hold what the server echoed, a password for one.
            entry = tests.filter(pk__gt=before).first()
            raise CommandError((entry and entry.reason) or type(error).__name__) from None
        self.stdout.write(
            self.style.SUCCESS("The message was accepted. The delivery log says by which server.")
        )


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return date_format(value, "Y-m-d") if hasattr(value, "year") else str(value)
