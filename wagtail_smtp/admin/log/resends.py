"""The resends of a message and their outcome, for the log."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext_lazy as _

from wagtail_smtp.diagnostics.figures import NOT_SENT
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.maintenance.resend import family, first_of
from wagtail_smtp.models import LogEntry, LogRecipient
from wagtail_smtp.models.choices import PENDING, RecipientState, State

#: Rank and label of a resend by its state; a lower rank is more important.
_OUTCOMES = {
    State.SENT: (0, _("Resent – sent")),
    State.PARTLY_SENT: (1, _("Resent – partly sent")),
    State.UNKNOWN: (2, _("Resent – unknown")),
    **dict.fromkeys(PENDING, (3, _("Resent – in the outbox"))),
}
_NOT_SENT = (4, _("Resent – not sent"))
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

    @classmethod
    def of(cls, entry: LogEntry) -> "Resends":
        """The resends of ``entry``."""
        later = family(entry).filter(pk__gt=entry.pk).order_by("-pk")
        listed = tuple(later[:LISTED])
        # With many resends, the one that was sent may not be among those listed.
        sent = later.filter(state=State.SENT).first()
        best = sent or min(listed, key=lambda each: _rank(each.state), default=None)
        entries = LogEntry.objects.using(write_alias())
        original = entries.filter(pk=entry.resend_of_id).first() if entry.resend_of_id else None
        return cls(best, listed, original, entry.resend_began)

    @property
    def label(self) -> str:
        """The label of the best resend."""
        return resend_label(self.best.state) if self.best else ""

    @property
    def is_sent(self) -> bool:
        """Whether a resend was sent to everyone."""
        return self.best is not None and self.best.state == State.SENT


def resend_label(state: str) -> str:
    """Return the label of a resend in this state, shown at the original."""
    return str(_OUTCOMES.get(State(state), _NOT_SENT)[1])


def _rank(state: str) -> int:
    return _OUTCOMES.get(State(state), _NOT_SENT)[0]


def already_sent_to(entry: LogEntry) -> set[str]:
    """Return the addresses that this message, its original or a resend was sent to."""
    members = list(family(entry).values_list("pk", flat=True))
    sent = LogRecipient.objects.using(write_alias()).filter(
        entry__in=members, role=LogRecipient.Role.ENVELOPE, state=RecipientState.SENT
    )
    return set(sent.values_list("address", flat=True))


def best_resends(entries: list[LogEntry]) -> dict[int, tuple[int, str]]:
    """Map the number of each unsent entry to number and state of its best resend."""
    unsent = [entry for entry in entries if entry.state in NOT_SENT]
    if not unsent:
        return {}
    copies = LogEntry.objects.filter(resend_of_id__in={first_of(entry) for entry in unsent})
    families: dict[int, list[tuple[int, str]]] = {}
    for number, first, state in copies.values_list("pk", "resend_of_id", "state"):
        families.setdefault(first, []).append((number, state))
    found = {}
    for entry in unsent:
        later = [each for each in families.get(first_of(entry), ()) if each[0] > entry.pk]
        if later:
            found[entry.pk] = min(later, key=lambda each: (_rank(each[1]), -each[0]))
    return found
