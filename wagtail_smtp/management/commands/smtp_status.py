"""manage.py smtp_status: what is live, what waits, what fails; for people and for monitoring."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from wagtail_smtp.diagnostics.status import Status, status
from wagtail_smtp.exceptions import ReloadRefused
from wagtail_smtp.management.base import EmailCommand

_TOKENS = {
    "missing": "nobody has consented",
    "none": "got with the first message",
    "refused": "could not be renewed",
    "valid": "valid",
}

_REDIRECTS = {
    "all": "redirects all mail to",
    "some": "redirects some mail to",
    "none": "redirect NOT IN EFFECT, to",
}


class Command(EmailCommand):
    """Print the state of the site's email."""

    help = (
        "Show which email configuration is live, which changes wait for a reload, what the outbox "
        "holds and what failed in the last hour. The exit code is 1 if something is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="For programs.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            told = status()
        except ReloadRefused as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(told.as_json(), cls=DjangoJSONEncoder, indent=2))
        else:
            self._show(told)
        if told.alarms:
            # The reasons stand in the output already.
            raise SystemExit(1)

    def _show(self, told: Status) -> None:
        if told.since is None:
            self.stdout.write("Nothing was made live yet: all mail leaves by standard delivery.")
        else:
            since = told.since.isoformat(timespec="seconds")
            self.stdout.write(f"Version {told.version} is live since {since}.")
            self.stdout.write(f"Delivery method: {told.method}")
        for position, item in enumerate(told.sets, start=1):
            only = f", only for {', '.join(item.categories)}" if item.categories else ""
            backup = ", backup" if item.backup else ""
            self.stdout.write(f"{position}. {item.name} ({item.server}){only}{backup}")
            if item.token:
                self.stdout.write(f"   access token: {_TOKENS[item.token]}")
            if item.redirects_to:
                to = ", ".join(item.redirects_to)
                self.stdout.write(f"   {_REDIRECTS[item.redirect]} {to}")
            if not item.is_used:
                self.stdout.write("   not used")
        self.stdout.write(f"Standard delivery: {told.standard}")
        if told.forced_redirect is not None:
            to = ", ".join(told.forced_redirect) or "nobody: no mail leaves"
            self.stdout.write(self.style.WARNING(f"All mail is redirected by settings to {to}."))
        if told.outbox:
            counts = ", ".join(f"{number} {state}" for state, number in told.outbox.items())
            self.stdout.write(f"Outbox: {counts}")
        if told.waiting_changes:
            self.stdout.write(f"Not live yet ({len(told.waiting_changes)}):")
            for change in told.waiting_changes:
                self.stdout.write(f"- {change}")
        for notice in told.notices:
            if notice not in told.alarms:
                self.stdout.write(self.style.WARNING(f"Note: {notice}"))
        for notice in told.waiting_notices:
            self.stdout.write(self.style.WARNING(f"After a reload: {notice}"))
        for problem in told.waiting_problems:
            self.stdout.write(self.style.WARNING(f"Can't be made live: {problem}"))
        for failed in told.failures[:10]:
            where = f"{failed.state}: entry {failed.entry}"
            reason = failed.reason.removeprefix(f"{failed.via}: ")  # the name is there already
            self.stdout.write(f"{where}, {failed.via or 'not sent'}: {reason}")
        for alarm in told.alarms:
            self.stdout.write(self.style.ERROR(f"Problem: {alarm}"))
