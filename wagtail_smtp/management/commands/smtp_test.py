"""manage.py smtp_test [--set NAME] [ADDRESS]: test a server, and explain what fails."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.formats import date_format

from wagtail_smtp.causes import by_slug
from wagtail_smtp.causes.base import Cause
from wagtail_smtp.config.validation import is_email_address
from wagtail_smtp.diagnostics.check_set import FAST, StageResult, proved, send_test_email, try_set
from wagtail_smtp.management import EmailCommand
from wagtail_smtp.models import SettingsSet


class Command(EmailCommand):
    """Test a settings set, or the live configuration."""

    help = (
        "Send a test email to ADDRESS exactly as the site sends real email. With --set NAME, check "
        "that set's server stage by stage; with ADDRESS as well, send the test email through it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("address", nargs="?", help="The recipient of the test email.")
        parser.add_argument(
            "--set", dest="name", metavar="NAME", help="The name of a settings set."
        )

    def handle(self, *args: Any, address: str | None, name: str | None, **options: Any) -> None:
        if address and not is_email_address(address):
            raise CommandError(f"{address!r} is not an email address.")
        if name:
            self._test_set(name, address)
        elif address:
            self._send(address)
        else:
            raise CommandError("Enter an ADDRESS, or a settings set with --set NAME.")

    def _test_set(self, name: str, address: str | None) -> None:
        item = SettingsSet.objects.filter(name__iexact=name).first()
        if item is None:
            names = ", ".join(SettingsSet.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no settings set {name!r}. Choose one of: {names}.")
        cause: Cause | None = None
        reached = set()
        for result in try_set(item, address):
            self._show(result)
            cause = result.cause
            reached.add(result.stage.name)
        if cause is not None:
            raise CommandError(_advice(cause))
        # Say no more than the stages prove.
        text = (
            "The server accepted the test email." if address else proved(item.frozen(()), reached)
        )
        self.stdout.write(self.style.SUCCESS(text))

    def _show(self, result: StageResult) -> None:
        stage = result.stage
        mark = self.style.ERROR("failed") if stage.error else self.style.SUCCESS("ok")
        line = f"{result.label}: {mark} ({stage.seconds * 1000:.0f} ms)"
        found = dict(stage.details)
        fast = str(FAST[found.pop("fast")]) if "fast" in found else ""
        details = [fast, *(f"{key} {_plain(value)}" for key, value in found.items() if value)]
        response = str(stage.error) if stage.error else stage.response
        self.stdout.write(" – ".join(part for part in (line, *details, response) if part))

    def _send(self, address: str) -> None:
        result = send_test_email(address)
        if result.is_waiting:
            entry = result.entry.pk if result.entry else 0
            self.stdout.write(f"The message is in the outbox (entry {entry}). {result.reason}")
        elif result.reason:
            cause = by_slug(result.entry.cause) if result.entry else None
            raise CommandError(f"{_advice(cause)} ({result.reason})" if cause else result.reason)
        elif result.entry is None:
            self.stdout.write(
                self.style.WARNING(
                    "The message was accepted, but the delivery log has no entry for it. Run "
                    "'manage.py check' to see whether email bypasses the plugin."
                )
            )
        else:
            self.stdout.write(
                self.style.SUCCESS(
                    f"{result.entry.via} accepted the message (entry {result.entry.pk})."
                )
            )


def _advice(cause: Cause) -> str:
    return f"{cause.title}. {cause.advice} See {cause.page}."


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return date_format(value, "Y-m-d") if hasattr(value, "year") else str(value)
