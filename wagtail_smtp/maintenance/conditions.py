"""Report conditions that no message reports, for the whole site once.

What is reported, and when, is decided in :mod:`wagtail_smtp.diagnostics.conditions`.
"""

from collections.abc import Callable, Iterable
from functools import partial

from wagtail_smtp import alerts
from wagtail_smtp.diagnostics import expiry
from wagtail_smtp.diagnostics.conditions.base import Condition
from wagtail_smtp.diagnostics.conditions.expiring import expiring
from wagtail_smtp.diagnostics.conditions.limits import sending_limits
from wagtail_smtp.diagnostics.conditions.mailboxes import unread_mailboxes
from wagtail_smtp.diagnostics.conditions.outbox import overdue_outbox
from wagtail_smtp.diagnostics.conditions.rates import unusual_rates
from wagtail_smtp.diagnostics.conditions.redirects import long_redirects
from wagtail_smtp.live.db import connections as db_connections
from wagtail_smtp.maintenance import periodic
from wagtail_smtp.runtime import project

#: Seconds between two looks at the outbox and at limits, at everything else, and between storing
#: certificates.
_OFTEN = 300
_OTHERS_EVERY = 3600
_CERTIFICATES_EVERY = 3600

_URGENT: tuple[Callable[[], Iterable[Condition]], ...] = (
    overdue_outbox,
    sending_limits,
)
_OTHERS: tuple[Callable[[], Iterable[Condition]], ...] = (
    long_redirects,
    expiring,
    unusual_rates,
    unread_mailboxes,
)


def connect() -> None:
    """Watch from now on."""
    for every, finders in ((_OFTEN, _URGENT), (_OTHERS_EVERY, _OTHERS)):
        for find in finders:
            name = f"conditions {find.__name__}"
            periodic.add_task(periodic.Task(name, every, partial(report, find)))
    # Each process only knows the certificates of its own connections.
    periodic.add_step(
        periodic.Step(_store_certificates, failure="Certificates could not be stored.")
    )


@project.in_site_language()
def report(find: Callable[[], Iterable[Condition]]) -> None:
    """Report what ``find`` yields, each cause once in its interval."""
    for each in find():
        alerts.report(each.kind, each.cause, each.subject, *each.paragraphs, interval=each.interval)


def _store_certificates() -> float:
    """Store certificates and return the number of seconds until the next time."""
    if not db_connections.is_under_test():
        expiry.store_certificates()
    return _CERTIFICATES_EVERY
