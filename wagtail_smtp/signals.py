"""Signals, sent robustly: a receiver that fails is logged and stops nothing.

``message_sent``: ``message`` (the caller's own EmailMessage), ``category``, ``route``,
``outcome``. ``message_failed``: the same with ``error`` instead of ``outcome``.
``configuration_reloaded``: ``number`` and ``user`` (None from the command line), after the
transaction that wrote the version has committed. ``outbox_idle``: a worker finds nothing to do.
"""

import logging
from typing import Any

from django.dispatch import Signal

from wagtail_smtp.runtime import error_logging

logger = logging.getLogger(__name__)

message_sent = Signal()
message_failed = Signal()
configuration_reloaded = Signal()
outbox_idle = Signal()


def send_robustly(signal: Signal, sender: Any, **values: Any) -> None:
    """Send ``signal``; a receiver that fails is logged and stops nothing but, for mail about
    errors, the receivers after it.
    """
    if not error_logging.is_suppressed():
        signal.send_robust(sender=sender, **values)
        return
    # send_robust() logs an error of its own, and the mail about that would fail here again.
    try:
        signal.send(sender=sender, **values)
    except Exception:
        error_logging.failure(logger, "A signal receiver failed")
