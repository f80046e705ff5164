"""The states of a message and of a recipient in the delivery log.

``StrEnum`` adds nothing to ``TextChoices``, but without django-stubs mypy needs it.
"""

from collections.abc import Mapping
from enum import StrEnum

from django.db import models
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices, StrEnum):  # type: ignore[misc]
    """The outcome of a message or of one attempt."""

    QUEUED = "queued", _("Queued")
    SENDING = "sending", _("Sending")
    SENT = "sent", _("Sent")
    PARTLY_SENT = "partly_sent", _("Partly sent")
    DEFERRED = "deferred", _("Deferred")
    REFUSED = "refused", _("Refused")
    FAILED = "failed", _("Failed")
    UNKNOWN = "unknown", _("Unknown")
    TOO_LARGE = "too_large", _("Too large")
    BLOCKED = "blocked", _("Blocked")
    CANCELLED = "cancelled", _("Cancelled")
    SUPPRESSED = "suppressed", _("Suppressed")


#: States in which a message is still processed automatically.
PENDING = frozenset({State.QUEUED, State.SENDING, State.DEFERRED})


class RecipientState(models.TextChoices, StrEnum):  # type: ignore[misc]
    """The outcome of a message for one recipient."""

    WAITING = "waiting", _("Waiting")
    SENT = "sent", _("Sent")
    REFUSED = "refused", _("Refused")
    DEFERRED = "deferred", _("Deferred")
    UNKNOWN = "unknown", _("Unknown")
    NOT_SENT = "not_sent", _("Not sent")
    REDIRECTED = "redirected", _("Redirected")
    SUPPRESSED = "suppressed", _("Suppressed")


class Reported(models.TextChoices, StrEnum):  # type: ignore[misc]
    """Delivery tracking events, named as in django-anymail."""

    QUEUED = "queued", _("Queued")
    SENT = "sent", _("Sent")
    DEFERRED = "deferred", _("Deferred")
    DELIVERED = "delivered", _("Delivered")
    OPENED = "opened", _("Opened")
    CLICKED = "clicked", _("Clicked")
    UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
    REJECTED = "rejected", _("Rejected")
    FAILED = "failed", _("Failed")
    BOUNCED = "bounced", _("Bounced")
    COMPLAINED = "complained", _("Reported as spam")
    AUTORESPONDED = "autoresponded", _("Automatic reply")
    SUBSCRIBED = "subscribed", _("Subscribed")


#: Events arrive in any order: a higher rank is never replaced by a lower one, and among equals
#: the later one counts. A bounce may follow a delivery, if a server accepts the message and then
#: returns it. Events that are missing here don't change the state.
RANKS: Mapping[str, int] = {
    "": 0,
    Reported.QUEUED: 1,
    Reported.SENT: 2,
    Reported.DEFERRED: 3,
    Reported.DELIVERED: 4,
    Reported.OPENED: 5,
    Reported.CLICKED: 6,
    Reported.UNSUBSCRIBED: 7,
    Reported.REJECTED: 8,
    Reported.FAILED: 8,
    Reported.BOUNCED: 8,
    Reported.COMPLAINED: 9,
}
