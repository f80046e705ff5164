"""manage.py smtp_resend --since …: resend failed messages, each one once."""

import re
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from wagtail_smtp.causes import CAUSES
from wagtail_smtp.maintenance.resend import ResendSummary, refusal, resend_several, select
from wagtail_smtp.management import EmailCommand
from wagtail_smtp.models import LogEntry, SettingsSet
from wagtail_smtp.models.choices import State
from wagtail_smtp.models.log import STANDARD

#: States that --state accepts.
STATES = (
    State.FAILED,
    State.REFUSED,
    State.BLOCKED,
    State.TOO_LARGE,
    State.UNKNOWN,
    State.CANCELLED,
    State.SUPPRESSED,
)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Command(EmailCommand):
    """It is safe to repeat it, to interrupt it and to run it in two processes."""

    help = (
        "Resend the messages that failed since a given time, oldest first and each one once. The "
        "command skips and counts messages that were already resent, that are no longer kept or "
        "whose outcome is unknown. Security messages are never resent. With DELIVERY = 'queued', "
        "messages are put in the outbox. If the command is interrupted, run it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            required=True,
            help="A date, a date and time, or how long ago. For example: 2026-05-01, "
            "'2026-05-01 14:30', 90m, 6h or 2d.",
        )
        parser.add_argument(
            "--set",
            dest="carrier",
            metavar="NAME",
            help="Only messages that this settings set, or 'standard', failed to send.",
        )
        parser.add_argument(
            "--cause",
            choices=sorted({cause.slug for cause in CAUSES}),
            metavar="CAUSE",
            help="Only messages that failed for this cause, for example login-refused.",
        )
        parser.add_argument("--category", help="Only messages in this category.")
        parser.add_argument(
            "--state",
            action="append",
            choices=[str(state) for state in STATES],
            help="Only messages in this state; can be repeated. Default: failed. 'unknown' may "
            "deliver a message twice.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Show what would be resent without sending."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        states = options["state"] or [State.FAILED]
        if why := refusal():
            raise CommandError(why)  # every message would fail
        numbers = select(
            since=_since(options["since"]),
            states=states,
            category=options["category"] or "",
            cause=options["cause"] or "",
            carrier=_carrier(options["carrier"]),
        )
        unknown_too = State.UNKNOWN in states
        summary = ResendSummary()
        if options["dry_run"]:
            resend_several(numbers, summary, unknown_too=unknown_too, dry_run=True)
            count = _messages(summary.resent.total())
            self.stdout.write(f"Nothing was sent. Would be resent: {count}")
            self._show_skipped(summary)
            return
        try:
            resend_several(numbers, summary, unknown_too=unknown_too)
        except KeyboardInterrupt:
            self._show(summary)
            raise CommandError(
                "Interrupted. Run the same command again to resend the rest.", returncode=130
            ) from None
        self._show(summary)
        if summary.failed:
            raise CommandError(
                f"{_messages(summary.failed)} could not be sent. The first error: {summary.problem}"
            )

    def _show(self, summary: ResendSummary) -> None:
        waiting = sum(summary.resent[state] for state in (State.QUEUED, State.DEFERRED))
        self.stdout.write(f"Resent: {_messages(summary.resent.total() - waiting)}")
        if waiting:
            self.stdout.write(f"Put in the outbox: {_messages(waiting)}")
        self._show_skipped(summary)

    def _show_skipped(self, summary: ResendSummary) -> None:
        if summary.left_out:
            self.stdout.write("Skipped:")
        for count, reason in summary.why_left_out():
            self.stdout.write(f"- {count}: {reason}")


def _messages(count: int) -> str:
    return f"{count} message" if count == 1 else f"{count} messages"


def _since(text: str) -> datetime:
    """Parse the value of --since."""
    if ago := re.fullmatch(r"(\d{1,5})([mhd])", text):
        return timezone.now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        day = parse_date(text)
        moment = datetime(day.year, day.month, day.day) if day else parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise CommandError(f"“{text}” is not a time. Enter 2026-05-01, '2026-05-01 14:30' or 6h.")
    if settings.USE_TZ and timezone.is_naive(moment):
        return timezone.make_aware(moment)
    if not settings.USE_TZ and timezone.is_aware(moment):
        return timezone.make_naive(moment)
    return moment


def _carrier(name: str | None) -> str:
    """The carrier for --set: the key of a set, or standard delivery; empty: all."""
    if not name or name == STANDARD:
        return name or ""
    # A set that was deleted has its name in the log only.
    logged = LogEntry.objects.filter(via=name).exclude(set_key=None).order_by("-pk")
    for rows, field in ((SettingsSet.objects.filter(name=name), "key"), (logged, "set_key")):
        if (key := rows.values_list(field, flat=True).first()) is not None:
            return str(key)
    raise CommandError(f"There is no settings set called “{name}”.")
