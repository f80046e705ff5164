"""The states of a message, and of a recipient, as the delivery log names them (SPEC 4)."""

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
