"""What was found, in four grades."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from django.utils.translation import gettext_lazy as _


class Verdict(IntEnum):
    """How good something is; the highest of several counts.

    ``BAD`` is only for what DNS proves, never for what can't be told from outside.
    """

    GOOD = 0
    UNKNOWN = 1
    IMPROVE = 2
    BAD = 3

    @property
    def label(self) -> Any:
        """Its name in the interface."""
        return _LABELS[self]


_LABELS = {
    Verdict.GOOD: _("Good"),
    Verdict.UNKNOWN: _("Could not be checked"),
    Verdict.IMPROVE: _("Can be improved"),
    Verdict.BAD: _("Needs to be fixed"),
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict on several things together."""
    return max(verdicts, default=Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence or two about a record."""

    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """A DNS record to publish."""

    kind: str
    name: str
    value: str


@dataclass(slots=True)
class Finding:
    """What was found about one topic.

    Attributes:
        topic: ``SPF``, ``DKIM``, ``DMARC``, ``MX`` or ``PTR``.
        found: the records as they are published, which anyone could have written.
        proposals: the records to publish instead, or in addition.
    """

    topic: str
    notes: list[Note] = field(default_factory=list)
    found: tuple[str, ...] = ()
    proposals: list[Record] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the topic."""
        return worst(note.verdict for note in self.notes)

    def add(self, verdict: Verdict, text: str) -> None:
        """Add a note, unless it is there: several senders may use one server."""
        if (note := Note(verdict, text)) not in self.notes:
            self.notes.append(note)
