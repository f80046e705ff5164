"""manage.py smtp_prune: remove old log entries and stored messages."""

import time
from typing import Any

from wagtail_smtp.maintenance.retention import PAUSE, prune_step
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
            began = time.monotonic()
            step = prune_step()
            entries, messages, more = entries + step.entries, messages + step.messages, step.more
            if more:  # at least half of the time for those who send
                time.sleep(max(PAUSE, time.monotonic() - began))
        self.stdout.write(f"Log entries removed: {entries}. Stored messages removed: {messages}.")
