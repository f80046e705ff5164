"""Log lines and signals about what became of a message."""

import logging
from typing import Any

from wagtail_smtp import signals
from wagtail_smtp.delivery import notices
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.models import LogEntry

logger = logging.getLogger(__name__)


def announce(delivery: DeliveryResult, entry: LogEntry | None) -> None:
    """Tell; after recording."""
    message = delivery.message
    about: dict[str, Any] = {
        "message": message,
        "category": delivery.classification.category,
        "route": delivery.route,
        "attempts": delivery.attempts,
        "entry": entry,
    }
    if delivery.outcome is None:
        failure = delivery.failure
        logger.info("Message of category %s not sent: %r", about["category"], type(failure))
        signals.send_robustly(signals.message_failed, type(message), error=failure, **about)
        notices.report_too_large(delivery, entry)
        return
    for item in delivery.outcome.not_sent:
        logger.warning(
            "%s took the message, but not for %s: %s %s",
            delivery.outcome.via,
            item.address,
            item.code,
            item.reply,
        )
    signals.send_robustly(signals.message_sent, type(message), outcome=delivery.outcome, **about)
