"""What became of the resends of a message, as the listing, its page and a confirmation say it."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from wagtail_smtp.admin.delivery.failures import NOT_SENT
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.models.choices import PENDING, RecipientState, State
from wagtail_smtp.resend.once import family, first_of

#: Outcomes from the one that matters most, and how the original says it.
_OUTCOMES = (
    ({State.SENT}, gettext_lazy("Resent – sent")),
    ({State.PARTLY_SENT}, gettext_lazy("Resent – partly sent")),
    ({State.UNKNOWN}, gettext_lazy("Resent – unknown")),
    (PENDING, gettext_lazy("Resent – in the outbox")),
)
#: Resends that a page lists.
LISTED = 20


@dataclass(frozen=True)
class Resends:
    """The resends of a message that came after it.

    ``best`` is the one whose outcome matters, ``original`` what the message itself repeats, and
    ``began`` when one began of which no outcome is known.
    """

    best: LogEntry | None = None
    newest_first: tuple[LogEntry, ...] = ()
    original: LogEntry | None = None
    began: datetime | None = None

    @property
    def label(self):
        """Of the best one."""
        return label(self.best.state) if self.best else ""

    @property
    def is_sent(self):
        return self.best is not None and self.best.state == State.SENT


def label(state):
    """What the original says of a resend in this state."""
    found = (text for states, text in _OUTCOMES if state in states)
    return str(next(found, _("Resent – not sent")))


def _rank(state):
    found = (place for place, (states, _text) in enumerate(_OUTCOMES) if state in states)
    return next(found, len(_OUTCOMES))


def of_entry(entry):
    """Its :class:`Resends`."""
    later = family(entry).filter(pk__gt=entry.pk).order_by("-pk")
    listed = tuple(later[:LISTED])
    # Of very many, one that was sent may be older than those listed.
    sent = later.filter(state=State.SENT).first()
    best = sent or min(listed, key=lambda each: _rank(each.state), default=None)
    original = None
    if entry.resend_of_id:
        rows = LogEntry.objects.using(write_alias())
        original = rows.filter(pk=entry.resend_of_id).first()
    return Resends(best, listed, original, entry.resend_began)


def who_has_it(entry):
    """Addresses that got the message, by this entry or another of its family."""
    members = family(entry).values_list("pk", flat=True)
    rows = LogRecipient.objects.using(write_alias()).filter(entry__in=list(members))
    got = rows.filter(role=LogRecipient.Role.ENVELOPE, state=RecipientState.SENT)
    return set(got.values_list("address", flat=True))


def outcomes(entries):
    """By the number of an entry that wasn't sent: number and state of the resend that matters."""
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
