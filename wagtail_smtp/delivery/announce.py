"""Log lines and signals about what became of a message."""

import logging
from typing import Any

from wagtail_smtp import signals
from wagtail_smtp.delivery import notices
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.models import LogEntry

logger = logging.getLogger(__name__)


def announce(passage: DeliveryResult, entry: LogEntry | None) -> None:
    """Tell; after recording."""
    message = passage.message
    about: dict[str, Any] = {
        "message": message,
        "category": passage.classification.category,
        "route": passage.route,
        "attempts": passage.attempts,
        "entry": entry,
    }
    if passage.outcome is None:
        failure = passage.failure
        logger.info("Message of category %s not sent: %r", about["category"], type(failure))
        signals.send_robustly(signals.message_failed, type(message), error=failure, **about)
        notices.report_too_large(passage, entry)
        return
    for item in passage.outcome.not_sent:
        logger.warning(
            "%s took the message, but not for %s: %s %s",
            passage.outcome.via,
            item.address,
            item.code,
            item.reply,
        )
    signals.send_robustly(signals.message_sent, type(message), outcome=passage.outcome, **about)
