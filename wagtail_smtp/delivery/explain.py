"""Explain a configuration: where email goes and why, and what is on without an effect.

These are pure functions on a frozen configuration, saved or live. The admin, the reload and
``smtp_explain`` show their results.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from django.utils.translation import gettext as _

from wagtail_smtp.categories import BUILT_IN, validate_category
from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import OTHER_SITE, Configuration, SettingsSetConfig
from wagtail_smtp.delivery.kinds import Part, described, joined
from wagtail_smtp.delivery.routing import (
    STANDARD_DELIVERY,
    Redirect,
    Route,
    redirect_for,
    route,
)
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
    """The sites that a table of routes is about: only one stands for all unless a set names some.

    A message without a site is possible only if there is no default site.
    """
    if not any(item.sites for config in configurations for item in config.sets):
        return (OTHER_SITE,)
    known = sites.known()
    no_site = () if any(site.is_default for site in known) else (OTHER_SITE,)
    return (*(site.key for site in known), *no_site)


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


@dataclass(frozen=True, slots=True)
class Redirecting:
    """The effect of a set's redirect.

    Attributes:
        kinds: the kinds of email that it redirects.
        parts: the same in as few parts as possible.
        reached: the kinds that nothing redirects, so their real recipients are reached.
        is_all: whether it redirects all email.
        through: the names of the sets that send email of the kinds in ``reached``.
        source: the name of the set that redirects the rest instead; empty: none does.
    """

    kinds: tuple[Kind, ...] = ()
    parts: tuple[Part, ...] = ()
    reached: tuple[Kind, ...] = ()
    is_all: bool = False
    through: tuple[str, ...] = ()
    source: str = ""


def redirecting(configuration: Configuration, item: SettingsSetConfig) -> Redirecting:
    """Return the effect of the redirect of ``item``, one of the configuration's sets.

    This ignores a redirect forced by the project's settings, which applies to all email.
    """
    own, reached, other = [], [], ""
    through: dict[str, None] = {}
    every = every_kind(configuration)
    for kind in every:
        found = configuration.redirecting_set(*kind)
        if found is item:
            own.append(kind)
        elif found is not None:
            other = found.name
        else:
            reached.append(kind)
            through.update(dict.fromkeys(_first(configuration, kind)))
    return Redirecting(
        tuple(own),
        joined(own, configuration),
        tuple(reached),
        len(own) == len(every),
        tuple(through),
        other,
    )


def _first(configuration: Configuration, kind: Kind) -> Iterator[str]:
    """The name of the set that is the first to send email of this kind, if any."""
    if configuration.method == "custom" and kind[0] not in conf.STANDARD_CATEGORIES:
        yield from (item.name for item in configuration.carriers(*kind)[:1])


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


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that is switched on but has no effect.

    Attributes:
        kind: ``redirect`` applies to no email, ``redirect_some`` to some only, and an ``unused``
            set sends nothing.
        reason: ``method``: the delivery method is Standard; ``above``: other sets send the email;
            ``categories``: the set is not for it; ``standard``: standard delivery sends it;
            ``sites``: all sites of the set were deleted.
        key, name: the set's; both empty: every set.
        others: the names of the sets that send the email instead.
        parts: the email that is redirected, or that the unused set is for.
    """

    kind: Literal["redirect", "redirect_some", "unused"]
    reason: Literal["method", "above", "categories", "standard", "sites"]
    key: str = ""
    name: str = ""
    others: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def is_about_redirect(self) -> bool:
        """Whether email may reach real recipients although a redirect is on."""
        return self.kind != "unused"

    @property
    def first_would_help(self) -> bool:
        """Whether the redirect would apply to all email if the set were the first."""
        return self.is_about_redirect and self.reason in ("above", "categories", "sites")

    def text(self, label: Callable[[str], str] = str, *, is_held: bool = False) -> str:
        """The notice as text.

        Args:
            label: returns the name of a category.
            is_held: whether email is held, so that the notice is only about what comes after a
                reload.
        """
        values = {
            "name": self.name,
            "others": ", ".join(_("“%(name)s”") % {"name": name} for name in self.others),
            "categories": described(self.parts, label),
        }
        texts = _HELD_TEXTS if is_held else _TEXTS
        return str(texts[self.kind, self.reason]() % values)

    def __str__(self) -> str:
        return self.text()


_TEXTS: dict[tuple[str, str], Callable[[], str]] = {
    ("redirect", "method"): lambda: _(
        "The redirect of “%(name)s” is on but not in effect: the delivery method is Standard, so "
        "no set is used. Email reaches its real recipients."
    ),
    ("redirect", "above"): lambda: _(
        "The redirect of “%(name)s” is on but not in effect: email is sent through %(others)s "
        "first and reaches its real recipients."
    ),
    ("redirect", "categories"): lambda: _(
        "The redirect of “%(name)s” is on but not in effect: the set is not used for any email, "
        "which reaches its real recipients."
    ),
    ("redirect_some", "above"): lambda: _(
        "The redirect of “%(name)s” is only in effect for: %(categories)s. All other email is "
        "sent through %(others)s and reaches its real recipients."
    ),
    ("redirect_some", "categories"): lambda: _(
        "The redirect of “%(name)s” is only in effect for: %(categories)s. All other email "
        "reaches its real recipients."
    ),
    ("unused", "method"): lambda: _(
        "No settings set is used: the delivery method is Standard, so all email is sent by "
        "standard delivery."
    ),
    ("unused", "above"): lambda: _(
        "“%(name)s” is not used: %(others)s already sends all email that it could send."
    ),
    ("unused", "standard"): lambda: _(
        "“%(name)s” is not used: standard delivery always sends its categories (%(categories)s)."
    ),
    ("redirect", "sites"): lambda: _(
        "The redirect of “%(name)s” is on but not in effect: the sites to which the set is limited "
        "were deleted. Email reaches its real recipients."
    ),
    ("unused", "sites"): lambda: _(
        "“%(name)s” is not used: the sites to which it is limited were deleted."
    ),
}

_HELD_TEXTS: dict[tuple[str, str], Callable[[], str]] = {
    ("redirect", "method"): lambda: _(
        "After a reload, the redirect of “%(name)s” would not be in effect: the delivery method is "
        "Standard, so no set is used. Email would reach its real recipients."
    ),
    ("redirect", "above"): lambda: _(
        "After a reload, the redirect of “%(name)s” would not be in effect: email would be sent "
        "through %(others)s first and reach its real recipients."
    ),
    ("redirect", "categories"): lambda: _(
        "After a reload, the redirect of “%(name)s” would not be in effect: the set is not used "
        "for any email, which would reach its real recipients."
    ),
    ("redirect_some", "above"): lambda: _(
        "After a reload, the redirect of “%(name)s” would only be in effect for: %(categories)s. "
        "All other email would be sent through %(others)s and reach its real recipients."
    ),
    ("redirect_some", "categories"): lambda: _(
        "After a reload, the redirect of “%(name)s” would only be in effect for: %(categories)s. "
        "All other email would reach its real recipients."
    ),
    ("unused", "method"): lambda: _(
        "After a reload, no settings set would be used: the delivery method is Standard, so all "
        "email would be sent by standard delivery."
    ),
    ("unused", "above"): lambda: _(
        "After a reload, “%(name)s” would not be used: %(others)s would already send all email "
        "that it could send."
    ),
    ("unused", "standard"): lambda: _(
        "After a reload, “%(name)s” would not be used: standard delivery always sends its "
        "categories (%(categories)s)."
    ),
    ("redirect", "sites"): lambda: _(
        "After a reload, the redirect of “%(name)s” would not be in effect: the sites to which the "
        "set is limited were deleted. Email would reach its real recipients."
    ),
    ("unused", "sites"): lambda: _(
        "After a reload, “%(name)s” would not be used: the sites to which it is limited were "
        "deleted."
    ),
}


def notices(configuration: Configuration) -> tuple[Notice, ...]:
    """All notices, at most one for each set; those about redirects are first."""
    lost = _without_sites(configuration)
    redirects = list(_redirects(configuration, lost))
    seen = {notice.key for notice in redirects}
    if configuration.method == "standard" and seen:
        seen.add("")  # each of them says that no set is used
    unused = _unused(configuration, lost)
    return (*redirects, *(notice for notice in unused if notice.key not in seen))


def _without_sites(configuration: Configuration) -> set[str]:
    """The keys of the sets that are limited to sites which were all deleted."""
    if not any(item.sites for item in configuration.sets):
        return set()
    known = {site.key for site in sites.known()}
    return {item.key for item in configuration.sets if item.sites and known.isdisjoint(item.sites)}


def _redirects(configuration: Configuration, lost: Collection[str]) -> Iterator[Notice]:
    if conf.forced_redirect() is not None:
        return  # all email is redirected, whatever the sets say
    for item in configuration.sets:
        if item.redirect:
            yield from _redirect(configuration, item, is_lost=item.key in lost)


def _redirect(
    configuration: Configuration, item: SettingsSetConfig, *, is_lost: bool
) -> Iterator[Notice]:
    if configuration.method == "standard":
        yield Notice("redirect", "method", item.key, item.name)
        return
    effect = redirecting(configuration, item)
    if not effect.reached:
        return
    if is_lost:
        yield Notice("redirect", "sites", item.key, item.name)
        return
    yield Notice(
        "redirect_some" if effect.kinds else "redirect",
        "above" if effect.through else "categories",
        item.key,
        item.name,
        effect.through,
        effect.parts,
    )


def _unused(configuration: Configuration, lost: Collection[str]) -> Iterator[Notice]:
    if configuration.method == "standard":
        if configuration.sets:
            yield Notice("unused", "method")
        return
    if configuration.sets and configuration.sets[0].redirect:
        return  # on a test site, the other sets are not used on purpose
    for item in configuration.sets:
        if item.key in lost:
            yield Notice("unused", "sites", item.key, item.name)
            continue
        if is_used(configuration, item):
            continue
        own = [kind for kind in every_kind(configuration) if item.applies_to(*kind)]
        others = dict.fromkeys(name for kind in own for name in _first(configuration, kind))
        reason: Literal["above", "standard"] = "above" if others else "standard"
        only = tuple(map(Part, item.categories))
        yield Notice("unused", reason, item.key, item.name, tuple(others), only)


@dataclass(frozen=True, slots=True)
class ActiveRedirect:
    """What is redirected, and where to.

    Attributes:
        addresses: the report emails.
        sources: the names of the sets that redirect, or :data:`~.routing.FORCED`.
        is_all: whether no email reaches its real recipients.
        is_blocked: whether some email is not sent because there is no valid report email.
    """

    addresses: tuple[str, ...]
    sources: tuple[str, ...]
    is_all: bool
    is_blocked: bool = False

    @property
    def without_addresses(self) -> str:
        """A description for people who may not see the addresses."""
        if not self.is_blocked:
            if self.is_all:
                return _("All email is redirected. Nothing reaches its real recipients.")
            return _("Some email is redirected and doesn't reach its real recipients.")
        if self.is_all and not self.addresses:
            return _(
                "No email is being sent: it is redirected, but there is no valid report email."
            )
        return _(
            "Some email is not being sent: it is redirected, but there is no valid report email."
        )


def active_redirect(configuration: Configuration) -> ActiveRedirect | None:
    """The redirects of all kinds as one; None if all email reaches its real recipients."""
    found, blocked = [], 0
    every = every_kind(configuration)
    for kind in every:
        try:
            redirect = redirect_for(configuration, *kind)
        except RedirectError:
            blocked += 1
            continue
        if redirect is not None:
            found.append(redirect)
    if not found and not blocked:
        return None
    return ActiveRedirect(
        addresses=tuple(dict.fromkeys(a for redirect in found for a in redirect.addresses)),
        sources=tuple(dict.fromkeys(redirect.source for redirect in found)),
        is_all=len(found) + blocked == len(every),
        is_blocked=bool(blocked),
    )
