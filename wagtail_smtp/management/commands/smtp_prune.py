"""manage.py smtp_prune: remove old log entries and stored messages."""

from typing import Any

from wagtail_smtp.maintenance.retention import prune_step
from wagtail_smtp.management import EmailCommand


class Command(EmailCommand):
    """Prune now. The plugin also does this automatically."""

    help = (
        "Remove log entries older than WAGTAIL_SMTP['KEEP_LOG_DAYS'] and stored messages older "
        "than WAGTAIL_SMTP['KEEP_MESSAGES_DAYS'], in small steps."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        entries = messages = 0
        more = True
        while more:
            step = prune_step()
            entries, messages, more = entries + step.entries, messages + step.messages, step.more
        self.stdout.write(f"Log entries removed: {entries}. Stored messages removed: {messages}.")
