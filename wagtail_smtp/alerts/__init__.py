"""Alerts: tell the people who run the site that email needs attention.

:func:`report` raises one; ``channels`` delivers it.
"""

from wagtail_smtp.alerts.kinds import AlertKind
from wagtail_smtp.alerts.raising import Report, forget, report, send_to
from wagtail_smtp.alerts.watch import (
    clear_pending,
    connect,
    given_up,
    messages_waiting,
    note_store_usage,
    note_token_refused,
    send_pending,
    too_large,
)

__all__ = [
    "AlertKind",
    "Report",
    "clear_pending",
    "connect",
    "forget",
    "given_up",
    "messages_waiting",
    "note_store_usage",
    "note_token_refused",
    "report",
    "send_pending",
    "send_to",
    "too_large",
]
