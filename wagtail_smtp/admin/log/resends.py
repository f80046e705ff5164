"""The resends of a message and their outcome, for the listing, its page and confirmations."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from wagtail_smtp.admin.delivery.failures import NOT_SENT
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.models.choices import PENDING, RecipientState, State
from wagtail_smtp.resend.once import family, first_of

#: Outcomes, the most important first, with their label at the original.
_OUTCOMES = (
    ({State.SENT}, gettext_lazy("Resent – sent")),
    ({State.PARTLY_SENT}, gettext_lazy("Resent – partly sent")),
    ({State.UNKNOWN}, gettext_lazy("Resent – unknown")),
    (PENDING, gettext_lazy("Resent – in the outbox")),
)
#: Resends listed on a page.
LISTED = 20


@dataclass(frozen=True)
class Resends:
    """The later resends of a message.

    ``best`` has the most important outcome, ``original`` is the message that this one repeats, and
    ``began`` is the time at which a resend without a known outcome began.
    """

    best: LogEntry | None = None
    newest_first: tuple[LogEntry, ...] = ()
    original: LogEntry | None = None
    began: datetime | None = None

    @property
    def label(self):
        """The label of the best resend."""
        return label(self.best.state) if self.best else ""

    @property
    def is_sent(self):
        return self.best is not None and self.best.state == State.SENT


def label(state):
    """Return the label of a resend in this state, shown at the original."""
    found = (text for states, text in _OUTCOMES if state in states)
    return str(next(found, _("Resent – not sent")))


def _rank(state):
    found = (place for place, (states, _text) in enumerate(_OUTCOMES) if state in states)
    return next(found, len(_OUTCOMES))


def of_entry(entry):
    """Return the :class:`Resends` of an entry."""
    later = family(entry).filter(pk__gt=entry.pk).order_by("-pk")
    listed = tuple(later[:LISTED])
    # With many resends, the one that was sent may not be among those listed.
    sent = later.filter(state=State.SENT).first()
    best = sent or min(listed, key=lambda each: _rank(each.state), default=None)
    original = None
    if entry.resend_of_id:
        rows = LogEntry.objects.using(write_alias())
        original = rows.filter(pk=entry.resend_of_id).first()
    return Resends(best, listed, original, entry.resend_began)


def already_sent_to(entry):
    """Return the addresses that this message, its original or a resend was sent to."""
    members = family(entry).values_list("pk", flat=True)
    rows = LogRecipient.objects.using(write_alias()).filter(entry__in=list(members))
    got = rows.filter(role=LogRecipient.Role.ENVELOPE, state=RecipientState.SENT)
    return set(got.values_list("address", flat=True))


def outcomes(entries):
    """Map the number of each unsent entry to number and state of its best resend."""
    unsent = [entry for entry in entries if entry.state in NOT_SENT]
    if not unsent:
        return {}
    copies = LogEntry.objects.filter(resend_of_id__in={first_of(entry) for entry in unsent})
    families = {}
    for key, first, state in copies.values_list("pk", "resend_of_id", "state"):
        families.setdefault(first, []).append((key, state))
    found = {}
    for entry in unsent:
        later = [each for each in families.get(first_of(entry), ()) if each[0] > entry.pk]
        if later:
            found[entry.pk] = min(later, key=lambda each: (_rank(each[1]), -each[0]))
    return found
