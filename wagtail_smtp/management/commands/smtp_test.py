"""manage.py smtp_test [--set NAME] [ADDRESS]: try a server out, and explain what fails."""

from collections.abc import Collection
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.formats import date_format

from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.diagnostics.causes.base import Cause
from wagtail_smtp.diagnostics.check_set import CONNECTED, FAST, NOT_ASKED, StageResult, try_set
from wagtail_smtp.diagnostics.from_log import cause_of
from wagtail_smtp.diagnostics.send_email import send_test_email
from wagtail_smtp.exceptions import EmailDeliveryError
from wagtail_smtp.live import current
from wagtail_smtp.management.base import EmailCommand
from wagtail_smtp.models import SettingsSet


class Command(EmailCommand):
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
        reached = set()
        try:
            for report in try_set(item, address):
                self._show(report)
                cause = report.cause
                reached.add(report.stage.name)
        except EmailDeliveryError as error:
            raise CommandError(str(error)) from error
        if cause is not None:
            raise CommandError(_remedy(cause))
        self.stdout.write(self.style.SUCCESS(_success(item, address, reached)))

    def _show(self, report: StageResult) -> None:
        stage = report.stage
        mark = self.style.ERROR("failed") if stage.error else self.style.SUCCESS("ok")
        line = f"{report.label}: {mark} ({stage.seconds * 1000:.0f} ms)"
        found = dict(stage.details)
        fast = str(FAST[found.pop("fast")]) if "fast" in found else ""
        details = [fast, *(f"{key} {_plain(value)}" for key, value in found.items() if value)]
        said = str(stage.error) if stage.error else stage.words
        self.stdout.write(" – ".join(part for part in (line, *details, said) if part))

    def _send(self, address: str) -> None:
        told = send_test_email(address)
        if told.is_waiting:
            entry = told.entry.pk if told.entry else 0
            self.stdout.write(f"The message waits in the outbox, as entry {entry}. {told.reason}")
        elif told.reason:
            cause = told.entry and cause_of(told.entry, current().configuration)
            raise CommandError(f"{told.reason} {_remedy(cause)}" if cause else told.reason)
        elif told.entry is None:
            self.stdout.write(
                self.style.WARNING(
                    "The message was accepted, but the delivery log has no entry for it. "
                    "'manage.py check' says whether mail goes past the plugin."
                )
            )
        else:
            self.stdout.write(
                self.style.SUCCESS(
                    f"The message was accepted by {told.entry.via} (entry {told.entry.pk})."
                )
            )


def _success(item: SettingsSet, address: str | None, reached: Collection[str]) -> str:
    """No more than the stages prove."""
    if address:
        return "The server accepted the test email."
    if item.frozen(()).is_provider:
        return "The provider can be reached. Name an ADDRESS to test the key."
    return str(CONNECTED if "sender" in reached else NOT_ASKED)


def _remedy(cause: Cause) -> str:
    return f"{cause.title}. {cause.advice} See {cause.page}."


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return date_format(value, "Y-m-d") if hasattr(value, "year") else str(value)
