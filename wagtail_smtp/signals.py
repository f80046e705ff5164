"""The signals. An error in a receiver is logged and doesn't affect sending.

``message_sent``
    A message was sent to at least one recipient. Arguments: ``message`` (an EmailMessage),
    ``category``, ``route``, ``attempts``, ``entry`` (in the delivery log, or None) and
    ``outcome``.
``message_failed``
    A message was not sent. The arguments are the same, with ``error`` instead of ``outcome``.
``configuration_reloaded``
    A new version is live and its transaction has been committed. Arguments: ``number`` and
    ``user`` (None from the command line).
``alert_raised``
    An alert was sent, once for all processes of the site. Arguments: ``kind`` (a slug), ``subject``
    and ``text``. It is sent in a thread of the plugin.
``address_suppressed``
    An address was added to the suppression list, and the transaction has been committed.
    Arguments: ``address`` (normalised), ``reason`` and ``entry`` (the number of the log entry of
    the message that bounced, or None). Importing a list sends no signals.
``outbox_idle``
    An outbox worker has nothing to do.
"""

import logging
from typing import Any

from django.dispatch import Signal

from wagtail_smtp.runtime import error_logging

logger = logging.getLogger(__name__)

message_sent = Signal()
message_failed = Signal()
configuration_reloaded = Signal()
alert_raised = Signal()
address_suppressed = Signal()
outbox_idle = Signal()


def send_robustly(signal: Signal, sender: Any, **values: Any) -> None:
    """Send ``signal`` and log the error of a receiver that fails.

    While an email about errors is sent, the first error also stops the remaining receivers.
    """
    if not error_logging.is_suppressed():
        signal.send_robust(sender=sender, **values)
        return
    # send_robust() logs an error, and the email about that error would fail here again.
    try:
        signal.send(sender=sender, **values)
    except Exception:
        error_logging.failure(logger, "A signal receiver failed")
