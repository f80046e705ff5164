"""What is switched on but has no effect: a redirect that mail doesn't pass, a set that is not used.

Pure functions on a frozen configuration: the same answer for what is saved and for what is live.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from django.utils.translation import gettext as _

from wagtail_smtp.conf import conf
from wagtail_smtp.config.values import Configuration, SettingsSetConfig
from wagtail_smtp.delivery.routing import redirect_for
from wagtail_smtp.exceptions import RedirectError
from wagtail_smtp.live.diff import UNNAMED, every_category


@dataclass(frozen=True, slots=True)
class Redirecting:
    """What the redirect of one set really does.

    Attributes:
        categories: whose mail it redirects.
        reached: whose mail no redirect holds for, so that it reaches its real recipients.
        is_all: every message is redirected by this set.
        through: what carries the mail that reaches people, first; the names of sets.
        source: who redirects the rest instead: the name of a set, or empty.
    """

    categories: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()
    is_all: bool = False
    through: tuple[str, ...] = ()
    source: str = ""


def redirecting(configuration: Configuration, item: SettingsSetConfig) -> Redirecting:
    """What the redirect of ``item``, a set of the configuration, does there.

    A redirect that the project's settings force is not looked at: it holds for all mail.
    """
    own, reached, other = [], [], ""
    through: dict[str, None] = {}
    categories = every_category(configuration)
    for category in categories:
        found = configuration.redirecting_set(category)
        if found is item:
            own.append(category)
        elif found is not None:
            other = found.name
        else:
            reached.append(category)
            through.update(dict.fromkeys(_first(configuration, category)))
    return Redirecting(
        tuple(own), tuple(reached), len(own) == len(categories), tuple(through), other
    )


def _first(configuration: Configuration, category: str) -> Iterator[str]:
    """The name of the set that carries the category first, if one does."""
    if configuration.method == "custom" and category not in conf.STANDARD_CATEGORIES:
        yield from (item.name for item in configuration.carriers(category)[:1])


def is_used(configuration: Configuration, item: SettingsSetConfig) -> bool:
    """Whether ``item`` carries any mail, stands by for some, or redirects some."""
    if configuration.method == "standard":
        return False
    return any(
        configuration.redirecting_set(category) is item
        or (
            category not in conf.STANDARD_CATEGORIES
            and any(carrier is item for carrier in configuration.carriers(category))
        )
        for category in every_category(configuration)
    )


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that people would take for working and that isn't.

    Attributes:
        kind: a redirect that holds for no mail, or for some only; a set that is not used.
        reason: the delivery method is Standard; another set carries the mail; the set's own
            categories don't let it; standard delivery carries all of its categories.
        key, name: of the set; both empty: every set.
        others: names of the sets that carry the mail instead.
        categories: whose mail is redirected; of an unused set its own.
    """

    kind: Literal["redirect", "redirect_some", "unused"]
    reason: Literal["method", "above", "categories", "standard"]
    key: str = ""
    name: str = ""
    others: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def is_about_redirect(self) -> bool:
        """Whether mail may reach people that somebody believes to be redirected."""
        return self.kind != "unused"

    @property
    def first_would_help(self) -> bool:
        """Whether the redirect holds for all mail once the set is the first."""
        return self.is_about_redirect and self.reason in ("above", "categories")

    def text(self, label: Callable[[str], str] = str) -> str:
        """It in words; ``label`` names a category."""
        values = {
            "name": self.name,
            "others": ", ".join(_("“%(name)s”") % {"name": name} for name in self.others),
            "categories": ", ".join(_labels(self.categories, label)),
        }
        return str(_TEXTS[self.kind, self.reason]() % values)

    def __str__(self) -> str:
        return self.text()


def _labels(categories: tuple[str, ...], label: Callable[[str], str]) -> Iterator[str]:
    for category in categories:
        yield _("any other category") if category == UNNAMED else label(category)


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
}


def notices(configuration: Configuration) -> tuple[Notice, ...]:
    """All of them, those about redirects first; one for a set."""
    redirects = list(_redirects(configuration))
    told = {notice.key for notice in redirects}
    if configuration.method == "standard" and told:
        told.add("")  # each of them says so
    return (*redirects, *(notice for notice in _unused(configuration) if notice.key not in told))


def _redirects(configuration: Configuration) -> Iterator[Notice]:
    if conf.forced_redirect() is not None:
        return  # all mail is redirected, whatever the sets say
    for item in configuration.sets:
        if item.redirect:
            yield from _redirect(configuration, item)


def _redirect(configuration: Configuration, item: SettingsSetConfig) -> Iterator[Notice]:
    if configuration.method == "standard":
        yield Notice("redirect", "method", item.key, item.name)
        return
    does = redirecting(configuration, item)
    if does.reached:
        yield Notice(
            "redirect_some" if does.categories else "redirect",
            "above" if does.through else "categories",
            item.key,
            item.name,
            does.through,
            does.categories,
        )


def _unused(configuration: Configuration) -> Iterator[Notice]:
    if configuration.method == "standard":
        if configuration.sets:
            yield Notice("unused", "method")
        return
    if configuration.sets and configuration.sets[0].redirect:
        return  # while a site is tested, its own sets are meant to wait
    for item in configuration.sets:
        if is_used(configuration, item):
            continue
        own = [c for c in every_category(configuration) if item.applies_to(c)]
        others = dict.fromkeys(name for c in own for name in _first(configuration, c))
        reason: Literal["above", "standard"] = "above" if others else "standard"
        yield Notice("unused", reason, item.key, item.name, tuple(others), item.categories)


@dataclass(frozen=True, slots=True)
class ActiveRedirect:
    """What is redirected, and where to.

    Attributes:
        addresses: who receives it.
        sources: who says so: names of sets, or :data:`~.candidates.FORCED`.
        is_all: no mail reaches its own recipients.
        is_blocked: there is no valid address for some of it, which is not sent at all.
    """

    addresses: tuple[str, ...]
    sources: tuple[str, ...]
    is_all: bool
    is_blocked: bool = False


def active_redirect(configuration: Configuration) -> ActiveRedirect | None:
    """The redirect that holds for mail of any category; None: all mail reaches its recipients."""
    found, blocked = [], 0
    categories = every_category(configuration)
    for category in categories:
        try:
            redirect = redirect_for(configuration, category)
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
        is_all=len(found) + blocked == len(categories),
        is_blocked=bool(blocked),
    )
