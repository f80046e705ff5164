"""manage.py smtp_status: the state of the site's email, for people and for monitoring."""

import json
from typing import Any

from django.core.management.base import CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from wagtail_smtp.diagnostics.status import BounceStatus, SetStatus, Status, status
from wagtail_smtp.management import EmailCommand

_TOKENS = {
    "missing": "no one has given consent",
    "none": "requested with the first message",
    "refused": "could not be renewed",
    "valid": "valid",
}

_REDIRECTS = {
    "all": "redirects all email to",
    "some": "redirects some email to",
    "none": "redirect has NO EFFECT, to",
}


class Command(EmailCommand):
    """Print the state of the site's email."""

    help = (
        "Show the live email configuration, changes that are not live yet, the outbox and the "
        "failures of the last hour. The exit code is 1 if something is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Write JSON, for programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        state = status()
        if options["json"]:
            self.stdout.write(json.dumps(state.to_json(), cls=DjangoJSONEncoder, indent=2))
        else:
            self._show(state)
        if state.alarms:
            # The reasons are already in the output.
            raise SystemExit(1)

    def _show(self, state: Status) -> None:
        if state.environment:
            self.stdout.write(f"Environment: {state.environment}")
        if state.since is None:
            self.stdout.write("No settings are live yet: all email is sent by standard delivery.")
        else:
            since = state.since.isoformat(timespec="seconds")
            where = f" in {state.held_from}" if state.held_from else ""
            self.stdout.write(f"Version {state.version} has been live{where} since {since}.")
            self.stdout.write(f"Delivery method: {state.method}")
        for position, item in enumerate(state.sets, start=1):
            self._show_set(position, item)
        self.stdout.write(f"Standard delivery: {state.standard}")
        if state.forced_redirect is not None:
            to = ", ".join(state.forced_redirect) or "no address, so no email is sent"
            self.stdout.write(
                self.style.WARNING(f"The project's settings redirect all email to {to}.")
            )
        if state.outbox:
            counts = ", ".join(f"{number} {name}" for name, number in state.outbox.items())
            self.stdout.write(f"Outbox: {counts}")
        for source in state.bounces:
            self._show_bounces(source)
        if state.waiting_changes:
            self.stdout.write(f"Not live yet ({len(state.waiting_changes)}):")
            for change in state.waiting_changes:
                self.stdout.write(f"- {change}")
        for notice in state.notices:
            if notice not in state.alarms:
                self.stdout.write(self.style.WARNING(f"Note: {notice}"))
        for notice in state.waiting_notices:
            self.stdout.write(self.style.WARNING(f"After the next reload: {notice}"))
        for problem in state.waiting_problems:
            self.stdout.write(self.style.WARNING(f"Can't go live: {problem}"))
        self._show_drift(state)
        for failed in state.failures[:10]:
            where = f"{failed.state}: entry {failed.entry}"
            reason = failed.reason.removeprefix(f"{failed.via}: ")  # the line already has the name
            self.stdout.write(f"{where}, {failed.via or 'not sent'}: {reason}")
        for alarm in state.alarms:
            self.stdout.write(self.style.ERROR(f"Problem: {alarm}"))

    def _show_set(self, position: int, item: SetStatus) -> None:
        limits = (*item.categories, *item.sites)
        only = f", only for {', '.join(limits)}" if limits else ""
        backup = ", backup" if item.backup else ""
        self.stdout.write(f"{position}. {item.name} ({item.server}){only}{backup}")
        if item.token:
            self.stdout.write(f"   access token: {_TOKENS[item.token]}")
        if item.redirects_to:
            to = ", ".join(item.redirects_to)
            self.stdout.write(f"   {_REDIRECTS[item.redirect]} {to}")
        if not item.is_used:
            self.stdout.write("   not used")
        if item.usage is not None:
            for used in item.usage.limits:
                self.stdout.write(f"   recipients: {used}")
            if item.usage.paused_until is not None:
                until = item.usage.paused_until.isoformat(timespec="seconds")
                text = f"   quota used up, not used until {until}: {item.usage.reply}"
                self.stdout.write(self.style.WARNING(text))

    def _show_bounces(self, source: BounceStatus) -> None:
        where = f"Bounces in the mailbox of {source.name}" if source.name else "Bounces by pipe"
        at = source.read_at.isoformat(timespec="seconds") if source.read_at else "never"
        counts = ", ".join(f"{number} {name}" for name, number in source.counts.items() if number)
        self.stdout.write(f"{where}: last read {at}" + (f" ({counts})" if counts else ""))
        if source.failing_since is not None:
            since = source.failing_since.isoformat(timespec="seconds")
            self.stdout.write(self.style.WARNING(f"   failing since {since}: {source.failure}"))

    def _show_drift(self, state: Status) -> None:
        found = state.drift
        if found is None:
            return
        if found.problem:
            self.stdout.write(
                self.style.WARNING(f"The settings file can't be imported:\n{found.problem}")
            )
        for change in found.changes:
            text = f"Differs from {found.source}: {change.summary}"
            self.stdout.write(self.style.WARNING(text))
