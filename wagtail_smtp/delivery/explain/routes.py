"""Explain where email goes and why, and which settings sets it uses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from django.utils.translation import gettext as _

from wagtail_smtp.categories import BUILT_IN, validate_category
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import OTHER_SITE, Configuration, SettingsSetConfig
from wagtail_smtp.delivery.kinds import Part, described
from wagtail_smtp.delivery.routing import STANDARD_DELIVERY, Redirect, Route, route
from wagtail_smtp.exceptions import EnvironmentMismatch, RedirectError
from wagtail_smtp.live import current, environments, sites
from wagtail_smtp.live.diff import UNNAMED, Kind, every_category, every_kind
from wagtail_smtp.transports import standard

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """A settings set or standard delivery, and its role as text.

    ``is_used`` is false if it never sends email of the category, ``is_overflow`` is true if it only
    does once those above it have reached their limits.
    """

    name: str
    role: str
    is_used: bool = True
    is_overflow: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where email of a category and site goes.

    Attributes:
        why: the reason, as text.
        steps: the enabled sets and standard delivery: first those that are used, in order.
        redirect: who receives it instead of its recipients.
        blocked: why nothing is sent; empty otherwise.
        is_held: whether nothing is sent because the live version comes from another environment.
    """

    category: str
    why: str
    steps: tuple[Step, ...] = ()
    redirect: Redirect | None = None
    blocked: str = ""
    is_held: bool = False

    @property
    def first(self) -> str:
        """The name of the first choice; empty if nothing is sent."""
        return "" if self.blocked else self.steps[0].name

    @property
    def carriers(self) -> tuple[str, ...]:
        """The names of the first choice, its backups and those used for overflow, in order."""
        return tuple(step.name for step in self.steps if step.is_used)

    @property
    def backups(self) -> tuple[str, ...]:
        """The names of its backups, in order."""
        overflow = self.overflow
        return tuple(name for name in self.carriers[1:] if name not in overflow)

    @property
    def overflow(self) -> tuple[str, ...]:
        """The names of those used for overflow, in order."""
        return tuple(step.name for step in self.steps if step.is_overflow)


@dataclass(frozen=True, slots=True)
class RouteChange:
    """Where email of a category goes before and after a reload.

    ``sites`` are the primary keys of the sites that this is about; empty: all.
    """

    category: str
    before: Explanation
    after: Explanation
    sites: tuple[int, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether other sets send it or others receive it."""
        return _effect(self.before) != _effect(self.after)


def explain(
    category: str,
    configuration: Configuration | None = None,
    held_from: str = "",
    site: int = OTHER_SITE,
) -> Explanation:
    """Explain where email of ``category`` goes.

    Args:
        configuration: default: the live one.
        held_from: the environment that ``configuration`` comes from, if it is another one.
        site: the primary key of a site.

    Raises:
        ValueError: ``category`` is not valid.
        ConfigurationUnavailable: the live configuration can't be read.
    """
    validate_category(category)
    if configuration is None:
        live = current()
        configuration, held_from = live.configuration, live.held_from
    try:
        found = route(configuration, category, held_from, site)
    except EnvironmentMismatch:
        text = environments.held_text(held_from)  # in the reader's language
        why = environments.origin_text(held_from)
        return Explanation(category, why, blocked=text, is_held=True)
    except RedirectError as error:
        return Explanation(category, str(error), blocked=str(error))
    used = tuple(_step(item, position, found) for position, item in enumerate(found.candidates))
    carriers = {item.key for item in found.candidates}
    unused = tuple(
        Step(item.name, _why_unused(item, found), is_used=False)
        for item in configuration.sets
        if item.key not in carriers
    )
    return Explanation(category, _reason(found), used + unused, found.redirect)


def compare(
    before: Configuration, after: Configuration, held_from: str = ""
) -> tuple[RouteChange, ...]:
    """Compare where email of each category goes with two configurations.

    Where the sites of a category differ, there is a comparison for each group of sites.

    Args:
        held_from: the environment that ``before`` comes from, if it is another one.
    """
    named = every_category(before, after)
    categories = dict.fromkeys([*BUILT_IN, *conf.CATEGORIES, *named])
    distinct = distinct_sites(before, after)

    def compared(category: str, site: int) -> RouteChange:
        old = explain(category, before, held_from, site)
        return RouteChange(category, old, explain(category, after, site=site))

    return tuple(
        replace(change, sites=group)
        for category in categories
        if category != UNNAMED  # has the route of category "other"
        for change, group in _grouped(
            distinct,
            lambda site, category=category: compared(category, site),  # type: ignore[misc]
            lambda change: (_effect(change.before), _effect(change.after)),
        )
    )


def routes(
    category: str, configuration: Configuration, held_from: str = ""
) -> tuple[tuple[Explanation, tuple[int, ...]], ...]:
    """Explain where email of ``category`` goes, for each group of sites where that differs.

    Returns:
        Explanations, each with the primary keys of its sites; these are empty for all sites.
    """
    return tuple(
        _grouped(
            distinct_sites(configuration),
            lambda site: explain(category, configuration, held_from, site),
            lambda explanation: (_effect(explanation), explanation.why),
        )
    )


def distinct_sites(*configurations: Configuration) -> tuple[int, ...]:
    """The sites to explain routes for: one that represents all, unless a set is limited to sites.

    Messages have no site only if there is no default site.
    """
    if not any(item.sites for config in configurations for item in config.sets):
        return (OTHER_SITE,)
    known = sites.known()
    no_site = () if any(site.is_default for site in known) else (OTHER_SITE,)
    return (*(site.key for site in known), *no_site)


def is_used(configuration: Configuration, item: SettingsSetConfig) -> bool:
    """Whether ``item`` sends or redirects any email, or is a backup for any."""
    if configuration.method == "standard":
        return False
    return any(
        configuration.redirecting_set(*kind) is item
        or (
            kind[0] not in conf.STANDARD_CATEGORIES
            and any(carrier is item for carrier in configuration.carriers(*kind))
        )
        for kind in every_kind(configuration)
    )


def first_choice(configuration: Configuration, kind: Kind) -> Iterator[str]:
    """Yield the name of the set that is the first to send email of this kind, if one does."""
    if configuration.method == "custom" and kind[0] not in conf.STANDARD_CATEGORIES:
        yield from (item.name for item in configuration.carriers(*kind)[:1])


def _grouped(
    distinct: tuple[int, ...], explained: Callable[[int], T], effect: Callable[[T], object]
) -> Iterator[tuple[T, tuple[int, ...]]]:
    """What is explained for one site of each group with the same effect, and the group's sites."""
    groups: dict[object, tuple[T, list[int]]] = {}
    for site in distinct:
        found = explained(site)
        groups.setdefault(effect(found), (found, []))[1].append(site)
    for found, group in groups.values():
        yield found, tuple(group) if len(groups) > 1 else ()


def _effect(explanation: Explanation) -> tuple[object, ...]:
    addresses = explanation.redirect.addresses if explanation.redirect else ()
    return (explanation.carriers, addresses, bool(explanation.blocked), explanation.is_held)


def _reason(route: Route) -> str:
    return {
        "method": _("the delivery method is standard"),
        "standard category": _("this category always uses standard delivery"),
        "copy": _("the project's settings exempt this category from being held"),
        "no set applies": _("no settings set is used for it"),
        "first set that applies": _("the first set that applies"),
    }[route.why]


def _step(item: SettingsSetConfig, position: int, route: Route) -> Step:
    if item is STANDARD_DELIVERY:
        name = _("standard delivery (%s)") % standard.description()
        return Step(name, _("last resort") if position else _("sends it"))
    if route.is_overflow(item):
        role = _("overflow: used when the limits of those above are reached")
        return Step(item.name, role, is_overflow=True)
    return Step(item.name, _("backup") if position else _("sends it"))


def _why_unused(item: SettingsSetConfig, route: Route) -> str:
    if route.why in ("method", "standard category", "copy"):
        return _("not used: %s") % _reason(route)
    if not item.applies_to_category(route.category):
        return _("not for this category, only for %s") % ", ".join(item.categories)
    if not item.applies_to_site(route.site):
        only = (Part(site=site) for site in item.sites)
        return _("not for this site, only for %s") % described(only)
    return _("not used: it is not a backup")
