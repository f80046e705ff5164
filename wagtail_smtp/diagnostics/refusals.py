"""Rates of refusals and complaints, by what sent the messages, and of suppressions, by domain.

Google asks senders to stay below 0.1 % of complaints and never to reach 0.3 %; Yahoo's limit is
0.3 %. Amazon SES reviews an account from 5 % of bounces or 0.1 % of complaints on, and may pause it
from 10 % or 0.5 % on. (Google: "Email sender guidelines"; Yahoo: "Sender Best Practices"; AWS:
"Amazon SES sending review process FAQs".)
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from wagtail_smtp import live
from wagtail_smtp.live import environments
from wagtail_smtp.live.db.connections import write_alias
from wagtail_smtp.live.db.expressions import same
from wagtail_smtp.models import (
    ConfigurationVersion,
    DeliveryEvent,
    LogEntry,
    LogRecipient,
    SuppressedAddress,
    SuppressionReason,
)
from wagtail_smtp.models.choices import RecipientState, Reported, State
from wagtail_smtp.models.log import STANDARD, LogEntryQuerySet
from wagtail_smtp.transports import standard

#: The period that is looked at. It is shorter if more messages were sent.
PERIOD = timedelta(days=1)
LIMIT = 50_000
#: Refused recipients from which on they are unusual: number, and part of all recipients.
REFUSED_NUMBER, REFUSED_PART = 20, 0.1
#: The same for complaints.
COMPLAINTS_NUMBER, COMPLAINTS_PART = 3, 0.003
#: Addresses of a domain that were suppressed after bounces, and part of its recipients: from these
#: on, the domain's server may be wrong.
SUPPRESSED_NUMBER, SUPPRESSED_PART = 10, 0.1
#: Domains that are looked at, those with the most first.
_DOMAINS = 10

#: The newest messages with complaints that are looked at. They are usually older than a day.
_COMPLAINED = 500
_BOUNCED = (Reported.BOUNCED, Reported.REJECTED, Reported.FAILED)
#: States of messages of which a recipient may be refused.
_REFUSED = (State.REFUSED, State.PARTLY_SENT)


@dataclass(frozen=True, slots=True)
class Rates:
    """The recipients of the messages that were sent through a set, or standard delivery.

    Attributes:
        key: the set's key; empty for standard delivery.
        since: the beginning of the period.
        recipients: those whose server, or the set's, has accepted or refused the message.
        refused: of these, those refused, or reported as bounced.
        complaints: complaints in the same period, also about older messages.
    """

    name: str
    key: str
    since: datetime
    recipients: int
    refused: int = 0
    complaints: int = 0

    @property
    def has_many_refused(self) -> bool:
        """Whether unusually many recipients were refused."""
        least = max(REFUSED_NUMBER, REFUSED_PART * self.recipients)
        return self.refused >= least

    @property
    def has_many_complaints(self) -> bool:
        """Whether unusually many recipients complained."""
        least = max(COMPLAINTS_NUMBER, COMPLAINTS_PART * self.recipients)
        return self.complaints >= least


@dataclass(frozen=True, slots=True)
class Suppressions:
    """The addresses of a domain that were suppressed after bounces since a time."""

    domain: str
    since: datetime
    number: int


def unusual() -> tuple[Rates, ...]:
    """The live sets, and standard delivery, with unusually many refusals or complaints.

    Nothing, if the live version comes from another environment: so does most of the log.
    """
    current = live.current()
    if current.held_from:
        return ()
    since = _since()
    names = {item.key: item.name for item in current.configuration.sets} | {"": standard.NAME}
    return tuple(
        rates
        for rates in _rates(since, names)
        if rates.has_many_refused or rates.has_many_complaints
    )


def unusual_suppressions() -> Iterator[Suppressions]:
    """The domains of which unusually many addresses were suppressed after bounces.

    A server may refuse everyone during an outage, as if no mailbox existed.
    """
    if live.current().held_from:
        return
    since = _since()
    # Not those that a person has imported.
    rows = SuppressedAddress.objects.filter(
        reason=SuppressionReason.BOUNCED, created_at__gte=since, created_by=None
    ).exclude(domain="")
    counted = rows.order_by().values_list("domain").annotate(number=Count("pk"))
    many = counted.filter(number__gte=SUPPRESSED_NUMBER).order_by("-number", "domain")
    for domain, number in many[:_DOMAINS]:
        in_domain = _of(_since_then(since)[0]).filter(same("domain", domain))
        if number >= SUPPRESSED_PART * _settled(in_domain):
            yield Suppressions(domain, since, number)


def _since() -> datetime:
    """The beginning of the period."""
    return max(filter(None, (timezone.now() - PERIOD, _began_here())))


def _began_here() -> datetime | None:
    """When this environment first made a version live in a copied database; None: it isn't one."""
    began: datetime | None = None
    versions = ConfigurationVersion.objects.using(write_alias())
    for environment, created_at in versions.values_list("environment", "created_at"):
        if environments.origin(environment):
            return began
        began = created_at
    return None


def _rates(since: datetime, names: dict[str, str]) -> Iterator[Rates]:
    """The rates of what has enough refusals or complaints for them to matter."""
    entries, since = _since_then(since)
    refused, complaints = _refused(entries), _complaints(since)
    for key, name in names.items():
        bad, complained = refused.get(key, 0), complaints.get(key, 0)
        if bad >= REFUSED_NUMBER or complained >= COMPLAINTS_NUMBER:
            yield Rates(name, key, since, _recipients(entries, key), bad, complained)


def _since_then(since: datetime) -> tuple[LogEntryQuerySet, datetime]:
    """The newest entries since a time, up to :data:`LIMIT`, and since when these are all."""
    entries = LogEntry.objects.using(write_alias()).order_by()
    numbers = entries.numbers_between(since, None)
    if numbers is None:
        return entries.none(), since
    lowest, highest = numbers
    if highest - lowest > LIMIT:
        lowest = highest - LIMIT
        since = max(since, _time_of(lowest) or since)
    return entries.filter(pk__gte=lowest, created_at__gte=since), since


def _time_of(number: int) -> datetime | None:
    """The time of the first entry from this number on."""
    entries = LogEntry.objects.using(write_alias()).filter(pk__gte=number).order_by("pk")
    return entries.values_list("created_at", flat=True).first()


def _of(entries: LogEntryQuerySet) -> "QuerySet[LogRecipient]":
    recipients = LogRecipient.objects.using(write_alias()).order_by()
    return recipients.filter(entry__in=entries.values("pk"), role=LogRecipient.Role.ENVELOPE)


def _refused(entries: LogEntryQuerySet) -> dict[str, int]:
    """The number of refused recipients by the set's key."""
    of_some = _of(entries.filter(Q(state__in=_REFUSED) | Q(reported__in=_BOUNCED)))
    is_refused = Q(state=RecipientState.REFUSED) | Q(reported__in=_BOUNCED)
    counted = of_some.filter(is_refused).exclude(entry__via="").values_list("entry__set_key")
    return {_key(key): number for key, number in counted.annotate(number=Count("pk"))}


def _recipients(entries: LogEntryQuerySet, key: str) -> int:
    """The number of recipients of messages sent through a set."""
    return _settled(_of(entries.through(key or STANDARD)))


def _settled(recipients: "QuerySet[LogRecipient]") -> int:
    """The number of recipients that a server has accepted or refused."""
    return recipients.filter(state__in=(RecipientState.SENT, RecipientState.REFUSED)).count()


def _complaints(since: datetime) -> dict[str, int]:
    """The number of complaints by the set's key."""
    entries = LogEntry.objects.using(write_alias()).filter(reported=Reported.COMPLAINED)
    # A subquery with a limit isn't possible on MySQL.
    newest = list(entries.order_by("-pk").values_list("pk", flat=True)[:_COMPLAINED])
    events = DeliveryEvent.objects.using(write_alias()).order_by()
    events = events.filter(entry__in=newest, type=Reported.COMPLAINED, happened_at__gte=since)
    people = {
        (_key(key), entry, recipient)
        for key, entry, recipient in events.values_list("set_key", "entry", "recipient")
    }
    found: dict[str, int] = {}
    for key, _entry, _recipient in people:
        found[key] = found.get(key, 0) + 1
    return found


def _key(key: uuid.UUID | None) -> str:
    return str(key) if key else ""
