"""Labels, icons and colours of categories, transports, states and delivery tracking.

The state of a recipient or an attempt never contradicts its entry: once a message is final, none
of its recipients is waiting.
"""

from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from wagtail_smtp.categories import BUILT_IN
from wagtail_smtp.conf import conf
from wagtail_smtp.deliverability.verdicts import Verdict
from wagtail_smtp.live import sites
from wagtail_smtp.models import LogAttempt, LogEntry, Told
from wagtail_smtp.models.choices import RANKS, RecipientState, Reported, State

STANDARD_DELIVERY = _("Standard delivery")

_CATEGORIES = {
    "security": _("Security (password resets, codes)"),
    "notification": _("Notifications (workflow, comments)"),
    "form": _("Form pages"),
    "error": _("Error reports"),
    "alert": _("Alerts"),
    "test": _("Test emails"),
    "other": _("All other email"),
}


def category_label(slug: str) -> str:
    """Return the category's label; for an unknown category, the slug itself."""
    return str(conf.CATEGORIES.get(slug) or _CATEGORIES.get(slug, slug))


def local_time(moment: datetime) -> datetime:
    """Return a stored time in the current time zone, as templates show it."""
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def category_choices():
    """Return each category of the site with its label."""
    return [(slug, category_label(slug)) for slug in dict.fromkeys([*BUILT_IN, *conf.CATEGORIES])]


def named(grouped):
    """Return pairs of a value and the keys of its sites with the sites' names in place of keys."""
    grouped = list(grouped)
    # Not without need: it takes a query.
    known = sites.names(sites.known()) if any(keys for _value, keys in grouped) else {}
    return [(value, ", ".join(sites.label(key, known) for key in keys)) for value, keys in grouped]


def carrier_label(row: LogEntry | LogAttempt) -> str:
    """Return the label of an attempt's carrier, or an entry's last one; empty if there was none."""
    return str(STANDARD_DELIVERY) if row.via and row.set_key is None else row.via


# Not get_state_display(), which builds all choices for each row.
_STATES = dict(State.choices)
_RECIPIENT_STATES = dict(RecipientState.choices)
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
    State.SUPPRESSED: ("neutral", "no-view"),
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
    for state, label in reversed(Reported.choices)
    if RANKS.get(state, 0) >= RANKS[Reported.DEFERRED]
]
_TRACKING = dict(Reported.choices)
_TRACKING_LOOKS = {
    Reported.DEFERRED: _LOOKS[State.DEFERRED],
    **dict.fromkeys(TRACKED_WELL, _LOOKS[State.SENT]),
    **dict.fromkeys(TRACKED_BADLY, _LOOKS[State.FAILED]),
}

#: Label of the step at which an attempt ended, by the phase in the log.
PHASES = {
    "pool": _("Waiting for a free connection"),
    "address": _("Server's address"),
    "connect": _("Connection"),
    "banner": _("Greeting"),
    "ehlo": _("Greeting"),
    "starttls": _("Encryption"),
    "tls": _("Encryption"),
    "password": _("Stored password"),
    "auth": _("Authentication"),
    "size": _("Size of the message"),
    "unsupported": _("Kind of message"),
    "reset": _("Sender"),
    "mail": _("Sender"),
    "rcpt": _("Recipients"),
    "limit": _("Sending limits"),
    "data": _("Message"),
    "body": _("Message"),
    "reply": _("Final response"),
    "standard": _("Standard delivery"),
}


def state_tag(state, text=""):
    """Return a state's HTML with icon and colour; ``text`` replaces its label."""
    tone, icon = _LOOKS.get(state, _NEUTRAL)
    return _tag(tone, icon, state, text or _STATES.get(state, state))


def _tag(tone, icon, name, text):
    return format_html(
        '<span class="wsmtp-state wsmtp-state--{}" data-state="{}">'
        '<svg class="icon icon-{}" aria-hidden="true"><use href="#icon-{}"></use></svg>{}</span>',
        tone,
        name,
        icon,
        icon,
        text,
    )


_VERDICT_LOOKS = {
    Verdict.GOOD: ("good", "success"),
    Verdict.UNKNOWN: ("neutral", "help"),
    Verdict.IMPROVE: ("unsure", "warning"),
    Verdict.BAD: ("bad", "cross"),
}


def verdict_tag(verdict):
    """Return the HTML of a verdict on DNS records, with icon and colour."""
    return _tag(*_VERDICT_LOOKS[verdict], verdict.name.lower(), verdict.label)


_TOLD = dict(Told.choices)
_TOLD_LOOKS = {
    Told.TRYING: ("waits", "time"),
    Told.SENT: ("good", "circle-check"),
    Told.FAILED: ("bad", "circle-xmark"),
    Told.UNKNOWN: ("unsure", "help"),
}


def told_tag(state):
    """Return the HTML of whether a channel has an alert, with icon and colour."""
    return _tag(*_TOLD_LOOKS.get(state, _NEUTRAL), state, _TOLD.get(state, state))


def tracking_tag(event):
    """Return the HTML of a tracking event, with icon and colour; empty if there is none."""
    if not event:
        return ""
    return _tag(*_TRACKING_LOOKS.get(event, _NEUTRAL), event, _TRACKING.get(event, event))


def state_tone(state):
    """Return the tone of a message's status block: good, waits, unsure, bad or neutral."""
    return _LOOKS.get(state, _NEUTRAL)[0]


def recipient_tag(row, entry):
    """Return the tag of a recipient."""
    if row.state not in _OPEN or not entry.is_final:
        return state_tag(row.state, _RECIPIENT_STATES.get(row.state, row.state))
    whole = (
        *(State.FAILED, State.REFUSED, State.BLOCKED),
        *(State.TOO_LARGE, State.CANCELLED, State.SUPPRESSED),
    )
    return state_tag(entry.state if entry.state in whole else State.FAILED)


def attempt_tag(row, entry):
    """Return the tag of an attempt. A deferred one counts as failed once its entry is final."""
    return state_tag(State.FAILED if row.state == State.DEFERRED and entry.is_final else row.state)


def phase_label(row):
    """Return the label of the step at which an attempt ended."""
    return str(PHASES.get(row.phase, row.phase)) if row.phase else ""


def duration_label(row):
    """Return an attempt's duration, with the language's decimal separator."""
    return gettext("%s s") % number_format(round(row.seconds, 2), 2)


def with_tracking(shown, entry):
    """Return ``shown``, with a mark if tracking reported a failure."""
    if entry.reported not in TRACKED_BADLY:
        return shown
    return format_html('{} <span class="w-status">{}</span>', shown, _TRACKING[entry.reported])
