"""States as the interface shows them: a label, an icon and a colour.

The state of a recipient or an attempt never contradicts its entry: once a message is final, none
of its recipients is waiting.
"""

from typing import Any

from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from wagtail_smtp.models.choices import RANKS, RecipientState, Reported, State
from wagtail_smtp.models.log import RECIPIENT_STATES, REPORTS, STATES

_LABELS = dict(STATES)
_RECIPIENT_LABELS = dict(RECIPIENT_STATES)
#: Tone and icon of each state; all others are neutral.
_LOOKS = {
    State.SENT: ("good", "circle-check"),
    State.QUEUED: ("waits", "time"),
    State.SENDING: ("waits", "time"),
    State.DEFERRED: ("waits", "time"),
    RecipientState.WAITING: ("waits", "time"),
    State.PARTLY_SENT: ("unsure", "warning"),
    State.UNKNOWN: ("unsure", "help"),
    State.TOO_LARGE: ("unsure", "warning"),
    State.REFUSED: ("bad", "circle-xmark"),
    State.FAILED: ("bad", "circle-xmark"),
    State.BLOCKED: ("bad", "no-view"),
    RecipientState.NOT_SENT: ("bad", "circle-xmark"),
}
_NEUTRAL = ("neutral", "minus")
#: Recipient states that imply further attempts, if the message has any.
_OPEN = frozenset({RecipientState.DEFERRED, RecipientState.WAITING, RecipientState.NOT_SENT})

#: Successful events, and events that need attention.
TRACKED_WELL = frozenset({Reported.DELIVERED, Reported.OPENED, Reported.CLICKED})
TRACKED_BADLY = frozenset(
    {Reported.BOUNCED, Reported.COMPLAINED, Reported.REJECTED, Reported.FAILED}
)
TRACKING_CHOICES: list[tuple[Any, Any]] = [
    (state, label)
    for state, label in reversed(REPORTS)
    if RANKS.get(state, 0) >= RANKS[Reported.DEFERRED]
]
_TRACKING_LABELS = dict(REPORTS)

#: Label of the step at which an attempt ended, by the phase in the log.
PHASES = {
    "pool": gettext_lazy("Waiting for a free connection"),
    "address": gettext_lazy("Server's address"),
    "connect": gettext_lazy("Connection"),
    "banner": gettext_lazy("Greeting"),
    "ehlo": gettext_lazy("Greeting"),
    "starttls": gettext_lazy("Encryption"),
    "tls": gettext_lazy("Encryption"),
    "password": gettext_lazy("Stored password"),
    "auth": gettext_lazy("Authentication"),
    "size": gettext_lazy("Size of the message"),
    "unsupported": gettext_lazy("Kind of message"),
    "reset": gettext_lazy("Sender"),
    "mail": gettext_lazy("Sender"),
    "rcpt": gettext_lazy("Recipients"),
    "data": gettext_lazy("Message"),
    "body": gettext_lazy("Message"),
    "reply": gettext_lazy("Final response"),
    "standard": gettext_lazy("Standard delivery"),
}


def label(state):
    """Return the label of an entry's state."""
    # Not get_state_display(), which builds all choices for each row.
    return str(_LABELS.get(state, state))


def tag(state, text=""):
    """Return a state's HTML with icon and colour; ``text`` replaces its label."""
    tone, icon = _LOOKS.get(state, _NEUTRAL)
    return format_html(
        '<span class="smtp-state smtp-state--{}" data-state="{}">'
        '<svg class="icon icon-{}" aria-hidden="true"><use href="#icon-{}"></use></svg>{}</span>',
        tone,
        state,
        icon,
        icon,
        text or label(state),
    )


def tone(state):
    """Return the tone of a message's status block: good, waits, unsure, bad or neutral."""
    return _LOOKS.get(state, _NEUTRAL)[0]


def of_recipient(row, entry):
    """Return the tag of a recipient."""
    if row.state not in _OPEN or not entry.is_final:
        return tag(row.state, _RECIPIENT_LABELS.get(row.state, row.state))
    whole = (State.FAILED, State.REFUSED, State.BLOCKED, State.TOO_LARGE, State.CANCELLED)
    return tag(entry.state if entry.state in whole else State.FAILED)


def of_attempt(row, entry):
    """Return the tag of an attempt. A deferred one counts as failed once its entry is final."""
    return tag(State.FAILED if row.state == State.DEFERRED and entry.is_final else row.state)


def phase(row):
    """Return the label of the step at which an attempt ended."""
    return str(PHASES.get(row.phase, row.phase)) if row.phase else ""


def seconds(row):
    """Return an attempt's duration, with the language's decimal separator."""
    return _("%s s") % number_format(row.seconds, 2)


def marked(shown, entry):
    """Return ``shown``, with a mark if tracking reported a failure."""
    if entry.reported not in TRACKED_BADLY:
        return shown
    return format_html(
        '{} <span class="w-status">{}</span>', shown, _TRACKING_LABELS[entry.reported]
    )
