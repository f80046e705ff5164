"""How much of their sending limits the live sets have used, and which quotas are used up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from wagtail_smtp import live
from wagtail_smtp.categories import OTHER
from wagtail_smtp.config.limits import PERIODS, Ledger
from wagtail_smtp.config.values import SettingsSetConfig
from wagtail_smtp.live import usage
from wagtail_smtp.runtime.project import from_seconds

#: Percentage from which a limit is reported as nearly reached.
NEARLY = 80


@dataclass(frozen=True, slots=True)
class Used:
    """How many recipients of a limit are used.

    Attributes:
        period: ``minute``, ``hour`` or ``day``.
        is_reached: whether other email than ``security`` has to wait.
    """

    period: str
    used: int
    limit: int
    is_reached: bool = False

    @property
    def percent(self) -> int:
        """The share of the limit, rounded down."""
        return 100 * self.used // self.limit

    def __str__(self) -> str:
        used = number_format(self.used, force_grouping=True)
        limit = number_format(self.limit, force_grouping=True)
        return _TEXTS[self.period]() % {"used": used, "limit": limit}


_TEXTS: Mapping[str, Callable[[], str]] = {
    "minute": lambda: _("%(used)s of %(limit)s per minute"),
    "hour": lambda: _("%(used)s of %(limit)s per hour"),
    "day": lambda: _("%(used)s of %(limit)s per day"),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a live set has used.

    Attributes:
        limits: one for each period with a limit, the shortest first.
        paused_until: until when the set isn't used because its server reported that a quota is
            used up; ``reply`` is the server's response. None: it is used.
    """

    key: str
    name: str
    limits: tuple[Used, ...] = ()
    paused_until: datetime | None = None
    reply: str = ""

    @property
    def fullest(self) -> Used | None:
        """The limit of which most is used."""
        return max(self.limits, key=lambda each: (each.percent, PERIODS[each.period]), default=None)


def of_live_sets() -> tuple[Usage, ...]:
    """The live sets that have limits, or whose server has reported a quota, in order. One query.

    Raises:
        ConfigurationUnavailable: the live configuration can't be read.
    """
    current = live.current()
    sets = current.configuration.sets
    if not sets:
        return ()
    ledgers, now = usage.ledgers(item.key for item in sets)
    found = (_usage(item, ledgers.get(item.key, Ledger()), now, current.number) for item in sets)
    return tuple(each for each in found if each.limits or each.paused_until)


def _usage(item: SettingsSetConfig, ledger: Ledger, now: float, version: int) -> Usage:
    pause = ledger.pause_at(now, version)
    others = dict(usage.allowed(item, OTHER).counted())
    limits = []
    for period, limit in item.limits.counted():
        used = ledger.used(period, now)
        limits.append(Used(period, used, limit, used >= others[period]))
    return Usage(
        item.key,
        item.name,
        tuple(limits),
        from_seconds(pause.until) if pause else None,
        f"{pause.code} {pause.reply}" if pause else "",
    )
