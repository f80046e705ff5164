"""The states of a message and of a recipient in the delivery log."""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """The outcome of a message or of one attempt."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    PARTLY_SENT = "partly_sent"
    DEFERRED = "deferred"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    TOO_LARGE = "too_large"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


#: States in which a message is still processed automatically.
PENDING = frozenset({State.QUEUED, State.SENDING, State.DEFERRED})


class RecipientState(StrEnum):
    """The outcome of a message for one recipient."""

    WAITING = "waiting"
    SENT = "sent"
    REFUSED = "refused"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    REDIRECTED = "redirected"


class Reported(StrEnum):
    """Delivery tracking events, named as in django-anymail."""

    QUEUED = "queued"
    SENT = "sent"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    REJECTED = "rejected"
    FAILED = "failed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    AUTORESPONDED = "autoresponded"
    SUBSCRIBED = "subscribed"


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
