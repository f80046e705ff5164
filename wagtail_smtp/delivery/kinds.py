"""Kinds of email, by category and site, in as few words as possible."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from django.utils.translation import gettext as _

from wagtail_smtp.config.values import Configuration
from wagtail_smtp.live import sites
from wagtail_smtp.live.diff import UNNAMED, Kind, every_category, every_site


@dataclass(frozen=True, slots=True)
class Part:
    """Email of a category, of a site, or of both; ``category`` is empty, or ``site`` None: all."""

    category: str = ""
    site: int | None = None


def joined(kinds: Collection[Kind], configuration: Configuration) -> tuple[Part, ...]:
    """Join kinds of email: those of all sites, or all those of a site, become one part."""
    categories = every_category(configuration)
    of_site = {
        site: [category for category in categories if (category, site) in kinds]
        for site in every_site(configuration)
    }
    first, *others = of_site.values()
    if all(each == first for each in others):
        return tuple(Part(category) for category in first)
    return tuple(
        part
        for site, found in of_site.items()
        for part in (
            [Part(site=site)] if found == categories else [Part(each, site) for each in found]
        )
    )


def described(given: Iterable[Part], label: Callable[[str], str] = str) -> str:
    """Parts as text; ``label`` returns the name of a category."""
    given = tuple(given)
    # Not without need: it takes a query.
    named = sites.names(sites.known()) if any(part.site is not None for part in given) else {}
    return ", ".join(_text(part, label, named) for part in given)


def _text(part: Part, label: Callable[[str], str], named: dict[int, str]) -> str:
    category = _("any other category") if part.category == UNNAMED else label(part.category)
    if part.site is None:
        return category
    site = sites.label(part.site, named)
    if not part.category:
        return site
    return _("%(category)s (%(site)s)") % {"category": category, "site": site}
