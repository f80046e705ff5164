"""What all conditions have in common, and how their texts name sets and times."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from wagtail_smtp.alerts import AlertKind

#: Seconds in which a condition with the same cause is reported once.
DAILY, WEEKLY = 24 * 3600.0, 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong, or soon will be.

    Texts are in the language that is active.

    Attributes:
        kind: of the alert.
        cause: identifies it. It is reported once in ``interval`` seconds.
        summary: what happened, without a full stop.
        paragraphs: what it means, what to do and where to look.
    """

    kind: AlertKind
    cause: str
    interval: float
    summary: str
    paragraphs: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The summary as the subject of an alert."""
        is_problem = self.kind in (AlertKind.WAITING, AlertKind.REFUSALS, AlertKind.BOUNCES)
        return (_("Email problem: %s") if is_problem else _("Email: %s")) % self.summary


def where(name: str) -> str:
    """The place in the admin where the set with this name is edited, as a sentence."""
    return _("In the admin, open “Email → SMTP settings”, “%s”.") % name


def shown_time(at: datetime) -> str:
    """A date and time as text, in the site's time zone."""
    return date_format(_local(at), "DATETIME_FORMAT")


def shown_date(at: datetime) -> str:
    """A date as text, in the site's time zone."""
    return date_format(_local(at), "DATE_FORMAT")


def _local(at: datetime) -> datetime:
    """In the site's time zone, not in that of the request in which a task runs."""
    zone = timezone.get_default_timezone()
    return timezone.localtime(at, zone) if timezone.is_aware(at) else at
