"""A process of a site whose users get summaries."""

import json
import sys
import time
from datetime import timedelta

import django
from django.conf import settings

from tests.processes.programs.console import Console, make_sets, migrate

__all__ = ["SummaryConsole", "make_sets", "migrate"]


class SummaryConsole(Console):
    """Runs the functions of this module's lower half in a process of their own."""

    module = "tests.processes.programs.summary_console"


def subscribe(count: int) -> None:
    """Create ``count`` users whose summary is due: user0@example.com and so on."""
    from django.contrib.auth.models import User

    from wagtail_smtp.models import SummarySubscription
    from wagtail_smtp.summary import subscriptions

    for number in range(count):
        name = f"user{number}"
        user = User.objects.create_superuser(name, f"{name}@example.com", "pw")
        subscriptions.choose(user, "weekly")
    for row in SummarySubscription.objects.all():
        row.sent_until -= timedelta(days=7)
        row.save()


def start(prefix: str = "/") -> None:
    """Send what is due, in the thread that does it, after a request to a site below ``prefix``."""
    from django.urls import set_script_prefix

    from wagtail_smtp.summary import sending

    set_script_prefix(prefix)
    sending.start()


def wait(seconds: float) -> bool:
    """Wait until that thread ends; whether it has."""
    from wagtail_smtp.summary import sending

    if sending._thread is not None:
        sending._thread.join(seconds)
    return sending._thread is None or not sending._thread.is_alive()


def end_request() -> float:
    """End a request as Django does, and say how many seconds it took."""
    from django.core.signals import request_finished, request_started

    request_started.send(sender=None, environ={})
    began = time.monotonic()
    request_finished.send(sender=None)
    return time.monotonic() - began


if __name__ == "__main__":
    django.setup()
    settings.ROOT_URLCONF = "tests.urls"  # with the admin, to which the summary links
    for line in sys.stdin:
        function, given = json.loads(line)
        print(json.dumps(globals()[function](**given)), flush=True)  # noqa: T201
