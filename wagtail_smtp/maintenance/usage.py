"""Share the quotas that servers report, and remove usage that no longer counts."""

import time

from wagtail_smtp import live
from wagtail_smtp.live import usage
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.maintenance import periodic
from wagtail_smtp.transports.base import Pause

#: Seconds between two looks of a process that sends email at what others have been told.
_SHARE_EVERY = 60
_PRUNE_EVERY = 24 * 3600


def connect() -> None:
    """Do so from now on."""
    failure = "Quotas that servers reported could not be read."
    periodic.add_step(periodic.Step(_share, failure=failure))
    periodic.add_task(periodic.Task("usage", _PRUNE_EVERY, usage.prune))


def _share() -> float:
    """Return the number of seconds until the next time."""
    if not db_connections.is_under_test() and db_connections.is_migrated():
        pause_live_sets()
    return _SHARE_EVERY


def pause_live_sets() -> None:
    """Pause the live sets whose server has reported a quota to another process.

    Only those without limits: of the others, each message reads it anyway. A query for each
    message would be too much for a set without limits.
    """
    current = live.current()
    unlimited = [item for item in current.configuration.sets if not item.has_limits]
    if not unlimited:
        return
    ledgers, now = usage.ledgers(item.key for item in unlimited)
    for item in unlimited:
        ledger = ledgers.get(item.key)
        found = ledger.pause_at(now, current.number) if ledger else None
        if found is not None:
            pause = Pause(time.monotonic() + found.until - now, found.code, found.reply)
            current.transport(item).availability.pause = pause
