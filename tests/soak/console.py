"""What the process does that changes the site during a long run."""

import json
import sys
import time
from typing import Any

import django

from tests.processes.programs.console import migrate

__all__ = ["migrate"]


def make_set(password: str, **values: Any) -> None:
    """Store a set and make it live."""
    from wagtail_smtp import live
    from wagtail_smtp.models import ReportEmail, Secret, SettingsSet

    item = SettingsSet(name="Main", timeout=3, **values)
    item.secret = Secret.store(password, item.frozen(()).binding(), item.key)
    item.report_emails = [ReportEmail(address="report@example.com", sort_order=0)]
    item.save()
    live.reload()


def switch(redirect: bool) -> None:
    """Turn the redirect on or off, change something else, and reload."""
    from wagtail_smtp import live
    from wagtail_smtp.models import SettingsSet

    item = SettingsSet.objects.get()
    item.redirect, item.timeout = redirect, 7 - item.timeout
    item.save()
    live.reload(end_redirect=True)


def reconnect() -> None:
    """Go on with a database server that was restarted."""
    from django.db import connections

    connections.close_all()


def connections() -> float:
    """Connections to the database; SQLite has none."""
    from django.db import connection

    queries = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database()",
    }
    if connection.vendor not in queries:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(queries[connection.vendor])
        return float(cursor.fetchone()[0])


def drain(patience: float) -> int:
    """Deliver what is left; how many messages remain after so many seconds without progress."""
    from datetime import timedelta

    from django.db.models import F
    from django.utils import timezone

    from wagtail_smtp.models import OutboxMessage
    from wagtail_smtp.outbox.worker import Worker

    worker = Worker()
    left, since = OutboxMessage.objects.count(), time.monotonic()
    while left and time.monotonic() - since < patience:
        later = OutboxMessage.objects.filter(due_at__gt=timezone.now())
        later.update(due_at=F("due_at") - timedelta(days=1))
        worker.drain()
        if (now := OutboxMessage.objects.count()) != left:
            left, since = now, time.monotonic()
        time.sleep(0.2)
    worker.close()
    return left


def states() -> list[tuple[str, str]]:
    """Subject and state of each entry of a sender's message."""
    from wagtail_smtp.models import LogEntry

    found = LogEntry.objects.filter(subject__startswith="sender").order_by("pk")
    return list(found.values_list("subject", "state"))


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)
