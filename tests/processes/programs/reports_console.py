"""A process that gets the same reports in several threads."""

import json
import subprocess
import sys
import threading
from base64 import b64encode
from typing import Any

import django
from django.conf import settings

from tests.processes.programs.console import Console, child_environment, migrate

__all__ = ["ReportsConsole", "migrate"]


class ReportsConsole(Console):
    """Runs the functions of this module's lower half in a process of their own."""

    def __enter__(self) -> "ReportsConsole":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes.programs.reports_console"],
            env=child_environment(self._environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self


def race(rounds: int, recipients: int, threads: int) -> dict[str, Any]:
    """Let a provider report the same batch in all threads at once, each in another order."""
    from django.db.models import Count

    from wagtail_smtp import tracking
    from wagtail_smtp.delivery.log import tracking_events
    from wagtail_smtp.models import DeliveryEvent, LogEntry, LogRecipient, SettingsSet

    item = SettingsSet.objects.create(name="Mailjet", transport="mailjet", authentication="none")
    url = f"/email/webhooks/{item.key}/mailjet/"
    password = tracking.renew(item, f"http://testserver{url}").password
    codes: list[int] = []
    for number in range(rounds):
        addresses = [f"{i}@{number}.example.com" for i in range(recipients)]
        events = [
            {"event": kind, "time": 1498093527 + place, "MessageID": number, "email": address}
            for place, kind in enumerate(("sent", "open", "bounce"))
            for address in addresses
        ]
        entry = LogEntry(state="sent", category="form", set_key=item.key)
        barrier = threading.Barrier(threads + 1)
        workers = [
            threading.Thread(
                target=_post,
                args=(url, password, events[place:] + events[:place], barrier, codes),
            )
            for place in range(threads)
        ]
        for worker in workers:
            worker.start()
        barrier.wait(30)
        # The entry is written in the middle of it.
        entry.save()
        LogRecipient.objects.bulk_create(
            LogRecipient(
                entry=entry,
                address=address,
                domain=address.partition("@")[2],
                state="sent",
                provider_id=str(number),
            )
            for address in addresses
        )
        for worker in workers:
            worker.join(60)
    tracking_events.sweep(tracking_events.WAIT)
    reports = LogRecipient.objects.values_list("reported").annotate(count=Count("pk"))
    return {
        "codes": codes,
        "events": DeliveryEvent.objects.count(),
        "unmatched": DeliveryEvent.objects.filter(entry=None).count(),
        "recipients": dict(reports.order_by()),
        "entries": dict(
            LogEntry.objects.values_list("reported").annotate(count=Count("pk")).order_by()
        ),
    }


def _post(
    url: str, password: str, events: list[Any], barrier: threading.Barrier, codes: list[int]
) -> None:
    from django.db import connection
    from django.test import Client

    auth = b64encode(f"webhook:{password}".encode()).decode()
    barrier.wait(30)
    try:
        answer = Client(raise_request_exception=False).post(
            url,
            data=json.dumps(events),
            content_type="application/json",
            headers={"Authorization": f"Basic {auth}"},
        )
        codes.append(answer.status_code)
    finally:
        connection.close()


if __name__ == "__main__":
    django.setup()
    settings.ROOT_URLCONF = "tests.urls"
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
