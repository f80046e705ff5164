"""Notices about what is on without an effect: redirects and unused settings sets."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from django.utils.translation import gettext as _

from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.delivery.explain.redirects import redirecting
from wagtail_smtp.delivery.explain.routes import first_choice, is_used
from wagtail_smtp.delivery.kinds import Part, described
from wagtail_smtp.live import sites
from wagtail_smtp.live.diff import every_kind


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
        others = dict.fromkeys(name for kind in own for name in first_choice(configuration, kind))
        reason: Literal["above", "standard"] = "above" if others else "standard"
        only = tuple(map(Part, item.categories))
        yield Notice("unused", reason, item.key, item.name, tuple(others), only)
