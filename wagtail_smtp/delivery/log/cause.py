"""Find the cause of a failure from its exception, to store it in the entry."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from wagtail_smtp.causes import explain
from wagtail_smtp.causes.base import Failure
from wagtail_smtp.config.values import Attempt, SettingsSetConfig
from wagtail_smtp.delivery.result import DeliveryResult
from wagtail_smtp.delivery.routing import STANDARD_DELIVERY
from wagtail_smtp.exceptions import AttemptFailed, DestinationRefused, SecretError
from wagtail_smtp.models import LogRecipient
from wagtail_smtp.models.choices import RecipientState, State
from wagtail_smtp.transports import standard

logger = logging.getLogger(__name__)

#: States that have one cause, whatever the attempts say.
BY_STATE: Mapping[str, str] = {
    State.BLOCKED: "redirect-without-address",
    State.TOO_LARGE: "too-large",
    State.UNKNOWN: "outcome-unknown",
    State.SUPPRESSED: "suppressed",
}


def find(delivery: DeliveryResult, state: str, recipients: Iterable[LogRecipient]) -> str:
    """The slug of the cause; empty if the message was sent, or no server was reached.

    Never raises: an unexplained failure is still logged.

    Args:
        state: of the entry.
        recipients: the envelope recipients, as logged.
    """
    if state == State.SENT:
        return ""
    if state in BY_STATE:
        return BY_STATE[state]
    try:
        if state == State.PARTLY_SENT:
            return _of_recipients(recipients)
        return _of_attempt(delivery, delivery.attempts[-1]) if delivery.attempts else ""
    except Exception:
        logger.warning("The cause of a failure can't be determined.", exc_info=True)
        return ""


def _of_recipients(recipients: Iterable[LogRecipient]) -> str:
    for row in recipients:
        # A deferred recipient may be in another state by now: waiting, or given up.
        is_refused = row.state in (RecipientState.REFUSED, RecipientState.DEFERRED)
        if is_refused or (row.code and row.state != RecipientState.SENT):
            return explain(Failure("rcpt", row.code, row.reply)).slug
    return ""


def _of_attempt(delivery: DeliveryResult, attempt: Attempt) -> str:
    error = attempt.error
    if not isinstance(error, AttemptFailed | SecretError | DestinationRefused):
        return ""  # a project's own backend can raise anything
    if isinstance(error, AttemptFailed) and not error.phase:
        return ""
    candidate = next(item for item in delivery.route.candidates if item.key == attempt.key)
    return explain(_failure(error, candidate)).slug


def _failure(error: Exception, candidate: SettingsSetConfig) -> Failure:
    if candidate is not STANDARD_DELIVERY and candidate.uses_esp:
        return Failure.of(error, "", 443, "ssl", uses_esp=True)
    if candidate is not STANDARD_DELIVERY and candidate.authentication != "default":
        return Failure.of(
            error,
            candidate.host,
            candidate.port,
            candidate.encryption,
            uses_oauth=candidate.authentication == "oauth2",
        )
    server = standard.server()
    if server is None:
        return Failure.of(error, "", 0, "")
    failure = Failure.of(error, server.host, server.port, server.encryption)
    return replace(failure, is_configured=server.is_configured)
