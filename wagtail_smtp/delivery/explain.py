"""Which set would carry mail of a category, and why; for the admin and for smtp_explain.

And what another configuration would change about that, for the reload.
"""

from dataclasses import dataclass

from django.utils.translation import gettext as _

from wagtail_smtp.categories import BUILT_IN, validate_category
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.delivery.routing import STANDARD_DELIVERY, Redirect, Route, route
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.live import current
from wagtail_smtp.live.diff import UNNAMED, every_category
from wagtail_smtp.transports import standard


@dataclass(frozen=True, slots=True)
class Step:
    """One way for the mail, and its part in words; ``is_used`` false: it never is."""

    name: str
    part: str
    is_used: bool = True


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where mail of a category goes.

    Attributes:
        why: the decision in words.
        steps: all enabled sets and standard delivery, those in use first, in order.
        redirect: who receives it instead of its recipients.
        blocked: why nothing leaves; empty otherwise.
    """

    category: str
    why: str
    steps: tuple[Step, ...] = ()
    redirect: Redirect | None = None
    blocked: str = ""

    @property
    def first(self) -> str:
        """The name of what carries the mail first; empty if nothing leaves."""
        return "" if self.blocked else self.steps[0].name

    @property
    def carriers(self) -> tuple[str, ...]:
        """The names of all that carries the mail or stands by, the first choice first."""
        return tuple(step.name for step in self.steps if step.is_used)


@dataclass(frozen=True, slots=True)
class RouteChange:
    """Where mail of a category goes now, and where it then goes."""

    category: str
    before: Explanation
    after: Explanation

    @property
    def is_changed(self) -> bool:
        """Whether another server carries it, or others receive it."""
        return _what_counts(self.before) != _what_counts(self.after)


def explain(category: str, configuration: Configuration | None = None) -> Explanation:
    """Explain where mail of ``category`` goes.

    Args:
        configuration: another one than what is live now.

    Raises:
        ValueError: that is no category.
        ConfigurationUnavailable: what is live can't be known.
    """
    validate_category(category)
    if configuration is None:
        configuration = current().configuration
    try:
        way = route(configuration, category)
    except RedirectError as error:
        return Explanation(category, str(error), blocked=str(error))
    used = tuple(_step(way, position) for position in range(len(way.candidates)))
    unused = tuple(
        Step(item.name, _why_unused(item, way), is_used=False)
        for item in configuration.sets
        if item not in way.candidates
    )
    return Explanation(category, reason(way), used + unused, way.redirect)


def compare(before: Configuration, after: Configuration) -> tuple[RouteChange, ...]:
    """For each category, where its mail goes with one configuration and with the other."""
    named = every_category(before, after)
    categories = dict.fromkeys([*BUILT_IN, *conf.CATEGORIES, *named])
    return tuple(
        RouteChange(category, explain(category, before), explain(category, after))
        for category in categories
        if category != UNNAMED  # goes as mail of category "other" does
    )


def _what_counts(told: Explanation) -> tuple[object, ...]:
    addresses = told.redirect.addresses if told.redirect else ()
    return (told.carriers, addresses, bool(told.blocked))


def reason(way: Route) -> str:
    """Why a route is as it is, in words."""
    return {
        "method": _("the delivery method is standard"),
        "standard category": _("this category always uses standard delivery"),
        "no set applies": _("no settings set is used for it"),
        "first set that applies": _("the first set that applies"),
    }[way.why]


def _step(way: Route, position: int) -> Step:
    item = way.candidates[position]
    if item is STANDARD_DELIVERY:
        name = _("standard delivery (%s)") % standard.description()
        return Step(name, _("last resort") if position else _("sends it"))
    return Step(item.name, _("backup") if position else _("sends it"))


def _why_unused(item: SettingsSetConfig, way: Route) -> str:
    if way.why in ("method", "standard category"):
        return _("not used: %s") % reason(way)
    if not item.applies_to(way.category):
        return _("not for this category, only for %s") % ", ".join(item.categories)
    return _("not used: it is not a backup")
