"""The states of a message, and of a recipient, as the delivery log names them (SPEC 4)."""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """What became of a message, or of one attempt."""

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


#: States after which something still happens to a message by itself.
PENDING = frozenset({State.QUEUED, State.SENDING, State.DEFERRED})


class RecipientState(StrEnum):
    """What became of a message for one recipient."""

    WAITING = "waiting"
    SENT = "sent"
    REFUSED = "refused"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"
    NOT_SENT = "not_sent"
    REDIRECTED = "redirected"


class Reported(StrEnum):
    """What a provider told afterwards, by the names django-anymail gives it."""

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


#: Reports come in any order: what ranks higher is never replaced by what ranks lower, and of
#: equals the later one counts. A bounce may follow a delivery, when a server took the message
#: and gave it back, but nothing undoes it. What is missing here is told but is no state.
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
